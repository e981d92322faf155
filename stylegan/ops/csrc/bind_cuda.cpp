// The CUDA kernels as torch ops: checks nothing that the Python side has checked, allocates results, fills parameters.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <ATen/ops/sum.h>
#include <torch/library.h>

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

Dtype dtype_of(const Tensor& t) {
    switch (t.scalar_type()) {
        case at::kFloat: return Dtype::f32;
        case at::kDouble: return Dtype::f64;
        case at::kHalf: return Dtype::f16;
        case at::kBFloat16: return Dtype::bf16;
        default: TORCH_CHECK(false, "stylegan ops need float16, bfloat16, float32 or float64, got ", t.scalar_type());
    }
}

at::TensorOptions compute_options(const Tensor& t) { return t.options().dtype(t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat); }

Activation activation_of(c10::string_view name) {
    constexpr std::string_view names[] = {"linear", "relu", "lrelu", "tanh", "sigmoid", "elu", "selu", "softplus", "swish"};
    for (int i = 0; i < 9; i++)
        if (names[i] == std::string_view(name.data(), name.size())) return static_cast<Activation>(i);
    TORCH_CHECK(false, "unknown activation ", std::string(name.data(), name.size()));
}

// t with the shape and strides of `model`, copied only if it lies otherwise in memory.
Tensor lying_like(const Tensor& t, const Tensor& model) {
    return t.sizes() == model.sizes() && t.strides() == model.strides() ? t : at::empty_like(model).copy_(t);
}

const void* data(const Tensor& t) { return t.const_data_ptr(); }
const void* data(const Optional& t) { return t ? t->const_data_ptr() : nullptr; }
void* data(Tensor& t) { return t.numel() ? t.mutable_data_ptr() : nullptr; }

bool channels_last(const Tensor& t) { return t.is_contiguous(at::MemoryFormat::ChannelsLast) && !t.is_contiguous(); }

