// The CUDA kernels as torch ops: checks nothing that the Python side has checked, allocates results, fills parameters.
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <array>
#include <limits>

#include "bind.h"
#include "cuda_ops.h"

#ifndef STYLEGAN_NAMESPACE  // a test registers the same code, with kernels that run on the CPU, under another name
#define STYLEGAN_NAMESPACE stylegan
#define STYLEGAN_KEY CUDA
#endif

namespace stylegan {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

void check(int error, const char* op) {
    TORCH_CHECK(error == 0, op, ": the CUDA kernel could not be launched (cudaError ", error,
                "); sizes or filters are beyond what it handles, or the device is broken: try ops.backend=reference");
}

Activation activation_of(c10::string_view name) {
    constexpr std::array<c10::string_view, 9> names{"linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"};
    const auto found = std::find(names.begin(), names.end(), name);
    TORCH_CHECK_VALUE(found != names.end(), "unknown activation ", name);
    return static_cast<Activation>(found - names.begin());
}

void* writable(const Tensor& t) { return t.numel() ? t.mutable_data_ptr() : nullptr; }

// ---------------------------------------------------------------------------------------------------------------------

// `like` is dense; all tensors of the call lie in memory in its order.
Tensor run_bias_act(BiasActParams p, const Tensor& like, const Optional& b, int64_t dim) {
    const Tensor out = at::empty_like(like), bias = b ? b->contiguous() : Tensor();
    p.dtype = dtype_of(like, "bias_act");
    p.out = writable(out);
    p.numel = like.numel();
    p.channels = 1, p.inner = std::max<index_t>(p.numel, 1);
    if (b) {
        p.b = bias.const_data_ptr();
        dim = dim < 0 ? dim + like.dim() : dim;
        // In a dense tensor a stride is the number of elements of all dimensions inside of it.
        if (like.size(dim) > 1) p.channels = like.size(dim), p.inner = out.stride(dim);
    }
    check(bias_act_cuda(p, current_stream()), "bias_act");
    return out;
}

BiasActParams bias_act_params(int order, c10::string_view act, double alpha, double gain, double clamp) {
    BiasActParams p{};
    p.order = order, p.act = activation_of(act), p.alpha = alpha, p.gain = gain, p.clamp = clamp;
    return p;
}

Tensor bias_act(const Tensor& x, const Optional& b, c10::string_view act, double alpha, double gain, double clamp, int64_t dim) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor input = dense(x);
    BiasActParams p = bias_act_params(0, act, alpha, gain, clamp);
    p.x = input.const_data_ptr();
    return run_bias_act(p, input, b, dim);
}

Tensor bias_act_grad(const Tensor& dy, const Tensor& ref, const Optional& b, c10::string_view act, double alpha, double gain, double clamp,
                     int64_t dim) {
    const c10::cuda::CUDAGuard guard(ref.device());
    const Tensor like = dense(ref), upstream = laid_out_as(dy, like);
    BiasActParams p = bias_act_params(1, act, alpha, gain, clamp);
    const bool piecewise = p.act <= Activation::lrelu;  // then ref is the result, and the bias is in it
    (piecewise ? p.y : p.x) = like.const_data_ptr();
    p.dy = upstream.const_data_ptr();
    return run_bias_act(p, like, piecewise ? Optional() : b, dim);
}

Tensor bias_act_grad2(const Tensor& ddx, const Tensor& dy, const Tensor& x, const Optional& b, c10::string_view act, double alpha, double gain,
                      double clamp, int64_t dim) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor like = dense(x), first = laid_out_as(dy, like), second = laid_out_as(ddx, like);
    BiasActParams p = bias_act_params(2, act, alpha, gain, clamp);
    p.x = like.const_data_ptr(), p.dy = first.const_data_ptr(), p.ddx = second.const_data_ptr();
    return run_bias_act(p, like, b, dim);
}

// ---------------------------------------------------------------------------------------------------------------------

void copy_strides(const Tensor& t, index_t (&out)[4]) { std::copy_n(t.strides().begin(), 4, out); }

