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

const Winograd* kernels(WinogradKind kind) {
    const Winograd* chosen = nullptr;
    STYLEGAN_RUN(winograd, kind, &chosen);
    return chosen;
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

bool all_are(IntArrayRef values, int64_t value) {
    return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == value; });
}

WinogradShape shape_of(const Tensor& x, IntArrayRef out_size, int64_t out, const Geometry& g) {
    return {x.size(0), x.size(2), x.size(3), x.size(1), out_size[0], out_size[1], out, g.padding[0]};
}

// The fixed table: which Winograd kernels take a convolution, null for none. By measurement on AVX-512, Winograd wins from 32
// channels on where few enough tiles are cut off by the border and, forward, where the transformed weight serves enough of
// them. With stride 2 it is as fast as oneDNN forward (0.9 to 1.1 times), and 1.2 to 1.5 times as fast for the weight's gradient.
const Winograd* fitting_winograd(const Tensor& x, const WinogradShape& shape, const Geometry& g, bool forward) {
    const bool is_3x3 = all_are(g.kernel, 3) && g.groups == 1 && g.padding[0] == g.padding[1];
    if (!is_3x3 || x.scalar_type() != at::kFloat || x.numel() == 0) return nullptr;
    const auto serves = [&](const Winograd* k) {
        const int64_t pixels = shape.n * shape.out_height * shape.out_width, tiles = k->tiles(shape);
        const bool whole_vectors = shape.in % k->lanes == 0 && shape.out % k->lanes == 0;
        return whole_vectors && std::min(shape.in, shape.out) >= 32 && 2 * tiles * k->outputs <= 3 * pixels &&
               (!forward || tiles >= std::max(shape.in, shape.out));
    };
    const Winograd *large = kernels(WinogradKind::large), *small = kernels(WinogradKind::small);
    const Winograd* stepping = kernels(WinogradKind::stepping);
    if (all_are(g.stride, 2)) return !forward && serves(stepping) ? stepping : nullptr;
    if (!all_are(g.stride, 1) || g.padding[0] > 2) return nullptr;
    return serves(large) ? large : serves(small) ? small : nullptr;
}

// Tiles at a time: few enough for the transformed ones to stay in a core's cache, enough for the transformed weight, which
// does not, to be worth reading.
int64_t block_tiles(const Winograd& k, int64_t in, int64_t out) {
    const int64_t floats = k.points * (in + out);
    return std::max<int64_t>(std::max(in, out) >= 256 ? 72 : 24, std::min<int64_t>(144 * 1024 / floats / 6 * 6, 72));
}

std::unique_ptr<float[]> scratch(const Winograd& k, int64_t most, int64_t in, int64_t out) {
    const int64_t floats = k.points * (padded(most * in) + padded(most * out));
    return std::unique_ptr<float[]>(new float[floats]);  // not initialised
}

// y = x * w, or, `adjoint`, the gradient by the input of a convolution, where x is that by its result; w [O, I, 3, 3].
Tensor winograd_forward(const Winograd& k, const WinogradShape& shape, const Tensor& x_, const Tensor& w_, bool adjoint) {
    const Tensor x = x_.contiguous(at::MemoryFormat::ChannelsLast), w = w_.contiguous(at::MemoryFormat::ChannelsLast);
    Tensor y = at::empty({shape.n, shape.out, shape.out_height, shape.out_width}, x.options(), at::MemoryFormat::ChannelsLast);
    const std::unique_ptr<float[]> u(new float[k.points * padded(shape.in * shape.out)]);
    const float *xp = x.const_data_ptr<float>(), *wp = w.const_data_ptr<float>();
    float* yp = y.mutable_data_ptr<float>();
    at::parallel_for(0, shape.out / k.panel(shape.out), 1, [&](int64_t begin, int64_t end) {
        k.filter(wp, u.get(), shape, adjoint, {begin, end});
    });
    const int64_t tiles = k.tiles(shape), most = block_tiles(k, shape.in, shape.out), blocks = (tiles + most - 1) / most;
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
        const auto room = scratch(k, most, shape.in, shape.out);
        k.forward(xp, u.get(), yp, shape, {begin * most, std::min(end * most, tiles)}, most, room.get());
    });
    return y.contiguous(layout_of(x_));
}

// The gradient by w. Tiles are divided into parts whose number depends on the shape alone, so that sums are added up in the
// same order on any number of threads; wide layers are divided by output channels, too.
Tensor winograd_weight(const Winograd& k, const WinogradShape& shape, const Tensor& dy_, const Tensor& x_) {
    const Tensor dy = dy_.contiguous(at::MemoryFormat::ChannelsLast), x = x_.contiguous(at::MemoryFormat::ChannelsLast);
    Tensor dw = at::empty({shape.out, shape.in, 3, 3}, x.options(), at::MemoryFormat::ChannelsLast);
    const int64_t tiles = k.tiles(shape), most = block_tiles(k, shape.in, shape.out);
    const int64_t slice = shape.out >= 256 && shape.out % 128 == 0 ? 128 : shape.out, slices = shape.out / slice;
    // Each part costs one more pass over the sums: of at least 128 tiles, adding them up is little beside making them.
    const int64_t parts = std::clamp<int64_t>(tiles / 128, 1, std::max<int64_t>(8 / slices, 2));
    const int64_t sum_floats = k.points * padded(shape.in * shape.out);
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
    const Geometry g{w.sizes().slice(2), stride, padding, groups};
    std::array<int64_t, 2> size{};
    for (int i = 0; i < 2; i++) size[i] = (x.size(2 + i) + 2 * padding[i] - w.size(2 + i)) / stride[i] + 1;
    const WinogradShape shape = shape_of(x, size, w.size(0), g);
    if (const Winograd* k = fitting_winograd(x, shape, g, true)) return winograd_forward(*k, shape, x, w, false);
    return at::convolution(x, w, {}, stride, padding, {1, 1}, false, {0, 0}, groups).contiguous(layout_of(x));
}

Tensor conv2d_input(const Tensor& dy, const Tensor& w, IntArrayRef size, IntArrayRef stride, IntArrayRef padding,
                    int64_t groups) {
    if (through_float(dy))
        return conv2d_input(dy.to(at::kFloat), w.to(at::kFloat), size, stride, padding, groups).to(dy.scalar_type());
    const Geometry g{w.sizes().slice(2), stride, padding, groups};
    WinogradShape shape = shape_of(dy, size, w.size(1), g);
    shape.padding = 2 - shape.padding;  // the adjoint correlates the other way round
    if (const Winograd* k = fitting_winograd(dy, shape, g, true)) return winograd_forward(*k, shape, dy, w, true);
    std::array<int64_t, 2> rest{};
    for (int i = 0; i < 2; i++)
        rest[i] = size[i] - ((dy.size(2 + i) - 1) * stride[i] + w.size(2 + i) - 2 * padding[i]);
    return at::convolution(dy, w, {}, stride, padding, {1, 1}, true, rest, groups).contiguous(layout_of(dy));
}

Tensor conv2d_weight(const Tensor& dy, const Tensor& x, IntArrayRef size, IntArrayRef stride, IntArrayRef padding,
                     int64_t groups) {
    if (through_float(x))
        return conv2d_weight(dy.to(at::kFloat), x.to(at::kFloat), size, stride, padding, groups).to(x.scalar_type());
    const Geometry g{size, stride, padding, groups};
    const WinogradShape shape = shape_of(x, dy.sizes().slice(2), dy.size(1), g);
    if (const Winograd* k = fitting_winograd(x, shape, g, false)) return winograd_weight(*k, shape, dy, x);
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
