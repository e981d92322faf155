// Bindings of upfirdn2d and filtered_lrelu to torch on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/convolution.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "bind.h"
#include "cpu_dispatch.h"
#include "filtered_lrelu_cpu.h"
#include "upfirdn2d_cpu.h"

namespace stylegan {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

// Taps in the order of correlation; a filter of two dimensions that is a product of two of one is applied as these.
class Fir {
public:
    Fir(const Tensor& f, bool flip, double gain, Dtype dtype) {
        const index_t dims = f.dim();
        const bool square = dims == 1;
        plan_.h = f.size(0), plan_.w = f.size(dims - 1);
        const Tensor contiguous = f.contiguous();
        const float* data = contiguous.const_data_ptr<float>();
        const index_t count = f.numel();
        taps_.assign(data, data + count);
        if (!flip) std::reverse(taps_.begin(), taps_.end());
        plan_.separable = true;
        if (square) {
            vertical_ = horizontal_ = taps_;
        } else {
            factorise(dtype == Dtype::f64 ? 1e-15 : 1e-7);
        }
        for (double& tap : plan_.separable ? vertical_ : taps_) tap *= gain;
        plan_.vertical = vertical_.data(), plan_.horizontal = horizontal_.data(), plan_.taps = taps_.data();
    }

    const FirPlan& plan() const { return plan_; }

    // All taps with gain, [1, 1, h, w] on the CPU.
    Tensor taps(const at::TensorOptions& options) const {
        const Tensor all = at::empty({1, 1, plan_.h, plan_.w}, options);
        float* tap = all.mutable_data_ptr<float>();
        for (index_t i = 0; i < plan_.h * plan_.w; i++)
            tap[i] = static_cast<float>(plan_.separable ? vertical_[i / plan_.w] * horizontal_[i % plan_.w] : taps_[i]);
        return all;
    }

private:
    // The row and the column through the largest tap make the whole filter, if any two do. Half of the types' own rounding
    // is allowed for.
    void factorise(double tolerance) {
        const auto by_size = [](double a, double b) { return std::abs(a) < std::abs(b); };
        const index_t pivot = std::max_element(taps_.begin(), taps_.end(), by_size) - taps_.begin();
        const index_t row = pivot / plan_.w, column = pivot % plan_.w;
        const double peak = taps_[pivot];
        for (index_t x = 0; x < plan_.w; x++) horizontal_.push_back(taps_[row * plan_.w + x]);
        for (index_t y = 0; y < plan_.h; y++) vertical_.push_back(peak == 0 ? 0 : taps_[y * plan_.w + column] / peak);
        for (index_t i = 0; i < plan_.h * plan_.w; i++) {
            const double product = vertical_[i / plan_.w] * horizontal_[i % plan_.w];
            if (!(std::abs(product - taps_[i]) <= tolerance * std::abs(peak))) plan_.separable = false;
        }
    }

