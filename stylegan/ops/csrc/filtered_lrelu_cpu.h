// How stylegan::filtered_lrelu is divided into work items on the CPU.
#pragma once
#include "filtered_lrelu.h"
#include "layout_cpu.h"

namespace stylegan {

constexpr index_t strip_channels = 32;  // channels of a channels_last image that are done together
constexpr index_t band_rows = 64;       // rows of the result; the rows between that two bands share are made twice

STYLEGAN_INLINE index_t filtered_lrelu_bands(const FilteredLreluParams& p) { return (p.out_h + band_rows - 1) / band_rows; }

STYLEGAN_INLINE index_t filtered_lrelu_items(const FilteredLreluParams& p) {
    const bool nhwc = channels_neighbour(p.x_stride, p.y_stride);
    const index_t strips = nhwc ? (p.c + strip_channels - 1) / strip_channels : p.c;
    return p.n * strips * filtered_lrelu_bands(p);
}

}  // namespace stylegan
