// stylegan::demodulation, _grad and _grad2 (stylegan/ops/demodulation.py) on CUDA; part of bindings_cuda.cpp.
#include "demodulation.h"

namespace stylegan {
namespace {

// The parameters of a call, and the tensors that they point into.
struct DemodulationCall {
    Demodulation p{};
    DemodulationSums sums{};
    Tensor s, w, dd, d, dds, ddw, q, r, h;
    at::MemoryFormat format;

    DemodulationCall(const Tensor& styles, const Tensor& weights) : s(styles.contiguous()), format(format_of(weights)) {
        w = weights.contiguous(format);
        p.n = s.size(0), p.o = w.size(0), p.i = s.size(1), p.taps = w.size(2) * w.size(3);
        p.channels_last = format == at::MemoryFormat::ChannelsLast;
        p.dtype = dtype_of(s, "demodulation");
        p.s = s.const_data_ptr(), p.w = w.const_data_ptr();
    }
    Tensor norms() const { return at::empty({p.n, p.o}, s.options()); }
    // What orders 1 and 2 are given, and what they hand from kernel to kernel.
    void gradients(const Tensor& up, const Tensor& norm, bool wants_styles, bool second) {
        dd = up.contiguous(), d = norm.contiguous();
        p.dd = dd.const_data_ptr(), p.d = d.const_data_ptr();
        const auto sums_of = [&](bool needed, index_t rows, index_t columns) { return at::empty({needed ? rows : 0, columns}, s.options()); };
        q = sums_of(wants_styles, p.o, p.i), r = sums_of(wants_styles && second, p.o, p.i), h = sums_of(second, p.n, p.o);
        sums = {writable(q), writable(r), writable(h)};
    }
    Tensor styles(bool wanted) const { return wanted ? at::empty({p.n, p.i}, s.options()) : at::empty({0}, s.options()); }
    Tensor weights(bool wanted) const { return wanted ? at::empty(w.sizes(), w.options(), format) : at::empty({0}, w.options()); }
    void run(int order) const { check(demodulation_cuda(p, sums, order, current_stream()), "demodulation"); }
};

Tensor demodulation(const Tensor& s, const Tensor& w, double epsilon) {
    const c10::cuda::CUDAGuard guard(s.device());
    DemodulationCall call(s, w);
    const Tensor d = call.norms();
    call.p.epsilon = epsilon, call.p.out = writable(d);
    call.run(0);
    return d;
}

std::tuple<Tensor, Tensor> demodulation_grad(const Tensor& dd, const Tensor& s, const Tensor& w, const Tensor& d, const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(s.device());
    DemodulationCall call(s, w);
    call.gradients(dd, d, wanted[0], false);
    const Tensor ds = call.styles(wanted[0]), dw = call.weights(wanted[1]);
    call.p.by_s = writable(ds), call.p.by_w = writable(dw);
    call.run(1);
    return {ds, dw};
}

std::tuple<Tensor, Tensor, Tensor> demodulation_grad2(const Optional& dds, const Optional& ddw, const Tensor& dd, const Tensor& s, const Tensor& w,
                                                      const Tensor& d, const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(s.device());
    DemodulationCall call(s, w);
    call.gradients(dd, d, wanted[0], true);
    if (dds) call.dds = dds->contiguous(), call.p.dds = call.dds.const_data_ptr();
    if (ddw) call.ddw = ddw->contiguous(call.format), call.p.ddw = call.ddw.const_data_ptr();
    const Tensor d_dd = call.norms(), d_s = call.styles(wanted[0]), d_w = call.weights(wanted[1]);
    call.p.out = writable(d_dd), call.p.by_s = writable(d_s), call.p.by_w = writable(d_w);
    call.run(2);
    return {d_dd, d_s, d_w};
}

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(STYLEGAN_NAMESPACE, STYLEGAN_KEY, m) {
    m.impl("demodulation", stylegan::demodulation);
    m.impl("demodulation_grad", stylegan::demodulation_grad);
    m.impl("demodulation_grad2", stylegan::demodulation_grad2);
}