Tensor empty_image(at::IntArrayRef size, const at::TensorOptions& options, bool nhwc) {
    return at::empty(size, options, nhwc ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

void strides(const Tensor& t, index_t (&out)[4]) { std::copy_n(t.strides().begin(), 4, out); }

// ---------------------------------------------------------------------------------------------------------------------

Tensor run_bias_act(int order, const Tensor& x, const Optional& y, const Optional& dy, const Optional& ddx, const Optional& b,
                    c10::string_view act, double alpha, double gain, double clamp, int64_t dim) {
    const c10::cuda::CUDAGuard guard(x.device());
    Tensor out = at::empty_like(x);
    const auto operand = [&](const Optional& t) { return t ? lying_like(*t, out) : Tensor(); };
    const Tensor operands[] = {y ? Tensor() : lying_like(x, out), operand(y), operand(dy), operand(ddx)};
    const Tensor bias = b ? b->contiguous() : Tensor();
    const auto pointer = [](const Tensor& t) { return t.defined() ? data(t) : nullptr; };
    if (dim < 0) dim += x.dim();
    BiasActParams p{pointer(operands[0]), pointer(operands[1]), pointer(operands[2]), pointer(operands[3]), pointer(bias), data(out)};
    p.numel = x.numel();
    p.channels = b ? x.size(dim) : 1;
    // In a dense tensor a stride is the number of elements of all dimensions inside of it.
    p.inner = !b || p.channels == 1 ? std::max<index_t>(p.numel / std::max<index_t>(p.channels, 1), 1) : out.stride(dim);
    p.order = order;
    p.dtype = dtype_of(x);
    p.act = activation_of(act);
    p.alpha = alpha;
    p.gain = gain;
    p.clamp = clamp;
    check(bias_act_cuda(p, current_stream()), "bias_act");
    return out;
}

Tensor bias_act(const Tensor& x, const Optional& b, c10::string_view act, double alpha, double gain, double clamp, int64_t dim) {
    return run_bias_act(0, x, {}, {}, {}, b, act, alpha, gain, clamp, dim);
}

Tensor bias_act_grad(const Tensor& dy, const Tensor& ref, const Optional& b, c10::string_view act, double alpha, double gain, double clamp,
                     int64_t dim) {
    const bool piecewise = activation_of(act) <= Activation::lrelu;
    return run_bias_act(1, ref, piecewise ? Optional(ref) : Optional(), dy, {}, piecewise ? Optional() : b, act, alpha, gain, clamp, dim);
}

Tensor bias_act_grad2(const Tensor& ddx, const Tensor& dy, const Tensor& x, const Optional& b, c10::string_view act, double alpha, double gain,
                      double clamp, int64_t dim) {
    return run_bias_act(2, x, {}, dy, ddx, b, act, alpha, gain, clamp, dim);
}

// ---------------------------------------------------------------------------------------------------------------------

Tensor upfirdn2d(const Tensor& x, const Tensor& f, at::IntArrayRef up, at::IntArrayRef down, at::IntArrayRef padding, bool flip_filter, double gain) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor taps = f.contiguous();
    Upfirdn2dParams p{data(x), taps.const_data_ptr<float>()};
    p.separable = f.dim() == 1;
    p.f_w = f.size(-1);
    p.f_h = p.separable ? p.f_w : f.size(0);
    p.dtype = dtype_of(x);
    p.n = x.size(0), p.c = x.size(1), p.in_h = x.size(2), p.in_w = x.size(3);
    p.up_x = up[0], p.up_y = up[1], p.down_x = down[0], p.down_y = down[1];
    p.pad_x = padding[0], p.pad_y = padding[2];
    p.out_h = (p.in_h * p.up_y + padding[2] + padding[3] - p.f_h) / p.down_y + 1;
    p.out_w = (p.in_w * p.up_x + padding[0] + padding[1] - p.f_w) / p.down_x + 1;
    p.flip = flip_filter;
    p.gain = gain;
    Tensor y = empty_image({p.n, p.c, p.out_h, p.out_w}, x.options(), channels_last(x));
    p.y = data(y);
    strides(x, p.x_stride);
    strides(y, p.y_stride);
    check(upfirdn2d_cuda(p, current_stream()), "upfirdn2d");
    return y;
}

// ---------------------------------------------------------------------------------------------------------------------

// All but pointers, modes and what only one of the two ops has.
FilteredLreluParams lrelu_params(const Tensor& x, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down, at::IntArrayRef padding,
                                 double gain, double slope, bool flip_filter) {
    FilteredLreluParams p{};
    p.x = data(x);
    p.fu = fu.const_data_ptr<float>();
    p.fd = fd.const_data_ptr<float>();
    p.dtype = dtype_of(x);
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
    strides(x, p.x_stride);
    return p;
}

void set_codes(FilteredLreluParams& p, const Tensor& codes, CodeMode mode) {
    p.mode = mode;
    p.codes_h = codes.size(2), p.codes_bytes_w = codes.size(3);
    strides(codes, p.codes_stride);
}

std::tuple<Tensor, Tensor> filtered_lrelu(const Tensor& x, const Optional& b, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down,
                                          at::IntArrayRef padding, double gain, double slope, double clamp, bool flip_filter, bool write_codes) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor taps_u = fu.contiguous(), taps_d = fd.contiguous(), bias = b ? b->contiguous() : Tensor();
    FilteredLreluParams p = lrelu_params(x, taps_u, taps_d, up, down, padding, gain, slope, flip_filter);
    p.b = bias.defined() ? data(bias) : nullptr;
    p.clamp = clamp;
    Tensor y = empty_image({p.n, p.c, p.out_h, p.out_w}, x.options(), channels_last(x));
    p.y = data(y);
    strides(y, p.y_stride);
    Tensor codes = at::empty({0}, x.options().dtype(at::kByte));
    if (write_codes) {
        codes = empty_image({p.n, p.c, p.up_h, (p.up_w + 3) / 4}, codes.options(), channels_last(x));
        set_codes(p, codes, CodeMode::write);
        p.codes = static_cast<uint8_t*>(data(codes));
    }
    check(filtered_lrelu_cuda(p, current_stream()), "filtered_lrelu");
    return {y, codes};
}

Tensor filtered_lrelu_masked(const Tensor& x, const Tensor& codes, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down,
                             at::IntArrayRef padding, at::IntArrayRef offset, double gain, double slope, bool flip_filter) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor taps_u = fu.contiguous(), taps_d = fd.contiguous();
    FilteredLreluParams p = lrelu_params(x, taps_u, taps_d, up, down, padding, gain, slope, flip_filter);
    Tensor y = empty_image({p.n, p.c, p.out_h, p.out_w}, x.options(), channels_last(x));
    p.y = data(y);
    strides(y, p.y_stride);
    set_codes(p, codes, CodeMode::read);
    p.codes = const_cast<uint8_t*>(codes.const_data_ptr<uint8_t>());  // only read in this mode
    p.code_x = offset[0], p.code_y = offset[1];
    check(filtered_lrelu_cuda(p, current_stream()), "filtered_lrelu_masked");
    return y;
}

// ---------------------------------------------------------------------------------------------------------------------

// The kernels know two layouts. Others, such as a transposed batch, pass through a contiguous copy.
Tensor dense_like(const Tensor& x) {
    Tensor like = at::empty_like(x);
    return like.is_contiguous() || channels_last(like) ? like : at::empty(x.sizes(), x.options());
}
Tensor restored(const Tensor& result, const Tensor& model) {
    const Tensor like = at::empty_like(model);
    return like.strides() == result.strides() ? result : like.copy_(result);
}