Tensor upfirdn2d(const Tensor& x, const Tensor& f, at::IntArrayRef up, at::IntArrayRef down, at::IntArrayRef padding, bool flip_filter, double gain,
                 const Optional& added) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor taps = f.contiguous();
    Upfirdn2dParams p{};
    p.x = x.const_data_ptr(), p.f = taps.const_data_ptr<float>();
    p.separable = f.dim() == 1;
    p.f_w = f.size(-1);
    p.f_h = p.separable ? p.f_w : f.size(0);
    p.dtype = dtype_of(x, "upfirdn2d");
    p.n = x.size(0), p.c = x.size(1), p.in_h = x.size(2), p.in_w = x.size(3);
    p.up_x = up[0], p.up_y = up[1], p.down_x = down[0], p.down_y = down[1];
    p.pad_x = padding[0], p.pad_y = padding[2];
    p.out_h = (p.in_h * p.up_y + padding[2] + padding[3] - p.f_h) / p.down_y + 1;
    p.out_w = (p.in_w * p.up_x + padding[0] + padding[1] - p.f_w) / p.down_x + 1;
    p.flip = flip_filter;
    p.gain = gain;
    const Tensor y = at::empty({p.n, p.c, p.out_h, p.out_w}, x.options(), format_of(x));
    const Tensor more = added ? laid_out_as(*added, y) : Tensor();
    p.y = writable(y), p.added = data_or_null(more);
    copy_strides(x, p.x_stride);
    copy_strides(y, p.y_stride);
    check(upfirdn2d_cuda(p, current_stream()), "upfirdn2d");
    return y;
}

// ---------------------------------------------------------------------------------------------------------------------

// All but pointers, modes and what only one of the two ops has.
FilteredLreluParams lrelu_params(const Tensor& x, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down, at::IntArrayRef padding,
                                 double gain, double slope, bool flip_filter) {
    FilteredLreluParams p{};
    p.x = x.const_data_ptr();
    p.fu = fu.const_data_ptr<float>();
    p.fd = fd.const_data_ptr<float>();
    p.dtype = dtype_of(x, "filtered_lrelu");
    p.fu_separable = fu.dim() == 1, p.fd_separable = fd.dim() == 1;
    p.fu_w = fu.size(-1), p.fu_h = p.fu_separable ? p.fu_w : fu.size(0);
    p.fd_w = fd.size(-1), p.fd_h = p.fd_separable ? p.fd_w : fd.size(0);
    p.n = x.size(0), p.c = x.size(1), p.in_h = x.size(2), p.in_w = x.size(3);
    p.up = up, p.down = down, p.pad_x = padding[0], p.pad_y = padding[2];
    p.up_h = p.in_h * up + padding[2] + padding[3] - p.fu_h + 1;
    p.up_w = p.in_w * up + padding[0] + padding[1] - p.fu_w + 1;
    p.out_h = (p.up_h - p.fd_h) / down + 1;
    p.out_w = (p.up_w - p.fd_w) / down + 1;
    p.flip = flip_filter;
    p.gain = gain;
    p.slope = slope;
    copy_strides(x, p.x_stride);
    return p;
}

void set_codes(FilteredLreluParams& p, const Tensor& codes, CodeMode mode) {
    p.mode = mode;
    p.codes_h = codes.size(2), p.codes_bytes_w = codes.size(3);
    copy_strides(codes, p.codes_stride);
}

std::tuple<Tensor, Tensor> filtered_lrelu(const Tensor& x, const Optional& b, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down,
                                          at::IntArrayRef padding, double gain, double slope, double clamp, bool flip_filter, bool write_codes) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor taps_u = fu.contiguous(), taps_d = fd.contiguous(), bias = b ? b->contiguous() : Tensor();
    FilteredLreluParams p = lrelu_params(x, taps_u, taps_d, up, down, padding, gain, slope, flip_filter);
    p.b = bias.defined() ? bias.const_data_ptr() : nullptr;
    p.clamp = clamp;
    const Tensor y = at::empty({p.n, p.c, p.out_h, p.out_w}, x.options(), format_of(x));
    p.y = writable(y);
    copy_strides(y, p.y_stride);
    Tensor codes = at::empty({0}, x.options().dtype(at::kByte));
    if (write_codes) {
        codes = at::empty({p.n, p.c, p.up_h, (p.up_w + 3) / 4}, codes.options(), format_of(x));
        set_codes(p, codes, CodeMode::write);
        p.codes = static_cast<uint8_t*>(writable(codes));
    }
    check(filtered_lrelu_cuda(p, current_stream()), "filtered_lrelu");
    return {y, codes};
}

Tensor filtered_lrelu_masked(const Tensor& x, const Tensor& codes, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down,
                             at::IntArrayRef padding, at::IntArrayRef offset, double gain, double slope, bool flip_filter) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor taps_u = fu.contiguous(), taps_d = fd.contiguous();
    FilteredLreluParams p = lrelu_params(x, taps_u, taps_d, up, down, padding, gain, slope, flip_filter);
    const Tensor y = at::empty({p.n, p.c, p.out_h, p.out_w}, x.options(), format_of(x));
    p.y = writable(y);
    copy_strides(y, p.y_stride);
    set_codes(p, codes, CodeMode::read);
    p.codes = const_cast<uint8_t*>(codes.const_data_ptr<uint8_t>());  // only read in this mode
    p.code_x = offset[0], p.code_y = offset[1];
    check(filtered_lrelu_cuda(p, current_stream()), "filtered_lrelu_masked");
    return y;
}