    FirPlan plan_{};
    std::vector<double> taps_, vertical_, horizontal_;
};

void check_arguments(const char* op, const Tensor& x, const Tensor& f) {
    TORCH_CHECK_VALUE(x.dim() == 4, op, ": x must be [N, C, H, W], not ", x.sizes());
    TORCH_CHECK_VALUE((f.dim() == 1 || f.dim() == 2) && f.numel() > 0 && f.scalar_type() == at::kFloat && f.is_cpu(), op,
        ": a filter must be [h, w] or [n], float32 on the CPU, not ", f.sizes(), ", ", f.scalar_type());
}

// Pixels along one axis after zero insertion, padding, filtering and decimation.
index_t result_size(const char* op, index_t in, index_t up, index_t before, index_t after, index_t taps, index_t down) {
    TORCH_CHECK_VALUE(up >= 1 && down >= 1, op, ": factors must be at least 1");
    constexpr index_t limit = index_t{1} << 40;
    TORCH_CHECK_VALUE(up < limit && down < limit && std::abs(before) < limit && std::abs(after) < limit && in < limit / up, op,
        ": numbers too large");
    const index_t enlarged = in * up + before + after - taps;
    TORCH_CHECK_VALUE(enlarged >= 0, op, ": padding leaves too little for a filter of ", taps, " taps");
    return enlarged / down + 1;
}

// By measurement, oneDNN's depthwise convolution takes 0.6 to 0.8 of the time where it can be used: small filters at the same
// resolution, channels_last, as many zeros on all sides.
bool suits_depthwise(const Upfirdn2dParams& p, at::MemoryFormat format, at::IntArrayRef padding) {
    const bool even = std::all_of(padding.begin(), padding.end(), [&](int64_t side) { return side == padding[0] && side >= 0; });
    return p.dtype == Dtype::f32 && format == at::MemoryFormat::ChannelsLast && p.c >= 16 && even && p.f_h * p.f_w <= 16 &&
           p.up_x == 1 && p.up_y == 1 && p.down_x == 1 && p.down_y == 1;
}

Tensor upfirdn2d(
    const Tensor& x, const Tensor& f, at::IntArrayRef up, at::IntArrayRef down, at::IntArrayRef padding, bool flip_filter,
    double gain, const OptionalTensor& added) {
    check_arguments("upfirdn2d", x, f);
    TORCH_CHECK_VALUE(up.size() == 2 && down.size() == 2 && padding.size() == 4, "upfirdn2d: up [2], down [2], padding [4]");
    Upfirdn2dParams p{};
    p.dtype = dtype_of(x, "upfirdn2d");
    const Fir fir(f, flip_filter, gain, p.dtype);
    p.n = x.size(0), p.c = x.size(1), p.in_h = x.size(2), p.in_w = x.size(3);
    p.f_h = f.size(0), p.f_w = f.size(f.dim() - 1);
    p.separable = f.dim() == 1, p.flip = flip_filter, p.gain = gain;
    p.up_x = up[0], p.up_y = up[1], p.down_x = down[0], p.down_y = down[1], p.pad_x = padding[0], p.pad_y = padding[2];
    p.out_w = result_size("upfirdn2d", p.in_w, p.up_x, padding[0], padding[1], p.f_w, p.down_x);
    p.out_h = result_size("upfirdn2d", p.in_h, p.up_y, padding[2], padding[3], p.f_h, p.down_y);
    const auto format = format_of(x);
    if (!added && suits_depthwise(p, format, padding) && x.numel() > 0) {
        const Tensor taps = fir.taps(x.options()).expand({p.c, 1, fir.plan().h, fir.plan().w});
        return at::convolution(x, taps, {}, {1, 1}, {padding[0], padding[0]}, {1, 1}, false, {0, 0}, p.c).contiguous(format);
    }
    const Tensor input = x.contiguous(format), y = at::empty({p.n, p.c, p.out_h, p.out_w}, x.options(), format);
    const OptionalTensor more = added ? OptionalTensor(laid_out_as(*added, y)) : std::nullopt;
    p.x = input.const_data_ptr(), p.y = y.mutable_data_ptr(), p.added = data_or_null(more);
    dense_strides(x.sizes(), format, p.x_stride);
    dense_strides(y.sizes(), format, p.y_stride);
    if (y.numel() == 0) return y;
    const index_t items = upfirdn2d_items(p), work = y.numel() / items * 4;  // a tap costs less than an element of memory
    at::parallel_for(0, items, std::max<index_t>(grain / std::max<index_t>(work, 1), 1), [&](int64_t begin, int64_t end) {
        STYLEGAN_RUN(upfirdn2d, p, fir.plan(), begin, end)
    });
    return y;
}

Tensor run_filtered_lrelu(FilteredLreluParams p, const Tensor& x, const Tensor& fu, const Tensor& fd, at::IntArrayRef padding, Tensor& codes) {
    constexpr const char* op = "filtered_lrelu";
    check_arguments(op, x, fu), check_arguments(op, x, fd);
    TORCH_CHECK_VALUE(padding.size() == 4, "filtered_lrelu: padding [4]");
    p.dtype = dtype_of(x, op);
    const Fir up(fu, p.flip, p.gain, p.dtype), down(fd, p.flip, 1.0, p.dtype);
    p.n = x.size(0), p.c = x.size(1), p.in_h = x.size(2), p.in_w = x.size(3);
    p.fu_h = fu.size(0), p.fu_w = fu.size(fu.dim() - 1), p.fd_h = fd.size(0), p.fd_w = fd.size(fd.dim() - 1);
    p.fu_separable = fu.dim() == 1, p.fd_separable = fd.dim() == 1;
    p.pad_x = padding[0], p.pad_y = padding[2];
    p.up_w = result_size(op, p.in_w, p.up, padding[0], padding[1], p.fu_w, 1);
    p.up_h = result_size(op, p.in_h, p.up, padding[2], padding[3], p.fu_h, 1);
    p.out_w = result_size(op, p.up_w, 1, 0, 0, p.fd_w, p.down);
    p.out_h = result_size(op, p.up_h, 1, 0, 0, p.fd_h, p.down);
    const auto format = format_of(x);
    const Tensor input = x.contiguous(format), y = at::empty({p.n, p.c, p.out_h, p.out_w}, x.options(), format);
    if (p.mode == CodeMode::write) {
        codes = at::empty({p.n, p.c, p.up_h, (p.up_w + 3) / 4}, x.options().dtype(at::kByte), format);
    }
    if (p.mode != CodeMode::none) {
        codes = codes.contiguous(format);
        p.codes_h = codes.size(2), p.codes_bytes_w = codes.size(3);
        dense_strides(codes.sizes(), format, p.codes_stride);
        p.codes = static_cast<uint8_t*>(const_cast<void*>(codes.const_data_ptr()));
    }
    p.x = input.const_data_ptr(), p.y = y.mutable_data_ptr();
    dense_strides(x.sizes(), format, p.x_stride);
    dense_strides(y.sizes(), format, p.y_stride);
    if (y.numel() == 0) return y;
    at::parallel_for(0, filtered_lrelu_division(p).items(), 1, [&](int64_t begin, int64_t end) {
        STYLEGAN_RUN(filtered_lrelu, p, up.plan(), down.plan(), begin, end)
    });
    return y;
}

std::tuple<Tensor, Tensor> filtered_lrelu(
    const Tensor& x, const OptionalTensor& b, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down,
    at::IntArrayRef padding, double gain, double slope, double clamp, bool flip_filter, bool write_codes) {
    FilteredLreluParams p{};
    p.mode = write_codes ? CodeMode::write : CodeMode::none;
    p.up = up, p.down = down, p.gain = gain, p.slope = slope, p.clamp = clamp, p.flip = flip_filter;
    Tensor codes = at::empty({0}, x.options().dtype(at::kByte)), bias;
    if (b.has_value()) {
        TORCH_CHECK_VALUE(x.dim() == 4 && b->dim() == 1 && b->size(0) == x.size(1) && b->scalar_type() == x.scalar_type(),
            "filtered_lrelu: bias ", b->sizes(), ", ", b->scalar_type(), " does not fit x ", x.sizes());
        bias = b->contiguous(), p.b = bias.const_data_ptr();
    }
    Tensor y = run_filtered_lrelu(p, x, fu, fd, padding, codes);
    return {y, codes};
}

Tensor filtered_lrelu_masked(
    const Tensor& x, const Tensor& codes, const Tensor& fu, const Tensor& fd, int64_t up, int64_t down, at::IntArrayRef padding,
    at::IntArrayRef offset, double gain, double slope, bool flip_filter) {
    TORCH_CHECK_VALUE(x.dim() == 4 && codes.dim() == 4 && codes.scalar_type() == at::kByte && codes.is_cpu() &&
            codes.size(0) == x.size(0) && codes.size(1) == x.size(1) && offset.size() == 2,
        "filtered_lrelu_masked: codes ", codes.sizes(), " do not fit x ", x.sizes());
    FilteredLreluParams p{};
    p.mode = CodeMode::read;
    p.code_x = offset[0], p.code_y = offset[1];
    p.up = up, p.down = down, p.gain = gain, p.slope = slope, p.clamp = INFINITY, p.flip = flip_filter;
    Tensor recorded = codes;
    return run_filtered_lrelu(p, x, fu, fd, padding, recorded);
}

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("upfirdn2d", stylegan::upfirdn2d);
    m.impl("filtered_lrelu", stylegan::filtered_lrelu);
    m.impl("filtered_lrelu_masked", stylegan::filtered_lrelu_masked);
}