// d, noise and b as the kernels want them, and the scalars. The tensors must outlive the parameters.
struct Sides {
    Optional d, noise, b;
    EpilogueShape shape{};
    Sides(const Tensor& model, const Optional& d_, const Optional& noise_, const Optional& b_, c10::string_view act, double alpha, double gain, double clamp)
        : d(whole(d_)), noise(whole(noise_)), b(whole(b_)) {
        shape.n = model.size(0), shape.c = model.size(1), shape.pixels = model.size(2) * model.size(3);
        shape.channels_last = channels_last(model);
        shape.dtype = dtype_of(model);
        shape.leaky = activation_of(act) == Activation::lrelu;
        shape.alpha = alpha, shape.gain = gain, shape.clamp = clamp;
        shape.d = data(d), shape.noise = data(noise), shape.b = data(b);
        shape.noise_per_image = noise && noise->dim() == 4;
    }
    static Optional whole(const Optional& t) { return t ? Optional(t->contiguous()) : Optional(); }
};

std::tuple<Tensor, Tensor> modulated_epilogue(const Tensor& x, const Optional& d, const Optional& noise, const Optional& b, c10::string_view act,
                                              double alpha, double gain, double clamp) {
    const c10::cuda::CUDAGuard guard(x.device());
    Tensor y = dense_like(x);
    const Tensor source = lying_like(x, y);
    const Sides sides(y, d, noise, b, act, alpha, gain, clamp);
    check(modulated_epilogue_cuda({sides.shape, data(source), data(y)}, current_stream()), "modulated_epilogue");
    return {restored(y, x), at::zeros({}, x.options()).expand(x.sizes())};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> modulated_epilogue_grad(const Tensor& dy, const Tensor& y, const Tensor&, const Optional& dlink,
                                                                   const Optional& d, const Optional& noise, const Optional& b, c10::string_view act,
                                                                   double alpha, double gain, double clamp, const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(y.device());
    Tensor dx = dense_like(y);
    const Tensor ys = lying_like(y, dx), dys = lying_like(dy, dx), link = dlink ? lying_like(*dlink, dx) : Tensor();
    const Sides sides(dx, d, noise, b, act, alpha, gain, clamp);
    const index_t n = y.size(0), c = y.size(1), chunks = epilogue_chunks_cuda(sides.shape);
    const auto partial = [&](bool want, std::initializer_list<int64_t> size) {
        return want ? (y.numel() ? at::empty(size, compute_options(y)) : at::zeros(size, compute_options(y))) : at::empty({0}, compute_options(y));
    };
    const bool want_noise = wanted[1] && noise;
    Tensor dd = partial(wanted[0], {n, chunks, c}), dnoise = partial(want_noise, {n, sides.shape.pixels}), db = partial(wanted[2], {n, chunks, c});
    EpilogueGrad p{sides.shape, data(dys), data(ys), link.defined() ? data(link) : nullptr, data(dx), chunks, data(dd), data(dnoise), data(db)};
    check(modulated_epilogue_grad_cuda(p, current_stream()), "modulated_epilogue_grad");
    if (wanted[0]) dd = dd.sum(1);
    if (want_noise) dnoise = (noise->dim() == 4 ? dnoise : dnoise.sum(0)).view(noise->sizes());
    if (wanted[2]) db = db.sum({0, 1});
    return {restored(dx, y), dd, dnoise, db};
}

std::tuple<Tensor, Tensor, Tensor> modulated_epilogue_grad2(const Optional& ddx, const Optional& ddd, const Optional& ddnoise, const Optional& ddb,
                                                            const Tensor& dy, const Tensor& y, const Optional& d, const Optional& noise,
                                                            const Optional& b, c10::string_view act, double alpha, double gain, double clamp,
                                                            const c10::List<bool>& wanted) {
    const c10::cuda::CUDAGuard guard(y.device());
    const Tensor model = dense_like(y);
    const Tensor ys = lying_like(y, model), dys = lying_like(dy, model), ddxs = ddx ? lying_like(*ddx, model) : Tensor();
    const Sides sides(model, d, noise, b, act, alpha, gain, clamp), upstream(model, ddd, ddnoise, ddb, act, alpha, gain, clamp);
    const index_t n = y.size(0), c = y.size(1), chunks = epilogue_chunks_cuda(sides.shape);
    Tensor d_dy = wanted[0] ? at::empty_like(model) : at::empty({0}, y.options());
    Tensor d_x = wanted[1] ? at::empty_like(model) : at::empty({0}, y.options());
    Tensor d_d = at::empty({0}, compute_options(y));
    if (wanted[2]) d_d = y.numel() ? at::empty({n, chunks, c}, compute_options(y)) : at::zeros({n, chunks, c}, compute_options(y));
    EpilogueGrad2 p{sides.shape, data(dys), data(ys), ddxs.defined() ? data(ddxs) : nullptr, upstream.shape.d, upstream.shape.noise,
                    upstream.shape.b, data(d_dy), data(d_x), chunks, data(d_d)};
    check(modulated_epilogue_grad2_cuda(p, current_stream()), "modulated_epilogue_grad2");
    if (wanted[2]) d_d = d_d.sum(1);
    return {wanted[0] ? restored(d_dy, y) : d_dy, wanted[1] ? restored(d_x, y) : d_x, d_d};
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
}

}  // namespace stylegan
