// How stylegan::filtered_lrelu is divided into work items on the CPU.
#pragma once
#include "filtered_lrelu.h"
#include "inline.h"

namespace stylegan {

constexpr index_t group_planes = 16;    // planes that are done together; as many as fit into the widest vector
constexpr index_t strip_columns = 48;   // about that many columns of the result: what is kept of the grid then fits into L1
constexpr index_t strip_unit = 4;       // strips begin at whole bytes of codes
constexpr index_t band_rows = 64;       // rows of the result; the rows of the grid that two bands share are made twice

STYLEGAN_INLINE index_t divide_up(index_t a, index_t b) { return (a + b - 1) / b; }

STYLEGAN_INLINE index_t filtered_lrelu_strip(const FilteredLreluParams& p) {
    const index_t even = divide_up(p.out_w, divide_up(p.out_w, strip_columns));
    return divide_up(even, strip_unit) * strip_unit;
}

STYLEGAN_INLINE index_t filtered_lrelu_items(const FilteredLreluParams& p) {
    return divide_up(p.n * p.c, group_planes) * divide_up(p.out_w, filtered_lrelu_strip(p)) * divide_up(p.out_h, band_rows);
}

}  // namespace stylegan
