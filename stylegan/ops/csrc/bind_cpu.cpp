// Bindings of bias_act, modulated_epilogue and modulation_grad to torch on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <array>
#include <limits>

#include "bind.h"
#include "cpu_dispatch.h"

namespace stylegan {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

Activation activation(c10::string_view name) {
    constexpr std::array<c10::string_view, 9> names{
        "linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"};
    const auto found = std::find(names.begin(), names.end(), name);
    TORCH_CHECK_VALUE(found != names.end(), "unknown activation ", name);
    return static_cast<Activation>(found - names.begin());
}

// `like` is dense; all tensors of the call lie in memory in its order.
Tensor run_bias_act(BiasActParams p, const Tensor& like, const OptionalTensor& b, int64_t dim) {
    const Tensor out = at::empty_like(like);
    const index_t numel = like.numel();
    Tensor bias;
    p.channels = 1, p.inner = std::max<index_t>(numel, 1);
    if (b.has_value()) {
        TORCH_CHECK_VALUE(dim >= -like.dim() && dim < like.dim(), "bias_act: no dimension ", dim, " in ", like.sizes());
        dim = dim < 0 ? dim + like.dim() : dim;
        TORCH_CHECK_VALUE(b->dim() == 1 && b->size(0) == like.size(dim) && b->scalar_type() == like.scalar_type(),
            "bias_act: bias ", b->sizes(), ", ", b->scalar_type(), " does not fit dimension ", dim, " of ", like.sizes());
        bias = b->contiguous();
        p.b = bias.const_data_ptr();
        if (like.size(dim) > 1) p.channels = like.size(dim), p.inner = out.stride(dim);
    }
    p.dtype = dtype_of(like, "bias_act");
    p.out = out.mutable_data_ptr();
    p.numel = numel;
    at::parallel_for(0, numel, grain, [&](int64_t begin, int64_t end) { STYLEGAN_RUN(bias_act, p, begin, end) });
    return out;
}

Tensor bias_act(
    const Tensor& x, const OptionalTensor& b, c10::string_view act, double alpha, double gain, double clamp, int64_t dim) {
    const Tensor input = dense(x);
    BiasActParams p{};
    p.x = input.const_data_ptr();
    p.order = 0, p.act = activation(act), p.alpha = alpha, p.gain = gain, p.clamp = clamp;
    return run_bias_act(p, input, b, dim);
}

Tensor bias_act_grad(
    const Tensor& dy, const Tensor& ref, const OptionalTensor& b, c10::string_view act, double alpha, double gain, double clamp,
    int64_t dim) {
    const Tensor like = dense(ref), upstream = laid_out_as(dy, like);
    BiasActParams p{};
    p.order = 1, p.act = activation(act), p.alpha = alpha, p.gain = gain, p.clamp = clamp;
    p.dy = upstream.const_data_ptr();
    (p.act <= Activation::lrelu ? p.y : p.x) = like.const_data_ptr();
    return run_bias_act(p, like, b, dim);
}

Tensor bias_act_grad2(
    const Tensor& ddx, const Tensor& dy, const Tensor& x, const OptionalTensor& b, c10::string_view act, double alpha, double gain,
    double clamp, int64_t dim) {
    const Tensor like = dense(x), first = laid_out_as(dy, like), second = laid_out_as(ddx, like);
    BiasActParams p{};
    p.order = 2, p.act = activation(act), p.alpha = alpha, p.gain = gain, p.clamp = clamp;
    TORCH_CHECK_VALUE(p.act > Activation::lrelu, "bias_act_grad2: ", act, " has no second derivative");
    p.x = like.const_data_ptr(), p.dy = first.const_data_ptr(), p.ddx = second.const_data_ptr();
    return run_bias_act(p, like, b, dim);
}

// The parameters of an epilogue, and the tensors that they point into.
struct Epilogue {
    EpilogueShape shape{};
    Tensor d, noise, b;
    index_t chunks = 1;  // of the pixels of an image: a function of the shape alone

