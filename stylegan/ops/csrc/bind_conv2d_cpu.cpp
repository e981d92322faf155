// stylegan::conv2d, conv2d_input and conv2d_weight (stylegan/ops/conv2d.py) on the CPU: Winograd kernels where they are faster,
// oneDNN through torch elsewhere. What is chosen depends on the shape, the type and the processor, never on a timing.
#include <ATen/Parallel.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <memory>

#include "cpu_dispatch.h"
#include "winograd.h"

namespace stylegan {
namespace {

using at::Tensor;
using c10::IntArrayRef;

const Winograd& kernels(int64_t tile) {
    const Winograd* chosen = nullptr;
    STYLEGAN_RUN(winograd, tile, &chosen);
    return *chosen;
}

// Processors without arithmetic on a half type convert each element in software, several times slower than float32.
bool computes_natively(at::ScalarType type) {
#if defined(__x86_64__) && defined(__GNUC__)
    if (type == at::kBFloat16) return __builtin_cpu_supports("avx512bf16");
#if !defined(__clang__) && __GNUC__ >= 12
    if (type == at::kHalf) return __builtin_cpu_supports("avx512fp16");
#else
    if (type == at::kHalf) return false;
#endif
#endif
    return true;
}

bool through_float(const Tensor& t) {
    return (t.scalar_type() == at::kBFloat16 || t.scalar_type() == at::kHalf) && !computes_natively(t.scalar_type());
}

at::MemoryFormat layout_of(const Tensor& t) {
    return t.is_contiguous(at::MemoryFormat::ChannelsLast) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

struct Geometry {
    IntArrayRef kernel, stride, padding;
    int64_t groups;
};

// The fixed table: which Winograd kernels take a convolution, null for none. By measurement on AVX-512, Winograd wins from 32
// channels on where few enough tiles are cut off by the border and, forward, where the transformed weight serves enough of them.
const Winograd* fitting_winograd(const Tensor& x, int64_t out, const Geometry& g, bool forward) {
    const bool is_3x3 = g.kernel[0] == 3 && g.kernel[1] == 3 && g.groups == 1 && g.stride[0] == 1 && g.stride[1] == 1 &&
                        g.padding[0] == 1 && g.padding[1] == 1;
    if (!is_3x3 || x.scalar_type() != at::kFloat || x.numel() == 0) return nullptr;
    const WinogradShape shape{x.size(0), x.size(2), x.size(3), x.size(1), out};
    const int64_t pixels = shape.n * shape.height * shape.width, most = std::max(shape.in, shape.out);
    const auto serves = [&](const Winograd& k) {
        const int64_t tiles = shape.tiles(k.tile);
        return 2 * tiles * k.tile * k.tile <= 3 * pixels && (!forward || tiles >= most);
    };
    const Winograd &two = kernels(2), &four = kernels(4);
    if (shape.in % two.lanes || shape.out % two.lanes || std::min(shape.in, shape.out) < 32) return nullptr;
    return serves(four) ? &four : serves(two) ? &two : nullptr;
}

// Tiles at a time: few enough for the transformed ones to stay in a core's cache, enough for the transformed weight, which
// does not, to be worth reading.
int64_t block_tiles(const Winograd& k, int64_t in, int64_t out) {
    const int64_t floats = winograd_points(k.tile) * (in + out);
    return std::max<int64_t>(std::max(in, out) >= 256 ? 72 : 24, std::min<int64_t>(144 * 1024 / floats / 6 * 6, 72));
}

std::unique_ptr<float[]> scratch(const Winograd& k, int64_t most, int64_t in, int64_t out) {
    const int64_t floats = winograd_points(k.tile) * (padded(most * in) + padded(most * out));
    return std::unique_ptr<float[]>(new float[floats]);  // not initialised
}

// y = x * w, or, `adjoint`, its gradient by x; w [O, I, 3, 3].
Tensor winograd_forward(const Winograd& k, const Tensor& x_, const Tensor& w_, bool adjoint) {
    const Tensor x = x_.contiguous(at::MemoryFormat::ChannelsLast), w = w_.contiguous(at::MemoryFormat::ChannelsLast);
    const WinogradShape shape{x.size(0), x.size(2), x.size(3), x.size(1), adjoint ? w.size(1) : w.size(0)};
    Tensor y = at::empty({shape.n, shape.out, shape.height, shape.width}, x.options(), at::MemoryFormat::ChannelsLast);
    const std::unique_ptr<float[]> u(new float[winograd_points(k.tile) * padded(shape.in * shape.out)]);
    const float *xp = x.const_data_ptr<float>(), *wp = w.const_data_ptr<float>();
    float* yp = y.mutable_data_ptr<float>();
    at::parallel_for(0, shape.out / k.panel(shape.out), 1, [&](int64_t begin, int64_t end) {
        k.filter(wp, u.get(), shape, adjoint, {begin, end});
    });
    const int64_t tiles = shape.tiles(k.tile), most = block_tiles(k, shape.in, shape.out), blocks = (tiles + most - 1) / most;
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
        const auto room = scratch(k, most, shape.in, shape.out);
        k.forward(xp, u.get(), yp, shape, {begin * most, std::min(end * most, tiles)}, most, room.get());
    });
    return y.contiguous(layout_of(x_));
}

// The gradient by w. Tiles are divided into parts whose number depends on the shape alone, so that sums are added up in the
// same order on any number of threads; wide layers are divided by output channels, too.
Tensor winograd_weight(const Winograd& k, const Tensor& dy_, const Tensor& x_) {
    const Tensor dy = dy_.contiguous(at::MemoryFormat::ChannelsLast), x = x_.contiguous(at::MemoryFormat::ChannelsLast);
    const WinogradShape shape{x.size(0), x.size(2), x.size(3), x.size(1), dy.size(1)};
    Tensor dw = at::empty({shape.out, shape.in, 3, 3}, x.options(), at::MemoryFormat::ChannelsLast);
    const int64_t tiles = shape.tiles(k.tile), most = block_tiles(k, shape.in, shape.out);
    const int64_t slice = shape.out >= 256 && shape.out % 128 == 0 ? 128 : shape.out, slices = shape.out / slice;
    // Each part costs one more pass over the sums: of at least 128 tiles, adding them up is little beside making them.
    const int64_t parts = std::clamp<int64_t>(tiles / 128, 1, std::max<int64_t>(8 / slices, 2));
    const int64_t sum_floats = winograd_points(k.tile) * padded(shape.in * shape.out);
    const std::unique_ptr<float[]> sums(new float[parts * sum_floats]);
    const float *xp = x.const_data_ptr<float>(), *dyp = dy.const_data_ptr<float>();
    float* dwp = dw.mutable_data_ptr<float>();
    at::parallel_for(0, parts * slices, 1, [&](int64_t begin, int64_t end) {
        const auto room = scratch(k, most, shape.in, slice);
        for (int64_t i = begin; i < end; i++) {
            const int64_t part = i / slices, first = i % slices * slice;
            k.correlate(dyp, xp, sums.get() + part * sum_floats, shape, {tiles * part / parts, tiles * (part + 1) / parts},
                        {first, first + slice}, most, room.get());
        }
    });
    at::parallel_for(0, shape.out, 8, [&](int64_t begin, int64_t end) {
        k.finish(sums.get(), parts, dwp, shape, {begin, end});
    });
    return dw.contiguous(layout_of(dy_));
}

Tensor conv2d(const Tensor& x, const Tensor& w, IntArrayRef stride, IntArrayRef padding, int64_t groups) {
    if (through_float(x)) return conv2d(x.to(at::kFloat), w.to(at::kFloat), stride, padding, groups).to(x.scalar_type());
    if (const Winograd* k = fitting_winograd(x, w.size(0), {w.sizes().slice(2), stride, padding, groups}, true))
        return winograd_forward(*k, x, w, false);
    return at::convolution(x, w, {}, stride, padding, {1, 1}, false, {0, 0}, groups).contiguous(layout_of(x));
}

Tensor conv2d_input(const Tensor& dy, const Tensor& w, IntArrayRef size, IntArrayRef stride, IntArrayRef padding,
                    int64_t groups) {
    if (through_float(dy))
        return conv2d_input(dy.to(at::kFloat), w.to(at::kFloat), size, stride, padding, groups).to(dy.scalar_type());
    if (const Winograd* k = fitting_winograd(dy, w.size(1), {w.sizes().slice(2), stride, padding, groups}, true))
        return winograd_forward(*k, dy, w, true);
    std::array<int64_t, 2> rest{};
    for (int i = 0; i < 2; i++)
        rest[i] = size[i] - ((dy.size(2 + i) - 1) * stride[i] + w.size(2 + i) - 2 * padding[i]);
    return at::convolution(dy, w, {}, stride, padding, {1, 1}, true, rest, groups).contiguous(layout_of(dy));
}

Tensor conv2d_weight(const Tensor& dy, const Tensor& x, IntArrayRef size, IntArrayRef stride, IntArrayRef padding,
                     int64_t groups) {
    if (through_float(x))
        return conv2d_weight(dy.to(at::kFloat), x.to(at::kFloat), size, stride, padding, groups).to(x.scalar_type());
    if (const Winograd* k = fitting_winograd(x, dy.size(1), {size, stride, padding, groups}, false))
        return winograd_weight(*k, dy, x);
    const at::MemoryFormat format = layout_of(dy);
    const Tensor w = at::empty({dy.size(1), x.size(1) / groups, size[0], size[1]}, x.options(), format);
    return std::get<1>(at::convolution_backward(dy, x, w, at::OptionalIntArrayRef(), stride, padding, {1, 1}, false, {0, 0},
                                                groups, {false, true, false}))
        .contiguous(format);
}

}  // namespace

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("conv2d", conv2d);
    m.impl("conv2d_input", conv2d_input);
    m.impl("conv2d_weight", conv2d_weight);
}

}  // namespace stylegan