// ---------------------------------------------------------------------------------------------------------------------

// d, noise and b as the kernels want them, and the scalars. The tensors must outlive the parameters.
struct Sides {
    Tensor d, noise, b;
    EpilogueShape shape{};
    Sides(const Tensor& image, at::MemoryFormat format, const Optional& d_, const Optional& noise_, const Optional& b_, c10::string_view act,
          double alpha, double gain, double clamp)
        : d(whole(d_)), noise(whole(noise_)), b(whole(b_)) {
        shape.n = image.size(0), shape.c = image.size(1), shape.pixels = image.size(2) * image.size(3);
        shape.channels_last = format == at::MemoryFormat::ChannelsLast;
        shape.dtype = dtype_of(image, "modulated_epilogue");
        shape.leaky = activation_of(act) == Activation::lrelu;
        shape.alpha = alpha, shape.gain = gain, shape.clamp = clamp;
        shape.noise_per_image = noise_ && noise_->dim() == 4;
        shape.d = pointer(d), shape.noise = pointer(noise), shape.b = pointer(b);
    }
    // Nothing but the product with s, and x itself where an epilogue has its result.
    static Sides of_product(const Tensor& x, at::MemoryFormat format, const Optional& s) {
        Sides sides(x, format, s, {}, {}, "linear", 1, 1, std::numeric_limits<double>::quiet_NaN());
        sides.shape.y_is_x = true;
        return sides;
    }
    static Tensor whole(const Optional& t) { return t ? t->contiguous() : Tensor(); }
    static const void* pointer(const Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }
};

std::tuple<Tensor, Tensor> modulated_epilogue(const Tensor& x, const Optional& d, const Optional& noise, const Optional& b, c10::string_view act,
                                              double alpha, double gain, double clamp) {
    const c10::cuda::CUDAGuard guard(x.device());
    const auto format = format_of(x);
    const Tensor input = x.contiguous(format), y = at::empty(x.sizes(), x.options(), format);
    const Sides sides(x, format, d, noise, b, act, alpha, gain, clamp);
    check(modulated_epilogue_cuda({sides.shape, input.const_data_ptr(), writable(y)}, current_stream()), "modulated_epilogue");
    return {y, at::zeros({}, x.options()).expand(x.sizes())};
}

// dx, dd, dnoise, db; `format` is that of y. What is not empty of `product`, y-like, gets y * d.
std::tuple<Tensor, Tensor, Tensor, Tensor> run_grad(const Sides& sides, at::MemoryFormat format, const Tensor& dy, const Tensor& y,
                                                    const Optional& dlink, std::array<bool, 3> wanted, const Tensor& product = Tensor()) {
    const Tensor result = y.contiguous(format), upstream = laid_out_as(dy, result), more = dlink ? laid_out_as(*dlink, result) : Tensor();
    const index_t n = y.size(0), c = y.size(1), chunks = epilogue_chunks_cuda(sides.shape);
    const auto small = y.options().dtype(compute_type(y));
    // Zeros, for an image without pixels; else the kernel writes all of it.
    const auto sums = [&](bool want, at::IntArrayRef size) { return !want ? at::empty({0}, small) : y.numel() ? at::empty(size, small) : at::zeros(size, small); };
    const bool want_d = wanted[0] && sides.d.defined(), want_noise = wanted[1] && sides.noise.defined(), want_b = wanted[2] && sides.b.defined();
    const Tensor dx = at::empty(y.sizes(), y.options(), format);
    const Tensor dd = sums(want_d, {n, chunks, c}), dnoise = sums(want_noise, {n, 1, y.size(2), y.size(3)}), db = sums(want_b, {n, chunks, c});
    const EpilogueGrad p{sides.shape, upstream.const_data_ptr(), result.const_data_ptr(), Sides::pointer(more), writable(dx), chunks,
                         writable(dd), writable(dnoise), writable(db), product.defined() ? writable(product) : nullptr};
    check(modulated_epilogue_grad_cuda(p, current_stream()), "modulated_epilogue_grad");
    return {dx, want_d ? dd.sum(1) : dd, want_noise && !sides.shape.noise_per_image ? dnoise.sum(at::IntArrayRef{0, 1}) : dnoise, want_b ? db.sum(at::IntArrayRef{0, 1}) : db};
}

