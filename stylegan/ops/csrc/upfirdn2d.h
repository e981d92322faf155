// stylegan::upfirdn2d (stylegan/ops/upfirdn2d.py): zero-insert, pad or crop, filter, decimate, and add another image.
#pragma once
#include "dtype.h"

namespace stylegan {

// y[n, c, oy, ox] = added[n, c, oy, ox] + gain * sum over ky, kx of tap(ky, kx) * z[oy * down_y + ky - pad_y, ox * down_x + kx - pad_x]
// z[iy * up_y, ix * up_x] = x[n, c, iy, ix] for 0 <= iy < in_h and 0 <= ix < in_w, and zero elsewhere.
// tap(ky, kx) = f[f_h - 1 - ky, f_w - 1 - kx], or f[ky, kx] where flip. With a separable filter f holds f_w = f_h
// taps, used for both axes: tap(ky, kx) = f[..ky..] * f[..kx..].
struct Upfirdn2dParams {
    const void* x;
    const float* f;     // contiguous
    const void* added;  // in memory as y, or null: 0
    void* y;
    Dtype dtype;
    index_t n, c, in_h, in_w, out_h, out_w;
    index_t x_stride[4], y_stride[4];  // in elements, N C H W; any
    index_t f_h, f_w;
    bool separable, flip;
    index_t up_x, up_y, down_x, down_y;
    index_t pad_x, pad_y;  // on the left and the top; negative crops. The other sides follow from out_w and out_h
    double gain;
};

}  // namespace stylegan
