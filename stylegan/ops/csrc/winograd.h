// Winograd's minimal filtering F(2x2, 3x3) for 3x3 convolutions with stride 1 and padding 1, float32, channels last
// (Lavin and Gray 2015, "Fast algorithms for convolutional neural networks", section 4.1): an output tile of 2x2 pixels takes
// 16 multiplications a pair of channels where the direct sum takes 36. All transforms are additions and halvings, so that
// rounding stays near that of the direct sum.
//
// Each instruction set has its own `Winograd`; a caller chooses once, at run time. The functions work on ranges of tiles or
// channels, so that the caller may divide them between threads; no result depends on how it does.
#pragma once
#include <cstdint>

#include "inline.h"


namespace stylegan {

constexpr int64_t kPoints = 16;  // of the transformed 4x4 tile

// Floats from one point's plane to the next. Planes of a power of two would map to the same few lines of a cache.
constexpr STYLEGAN_INLINE int64_t padded(int64_t floats) { return floats + 64; }

// x [n, height, width, in] -> y [n, height, width, out].
struct WinogradShape {
    int64_t n, height, width, in, out;

    STYLEGAN_INLINE int64_t tile_rows() const { return (height + 1) / 2; }
    STYLEGAN_INLINE int64_t tile_columns() const { return (width + 1) / 2; }
    STYLEGAN_INLINE int64_t tiles() const { return n * tile_rows() * tile_columns(); }
};

struct Range {
    int64_t begin, end;

    STYLEGAN_INLINE int64_t size() const { return end - begin; }
};

struct Winograd {
    int64_t lanes;  // floats of a vector; numbers of channels must be multiples of it

    // Columns of the panels in which `filter` packs a transformed weight of `out` channels.
    int64_t (*panel)(int64_t out);

    // Transformed weight u [16][out / panel][in][panel], its 16 planes padded, for a range of the output panels. The weight is
    // w [out, 3, 3, in], or, `adjoint`, w [in, 3, 3, out] turned by 180 degrees: that convolution is the gradient by x.
    void (*filter)(const float* w, float* u, const WinogradShape& shape, bool adjoint, Range panels);

    // y for a range of tiles, `most` at a time; scratch of 16 * (padded(most * in) + padded(most * out)) floats.
    void (*forward)(const float* x, const float* u, float* y, const WinogradShape& shape, Range tiles, int64_t most,
                    float* scratch);

    // What a range of tiles gives to the transformed gradient by the weight, sum [16][out][in], its planes padded, for a range
    // of the output channels of dy [n, height, width, out]; scratch as above, with the number of those for `out`.
    void (*correlate)(const float* dy, const float* x, float* sum, const WinogradShape& shape, Range tiles, Range out,
                      int64_t most, float* scratch);

    // dw [out, 3, 3, in] for a range of the output channels, from `parts` sums that lie one behind the other.
    void (*finish)(const float* sum, int64_t parts, float* dw, const WinogradShape& shape, Range out);
};

// For each instruction set that the library is compiled for.
namespace plain {
void winograd(const Winograd** kernels);
}
namespace avx2 {
void winograd(const Winograd** kernels);
}
namespace avx512 {
void winograd(const Winograd** kernels);
}

}  // namespace stylegan
