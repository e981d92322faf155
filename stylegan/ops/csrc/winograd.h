// Winograd's minimal filtering for 3x3 convolutions with stride 1 and padding 1, float32, channels last (Lavin and Gray 2015,
// "Fast algorithms for convolutional neural networks", section 4): F(2x2, 3x3) takes 16 multiplications a pair of channels for
// an output tile of 2x2 pixels where the direct sum takes 36, F(4x4, 3x3) takes 36 for 4x4 pixels instead of 144. The
// transforms of the first are additions and halvings, so that rounding stays near that of the direct sum; those of the second
// multiply, and lose about two bits more.
//
// Each instruction set has its own `Winograd`; a caller chooses once, at run time. The functions work on ranges of tiles or
// channels, so that the caller may divide them between threads; no result depends on how it does.
#pragma once
#include <cstdint>

#include "inline.h"


namespace stylegan {

// Of a transformed tile, for output tiles of `tile` x `tile` pixels.
constexpr STYLEGAN_INLINE int64_t winograd_points(int64_t tile) { return (tile + 2) * (tile + 2); }

// Floats from one point's plane to the next. Planes of a power of two would map to the same few lines of a cache.
constexpr STYLEGAN_INLINE int64_t padded(int64_t floats) { return floats + 64; }

// x [n, height, width, in] -> y [n, height, width, out].
struct WinogradShape {
    int64_t n, height, width, in, out;

    STYLEGAN_INLINE int64_t tile_rows(int64_t tile) const { return (height + tile - 1) / tile; }
    STYLEGAN_INLINE int64_t tile_columns(int64_t tile) const { return (width + tile - 1) / tile; }
    STYLEGAN_INLINE int64_t tiles(int64_t tile) const { return n * tile_rows(tile) * tile_columns(tile); }
};

struct Range {
    int64_t begin, end;

    STYLEGAN_INLINE int64_t size() const { return end - begin; }
};

struct Winograd {
    int64_t tile;   // side of an output tile: 2 or 4
    int64_t lanes;  // floats of a vector; numbers of channels must be multiples of it

    // Columns of the panels in which `filter` packs a transformed weight of `out` channels.
    int64_t (*panel)(int64_t out);

    // Transformed weight u [points][out / panel][in][panel], its planes padded, for a range of the output panels. The weight is
    // w [out, 3, 3, in], or, `adjoint`, w [in, 3, 3, out] turned by 180 degrees: that convolution is the gradient by x.
    void (*filter)(const float* w, float* u, const WinogradShape& shape, bool adjoint, Range panels);

    // y for a range of tiles, `most` at a time; scratch of points * (padded(most * in) + padded(most * out)) floats.
    void (*forward)(const float* x, const float* u, float* y, const WinogradShape& shape, Range tiles, int64_t most,
                    float* scratch);

    // What a range of tiles gives to the transformed gradient by the weight, sum [points][out][in], its planes padded, for a range
    // of the output channels of dy [n, height, width, out]; scratch as above, with the number of those for `out`.
    void (*correlate)(const float* dy, const float* x, float* sum, const WinogradShape& shape, Range tiles, Range out,
                      int64_t most, float* scratch);

    // dw [out, 3, 3, in] for a range of the output channels, from `parts` sums that lie one behind the other.
    void (*finish)(const float* sum, int64_t parts, float* dw, const WinogradShape& shape, Range out);
};

// For each instruction set that the library is compiled for.
namespace plain {
void winograd(int64_t tile, const Winograd** kernels);
}
namespace avx2 {
void winograd(int64_t tile, const Winograd** kernels);
}
namespace avx512 {
void winograd(int64_t tile, const Winograd** kernels);
}

}  // namespace stylegan
