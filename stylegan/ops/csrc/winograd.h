// Winograd's minimal filtering for 3x3 convolutions, float32, channels last (Lavin and Gray 2015, "Fast algorithms for
// convolutional neural networks", section 4). Tiles of the input and the weight are transformed, multiplied point by point
// over the channels, and transformed back. Multiplications for a pair of channels, against those of the direct sum:
//
//     small       stride 1, padding 1, output tiles of 2x2 pixels       16 instead of 36
//     large       the same, of 4x4                                      36 instead of 144
//     stepping    stride 2, output tiles of 2x2                         25 instead of 36
//
// Stride 2 is a sum over even and odd rows: two taps meet the even ones (minimal filtering F(2, 2), three multiplications
// instead of four), one tap the odd ones. All transforms but those of `large` are additions and halvings, so that rounding
// stays near that of the direct sum; those of `large` multiply, and lose about two bits more.
//
// Each instruction set has its own kernels; a caller chooses once, at run time. The functions work on ranges of tiles or
// channels, so that the caller may divide them between threads; no result depends on how it does.
#pragma once
#include <cstdint>

#include "inline.h"

namespace stylegan {

// Floats from one point's plane to the next. Planes of a power of two would map to the same few lines of a cache.
constexpr STYLEGAN_INLINE int64_t padded(int64_t floats) { return floats + 64; }

// x [n, in_height, in_width, in] -> y [n, out_height, out_width, out].
struct WinogradShape {
    int64_t n, in_height, in_width, in, out_height, out_width, out;
    int64_t padding;  // that of the convolution
};

struct Range {
    int64_t begin, end;

    STYLEGAN_INLINE int64_t size() const { return end - begin; }
};

enum class WinogradKind { small, large, stepping };

struct Winograd {
    int64_t lanes;    // floats of a vector; numbers of channels must be multiples of it
    int64_t points;   // of a transformed tile
    int64_t outputs;  // pixels of an output tile

    // Tiles of all images.
    int64_t (*tiles)(const WinogradShape& shape);

    // Columns of the panels in which `filter` packs a transformed weight of `out` channels.
    int64_t (*panel)(int64_t out);

    // Transformed weight u [points][out / panel][in][panel], its planes padded, for a range of the output panels. The weight is
    // w [out, 3, 3, in], or, `adjoint`, w [in, 3, 3, out] turned by 180 degrees: the convolution is then a gradient by x.
    // Null, like `forward`, for `stepping`, which is no faster than oneDNN but for the gradient by the weight.
    void (*filter)(const float* w, float* u, const WinogradShape& shape, bool adjoint, Range panels);

    // y for a range of tiles, `most` at a time; scratch of points * (padded(most * in) + padded(most * out)) floats.
    void (*forward)(const float* x, const float* u, float* y, const WinogradShape& shape, Range tiles, int64_t most,
                    float* scratch);

    // What a range of tiles gives to the transformed gradient by the weight, sum [points][out][in], its planes padded, for a
    // range of the output channels of dy [n, out_height, out_width, out]; scratch as above, with the number of those for `out`.
    void (*correlate)(const float* dy, const float* x, float* sum, const WinogradShape& shape, Range tiles, Range out,
                      int64_t most, float* scratch);

    // dw [out, 3, 3, in] for a range of the output channels, from `parts` sums that lie one behind the other.
    void (*finish)(const float* sum, int64_t parts, float* dw, const WinogradShape& shape, Range out);
};

// For each instruction set that the library is compiled for.
namespace plain {
void winograd(WinogradKind kind, const Winograd** kernels);
}
namespace avx2 {
void winograd(WinogradKind kind, const Winograd** kernels);
}
namespace avx512 {
void winograd(WinogradKind kind, const Winograd** kernels);
}

}  // namespace stylegan
