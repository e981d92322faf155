// A filter as the CPU kernels use it: taps in the order of correlation, with gain, one or two passes.
#pragma once
#include "dtype.h"

namespace stylegan {

// y[oy, ox] = sum over ky, kx of tap(ky, kx) * z[oy * down_y + ky - pad_y, ox * down_x + kx - pad_x], see upfirdn2d.h.
// Where `separable`, tap(ky, kx) = vertical[ky] * horizontal[kx]; else `taps` holds all, row by row.
struct FirPlan {
    bool separable;
    index_t h, w;
    const double *vertical, *horizontal, *taps;
};

}  // namespace stylegan