// d_dy, d_x, d_d; `up` holds ddd, ddnoise and ddb, which have the shapes of d, noise and b.
std::tuple<Tensor, Tensor, Tensor> run_grad2(const Sides& sides, const Sides& up, at::MemoryFormat format, const Optional& ddx, const Tensor& dy,
                                             const Tensor& y, const c10::List<bool>& wanted) {
    const Tensor result = y.contiguous(format), upstream = laid_out_as(dy, result), second = ddx ? laid_out_as(*ddx, result) : Tensor();
    const index_t n = y.size(0), c = y.size(1), chunks = epilogue_chunks_cuda(sides.shape);
    const auto image = [&](bool want) { return want ? at::empty(y.sizes(), y.options(), format) : at::empty({0}, y.options()); };
    const auto small = y.options().dtype(compute_type(y));
    const Tensor d_dy = image(wanted[0]), d_x = image(wanted[1]);
    const Tensor d_d = !wanted[2] ? at::empty({0}, small) : y.numel() ? at::empty({n, chunks, c}, small) : at::zeros({n, chunks, c}, small);
    const EpilogueGrad2 p{sides.shape, upstream.const_data_ptr(), result.const_data_ptr(), Sides::pointer(second), up.shape.d, up.shape.noise, up.shape.b,
                          writable(d_dy), writable(d_x), chunks, writable(d_d)};
    check(modulated_epilogue_grad2_cuda(p, current_stream()), "modulated_epilogue_grad2");
    return {d_dy, d_x, wanted[2] ? d_d.sum(1) : d_d};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> modulated_epilogue_grad(const Tensor& dy, const Tensor& y, const Tensor&, const Optional& dlink,
                                                                   const Optional& d, const Optional& noise, const Optional& b, c10::string_view act,
                                                                   double alpha, double gain, double clamp, const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(y.device());
    const auto format = format_of(y);
    return run_grad({y, format, d, noise, b, act, alpha, gain, clamp}, format, dy, y, dlink, {wanted[0], wanted[1], wanted[2]});
}

std::tuple<Tensor, Tensor, Tensor> modulated_epilogue_grad2(const Optional& ddx, const Optional& ddd, const Optional& ddnoise, const Optional& ddb,
                                                            const Tensor& dy, const Tensor& y, const Optional& d, const Optional& noise,
                                                            const Optional& b, c10::string_view act, double alpha, double gain, double clamp,
                                                            const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(y.device());
    const auto format = format_of(y);
    return run_grad2({y, format, d, noise, b, act, alpha, gain, clamp}, {y, format, ddd, ddnoise, ddb, act, alpha, gain, clamp}, format, ddx, dy, y, wanted);
}

std::tuple<Tensor, Tensor, Tensor> modulation_grad(const Tensor& dy, const Tensor& x, const Tensor& s, bool want_y, const Optional& more) {
    const c10::cuda::CUDAGuard guard(x.device());
    const auto format = format_of(x);
    const Tensor y = want_y ? at::empty(x.sizes(), x.options(), format) : at::empty({0}, x.options());
    const auto [dx, ds, dnoise, db] = run_grad(Sides::of_product(x, format, s), format, dy, x, more, {true, false, false}, y);
    return {dx, ds, y};
}

std::tuple<Tensor, Tensor, Tensor> modulation_grad2(const Optional& ddx, const Optional& dds, const Tensor& dy, const Tensor& x, const Tensor& s,
                                                    const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(x.device());
    const auto format = format_of(x);
    return run_grad2(Sides::of_product(x, format, s), Sides::of_product(x, format, dds), format, ddx, dy, x, wanted);
}

}  // namespace

TORCH_LIBRARY_IMPL(STYLEGAN_NAMESPACE, STYLEGAN_KEY, m) {
    m.impl("bias_act", bias_act);
    m.impl("bias_act_grad", bias_act_grad);
    m.impl("bias_act_grad2", bias_act_grad2);
    m.impl("upfirdn2d", upfirdn2d);
    m.impl("filtered_lrelu", filtered_lrelu);
    m.impl("filtered_lrelu_masked", filtered_lrelu_masked);
    m.impl("modulated_epilogue", modulated_epilogue);
    m.impl("modulated_epilogue_grad", modulated_epilogue_grad);
    m.impl("modulated_epilogue_grad2", modulated_epilogue_grad2);
    m.impl("modulation_grad", modulation_grad);
    m.impl("modulation_grad2", modulation_grad2);
}

}  // namespace stylegan
