// How stylegan::upfirdn2d is divided into work items on the CPU.
#pragma once
#include "division_cpu.h"
#include "layout_cpu.h"
#include "upfirdn2d.h"

namespace stylegan {

// Of a contiguous image.
STYLEGAN_INLINE Division upfirdn2d_division(const Upfirdn2dParams& p) {
    return Division(p.n * p.c, p.out_h, p.out_w, 128, 1, 32, false);
}

STYLEGAN_INLINE index_t upfirdn2d_items(const Upfirdn2dParams& p) {
    return channels_neighbour(p.x_stride, p.y_stride) ? p.n * p.out_h : upfirdn2d_division(p).items();
}

}  // namespace stylegan