    Epilogue(
        const Tensor& x, at::MemoryFormat format, const OptionalTensor& d_, const OptionalTensor& noise_, const OptionalTensor& b_,
        c10::string_view act, double alpha, double gain, double clamp) {
        const Activation kind = activation(act);
        TORCH_CHECK_VALUE(kind == Activation::linear || kind == Activation::lrelu, "modulated_epilogue: no activation ", act);
        shape.n = x.size(0), shape.c = x.size(1), shape.pixels = x.size(2) * x.size(3);
        shape.channels_last = format == at::MemoryFormat::ChannelsLast;
        shape.dtype = dtype_of(x, "modulated_epilogue");
        shape.leaky = kind == Activation::lrelu;
        shape.alpha = alpha, shape.gain = gain, shape.clamp = clamp;
        const at::ScalarType type = compute_type(x);
        d = fitting("d", d_, {shape.n, shape.c}, type);
        b = fitting("b", b_, {shape.c}, type);
        shape.noise_per_image = noise_.has_value() && noise_->dim() == 4;
        const std::array<int64_t, 4> sizes{x.size(0), 1, x.size(2), x.size(3)};
        noise = fitting("noise", noise_, at::IntArrayRef(sizes).slice(shape.noise_per_image ? 0 : 2), type);
        shape.d = pointer(d), shape.noise = pointer(noise), shape.b = pointer(b);
        chunks = std::clamp<index_t>(shape.c * shape.pixels / grain, 1, std::max<index_t>(shape.pixels, 1));
    }

    // Nothing but the product with s, and x itself where an epilogue has its result.
    static Epilogue of_product(const Tensor& x, at::MemoryFormat format, const OptionalTensor& s) {
        Epilogue e(x, format, s, std::nullopt, std::nullopt, "linear", 1, 1, std::numeric_limits<double>::quiet_NaN());
        e.shape.y_is_x = true;
        return e;
    }

    static Tensor fitting(const char* name, const OptionalTensor& t, at::IntArrayRef sizes, at::ScalarType type) {
        if (!t.has_value()) return Tensor();
        TORCH_CHECK_VALUE(t->sizes() == sizes && t->scalar_type() == type && t->is_cpu(),
            "modulated_epilogue: ", name, " must be ", sizes, ", ", type, ", not ", t->sizes(), ", ", t->scalar_type());
        return t->contiguous();
    }
    static const void* pointer(const Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }

    template <class F>
    void parallel(F run) const {
        const index_t work = std::max<index_t>(shape.c * shape.pixels / chunks, 1);
        at::parallel_for(0, shape.n * chunks, std::max<index_t>(grain / work, 1), run);
    }
};

void check_image(const Tensor& x, const char* name) {
    TORCH_CHECK_VALUE(x.dim() == 4, "modulated_epilogue: ", name, " must be [N, C, H, W], not ", x.sizes());
}

// [n, chunks, c] added up in a fixed order, over the chunks or, for a [c], over the images too.
template <class A>
Tensor added_up(const Tensor& parts, bool per_image) {
    const index_t n = parts.size(0), chunks = parts.size(1), c = parts.size(2);
    const Tensor out = per_image ? at::empty({n, c}, parts.options()) : at::empty({c}, parts.options());
    const A* in = parts.const_data_ptr<A>();
    A* to = out.mutable_data_ptr<A>();
    std::vector<double> sum(c);
    for (index_t i = 0; i < n; i++) {
        if (per_image || i == 0) std::fill(sum.begin(), sum.end(), 0.0);
        for (index_t j = 0; j < chunks; j++) {
            for (index_t k = 0; k < c; k++) sum[k] += in[(i * chunks + j) * c + k];
        }
        if (per_image) std::copy(sum.begin(), sum.end(), to + i * c);
    }
    if (!per_image) std::copy(sum.begin(), sum.end(), to);
    return out;
}

Tensor added_up(const Tensor& parts, bool per_image) {
    return parts.scalar_type() == at::kDouble ? added_up<double>(parts, per_image) : added_up<float>(parts, per_image);
}

std::tuple<Tensor, Tensor> modulated_epilogue(
    const Tensor& x, const OptionalTensor& d, const OptionalTensor& noise, const OptionalTensor& b, c10::string_view act,
    double alpha, double gain, double clamp) {
    check_image(x, "x");
    const auto format = format_of(x);
    const Tensor input = x.contiguous(format), y = at::empty(x.sizes(), x.options(), format);
    const Epilogue e(x, format, d, noise, b, act, alpha, gain, clamp);
    const EpilogueForward f{e.shape, input.const_data_ptr(), y.mutable_data_ptr()};
    if (x.numel() > 0) {
        e.parallel([&](int64_t begin, int64_t end) { STYLEGAN_RUN(epilogue, f, e.chunks, begin, end) });
    }
    return {y, at::zeros({}, x.options()).expand(x.sizes())};
}

// dx, dd, dnoise, db; `format` is that of y. What is not empty of `product`, y-like, gets y * d.
std::tuple<Tensor, Tensor, Tensor, Tensor> run_grad(
    const Epilogue& e, at::MemoryFormat format, const Tensor& dy, const Tensor& y, const OptionalTensor& dlink,
    std::array<bool, 3> wanted, const Tensor& product = Tensor()) {
    const Tensor result = y.contiguous(format), upstream = laid_out_as(dy, result);
    const auto small = y.options().dtype(compute_type(y));
    const Tensor dx = at::empty(y.sizes(), y.options(), format);
    EpilogueGrad g{};
    g.s = e.shape, g.dy = upstream.const_data_ptr(), g.y = result.const_data_ptr(), g.dx = dx.mutable_data_ptr();
    g.chunks = e.chunks;
    Tensor more;
    if (dlink.has_value()) more = laid_out_as(*dlink, result), g.dlink = more.const_data_ptr();
    if (product.defined() && product.numel() > 0) g.product = product.mutable_data_ptr();
    const bool want_d = wanted[0] && e.d.defined(), want_noise = wanted[1] && e.noise.defined(), want_b = wanted[2] && e.b.defined();
    Tensor dd, dnoise, db;
    if (want_d) dd = at::zeros({e.shape.n, e.chunks, e.shape.c}, small), g.dd = dd.mutable_data_ptr();
    if (want_b) db = at::zeros({e.shape.n, e.chunks, e.shape.c}, small), g.db = db.mutable_data_ptr();
    if (want_noise) dnoise = at::zeros({e.shape.n, 1, y.size(2), y.size(3)}, small), g.dnoise = dnoise.mutable_data_ptr();
    if (y.numel() > 0) {
        e.parallel([&](int64_t begin, int64_t end) { STYLEGAN_RUN(epilogue_grad, g, begin, end) });
    }
    if (want_noise && !e.shape.noise_per_image) dnoise = dnoise.sum(at::IntArrayRef{0, 1});
    const auto empty = [&] { return at::empty({0}, small); };
    return {dx, want_d ? added_up(dd, true) : empty(), want_noise ? dnoise : empty(), want_b ? added_up(db, false) : empty()};
}

// d_dy, d_x, d_d; `up` holds ddd, ddnoise and ddb, which have the shapes of d, noise and b.
std::tuple<Tensor, Tensor, Tensor> run_grad2(
    const Epilogue& e, const Epilogue& up, at::MemoryFormat format, const OptionalTensor& ddx, const Tensor& dy, const Tensor& y,
    const c10::List<bool>& wanted) {
    TORCH_CHECK_VALUE(wanted.size() == 3, "wanted must be three");
    const Tensor result = y.contiguous(format), upstream = laid_out_as(dy, result);
    const auto small = y.options().dtype(compute_type(y));
    EpilogueGrad2 g{};
    g.s = e.shape, g.dy = upstream.const_data_ptr(), g.y = result.const_data_ptr();
    g.ddd = up.shape.d, g.ddnoise = up.shape.noise, g.ddb = up.shape.b, g.chunks = e.chunks;
    Tensor second;
    if (ddx.has_value()) second = laid_out_as(*ddx, result), g.ddx = second.const_data_ptr();
    const auto image = [&](bool want) {
        return want ? at::empty(y.sizes(), y.options(), format) : at::empty({0}, y.options());
    };
    const Tensor d_dy = image(wanted[0]), d_x = image(wanted[1]);
    if (wanted[0]) g.d_dy = d_dy.mutable_data_ptr();
    if (wanted[1]) g.d_x = d_x.mutable_data_ptr();
    Tensor d_d;
    if (wanted[2]) d_d = at::zeros({e.shape.n, e.chunks, e.shape.c}, small), g.d_d = d_d.mutable_data_ptr();
    if (y.numel() > 0) {
        e.parallel([&](int64_t begin, int64_t end) { STYLEGAN_RUN(epilogue_grad2, g, begin, end) });
    }
    return {d_dy, d_x, wanted[2] ? added_up(d_d, true) : at::empty({0}, small)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> modulated_epilogue_grad(
    const Tensor& dy, const Tensor& y, const Tensor& link, const OptionalTensor& dlink, const OptionalTensor& d,
    const OptionalTensor& noise, const OptionalTensor& b, c10::string_view act, double alpha, double gain, double clamp,
    const c10::List<bool>& wanted) {
    check_image(y, "y");
    TORCH_CHECK_VALUE(wanted.size() == 3, "modulated_epilogue_grad: wanted must be three");
    const auto format = format_of(y);
    const Epilogue e(y, format, d, noise, b, act, alpha, gain, clamp);
    return run_grad(e, format, dy, y, dlink, {wanted[0], wanted[1], wanted[2]});
}

std::tuple<Tensor, Tensor, Tensor> modulated_epilogue_grad2(
    const OptionalTensor& ddx, const OptionalTensor& ddd, const OptionalTensor& ddnoise, const OptionalTensor& ddb,
    const Tensor& dy, const Tensor& y, const OptionalTensor& d, const OptionalTensor& noise, const OptionalTensor& b,
    c10::string_view act, double alpha, double gain, double clamp, const c10::List<bool>& wanted) {
    check_image(y, "y");
    const auto format = format_of(y);
    const Epilogue e(y, format, d, noise, b, act, alpha, gain, clamp), up(y, format, ddd, ddnoise, ddb, act, alpha, gain, clamp);
    TORCH_CHECK_VALUE(!up.noise.defined() || up.shape.noise_per_image == e.shape.noise_per_image,
        "modulated_epilogue_grad2: ddnoise must have the noise's shape");
    return run_grad2(e, up, format, ddx, dy, y, wanted);
}

std::tuple<Tensor, Tensor, Tensor> modulation_grad(
    const Tensor& dy, const Tensor& x, const Tensor& s, bool want_y, const OptionalTensor& more) {
    check_image(x, "x");
    const auto format = format_of(x);
    const Tensor y = want_y ? at::empty(x.sizes(), x.options(), format) : at::empty({0}, x.options());
    const auto [dx, ds, dnoise, db] = run_grad(Epilogue::of_product(x, format, s), format, dy, x, more, {true, false, false}, y);
    return {dx, ds, y};
}

std::tuple<Tensor, Tensor, Tensor> modulation_grad2(
    const OptionalTensor& ddx, const OptionalTensor& dds, const Tensor& dy, const Tensor& x, const Tensor& s,
    const c10::List<bool>& wanted) {
    check_image(x, "x");
    const auto format = format_of(x);
    return run_grad2(Epilogue::of_product(x, format, s), Epilogue::of_product(x, format, dds), format, ddx, dy, x, wanted);
}

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("bias_act", stylegan::bias_act);
    m.impl("bias_act_grad", stylegan::bias_act_grad);
    m.impl("bias_act_grad2", stylegan::bias_act_grad2);
    m.impl("modulated_epilogue", stylegan::modulated_epilogue);
    m.impl("modulated_epilogue_grad", stylegan::modulated_epilogue_grad);
    m.impl("modulated_epilogue_grad2", stylegan::modulated_epilogue_grad2);
    m.impl("modulation_grad", stylegan::modulation_grad);
    m.impl("modulation_grad2", stylegan::modulation_grad2);
}
