// How stylegan::filtered_lrelu is divided into work items on the CPU.
#pragma once
#include "division_cpu.h"
#include "filtered_lrelu.h"
#include "layout_cpu.h"

namespace stylegan {

// With 48 columns, what is kept of the grid about fits into the first cache; strips begin at whole bytes of codes. The rows of
// the grid that two bands share are made twice.
STYLEGAN_INLINE Division filtered_lrelu_division(const FilteredLreluParams& p) {
    return Division(p.n * p.c, p.out_h, p.out_w, 48, 4, 64, channels_neighbour(p.x_stride, p.y_stride));
}

}  // namespace stylegan
