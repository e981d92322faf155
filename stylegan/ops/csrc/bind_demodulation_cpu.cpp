// stylegan::demodulation, _grad and _grad2 (stylegan/ops/demodulation.py) on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "bind.h"
#include "cpu_dispatch.h"
#include "demodulation.h"

namespace stylegan {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

constexpr index_t kWork = 1 << 15;  // weights of a chunk, about

// The parameters of a call, and the tensors that they point into.
struct Call {
    Demodulation p{};
    Tensor s, w;
    at::MemoryFormat format;
    index_t chunks;

    Call(const Tensor& s_, const Tensor& w_) {
        const at::ScalarType type = s_.scalar_type();
        TORCH_CHECK_VALUE(s_.dim() == 2 && w_.dim() == 4 && s_.size(1) == w_.size(1) && w_.scalar_type() == type &&
            (type == at::kFloat || type == at::kDouble) && s_.is_cpu() && w_.is_cpu(),
            "demodulation needs styles [N, I] and weights [O, I, kh, kw] in float32 or float64, not ", s_.sizes(), ", ", type,
            " and ", w_.sizes(), ", ", w_.scalar_type());
        format = format_of(w_), s = s_.contiguous(), w = w_.contiguous(format);
        p.n = s.size(0), p.o = w.size(0), p.i = s.size(1), p.taps = w.size(2) * w.size(3);
        p.rows = std::max<index_t>(kWork / std::max<index_t>(p.i * p.taps, 1), 1);  // a function of the shape alone
        chunks = (p.o + p.rows - 1) / p.rows;
        p.channels_last = format == at::MemoryFormat::ChannelsLast;
        p.dtype = dtype_of(s, "demodulation");
        p.s = s.const_data_ptr(), p.w = w.const_data_ptr();
    }
    Tensor norms() const { return at::empty({p.n, p.o}, s.options()); }
    Tensor fitting(const Tensor& t, const Tensor& like) const {
        TORCH_CHECK_VALUE(t.sizes() == like.sizes() && t.scalar_type() == like.scalar_type() && t.is_cpu(),
            "demodulation: expected ", like.sizes(), ", ", like.scalar_type(), ", got ", t.sizes(), ", ", t.scalar_type());
        return like.dim() == 4 ? t.contiguous(format) : t.contiguous();
    }
    Tensor weights(bool wanted) const { return wanted ? at::empty(w.sizes(), w.options(), format) : at::empty({0}, w.options()); }
    Tensor sums(bool wanted) const { return wanted ? at::zeros({chunks, p.n, p.i}, s.options()) : Tensor(); }
    void run(int order) const {
        at::parallel_for(0, chunks, 1, [&](int64_t begin, int64_t end) { STYLEGAN_RUN(demodulation, p, order, begin, end) });
    }
};

void* pointer(const Tensor& t) { return t.defined() && t.numel() > 0 ? t.mutable_data_ptr() : nullptr; }

Tensor demodulation(const Tensor& s, const Tensor& w, double epsilon) {
    Call call(s, w);
    const Tensor d = call.norms();
    call.p.epsilon = epsilon, call.p.out = d.mutable_data_ptr();
    call.run(0);
    return d;
}

std::tuple<Tensor, Tensor> demodulation_grad(
    const Tensor& dd, const Tensor& s, const Tensor& w, const Tensor& d, const c10::List<bool>& wanted) {
    TORCH_CHECK_VALUE(wanted.size() == 2, "demodulation_grad: wanted must be two");
    Call call(s, w);
    const Tensor shape = call.norms(), up = call.fitting(dd, shape), norms = call.fitting(d, shape);
    const Tensor by_s = call.sums(wanted[0]), dw = call.weights(wanted[1]);
    call.p.dd = up.const_data_ptr(), call.p.d = norms.const_data_ptr();
    call.p.by_s = pointer(by_s), call.p.by_w = pointer(dw);
    call.run(1);
    return {wanted[0] ? by_s.sum(0).mul_(call.s) : at::empty({0}, s.options()), dw};
}

std::tuple<Tensor, Tensor, Tensor> demodulation_grad2(
    const OptionalTensor& dds, const OptionalTensor& ddw, const Tensor& dd, const Tensor& s, const Tensor& w, const Tensor& d,
    const c10::List<bool>& wanted) {
    TORCH_CHECK_VALUE(wanted.size() == 2, "demodulation_grad2: wanted must be two");
    Call call(s, w);
    const Tensor d_dd = call.norms(), first = call.fitting(dd, d_dd), norms = call.fitting(d, d_dd);
    Tensor up_s, up_w;
    if (dds.has_value()) up_s = call.fitting(*dds, call.s), call.p.dds = up_s.const_data_ptr();
    if (ddw.has_value()) up_w = call.fitting(*ddw, call.w), call.p.ddw = up_w.const_data_ptr();
    const Tensor by_s = call.sums(wanted[0]), by_up = call.sums(wanted[0] && dds.has_value()), d_w = call.weights(wanted[1]);
    call.p.dd = first.const_data_ptr(), call.p.d = norms.const_data_ptr(), call.p.out = d_dd.mutable_data_ptr();
    call.p.by_s = pointer(by_s), call.p.by_s_up = pointer(by_up), call.p.by_w = pointer(d_w);
    call.run(2);
    Tensor d_s = wanted[0] ? by_s.sum(0).mul_(call.s) : at::empty({0}, s.options());
    if (by_up.defined()) d_s.addcmul_(by_up.sum(0), up_s);
    return {d_dd, d_s, d_w};
}

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("demodulation", stylegan::demodulation);
    m.impl("demodulation_grad", stylegan::demodulation_grad);
    m.impl("demodulation_grad2", stylegan::demodulation_grad2);
}
