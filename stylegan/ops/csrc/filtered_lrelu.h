// stylegan::filtered_lrelu and filtered_lrelu_masked (stylegan/ops/filtered_lrelu.py): up-sample, leaky ReLU, down-sample.
#pragma once
#include "dtype.h"

namespace stylegan {

// What the first pass records of every pixel between the two filters, two bits each, four pixels of a row to a byte,
// the leftmost in the lowest bits. The rest of a row's last byte is `stopped`.
enum CodeValue : uint8_t { code_positive = 0, code_negative = 1, code_stopped = 2 };  // factor 1, slope, 0

enum class CodeMode : int32_t { none = 0, write = 1, read = 2 };

// Of the grid between the filters, up_h x up_w pixels:
//   z: x + b with up - 1 zeros after every pixel of a row and every row, and zeros all around
//   u[uy, ux] = gain * sum over ky, kx of tap_u(ky, kx) * z[uy + ky - pad_y, ux + kx - pad_x]
//   v = u >= 0 ? u : slope * u, then clamped to +-clamp        (modes none, write)
//   v = u * factor(codes[uy + code_y, ux + code_x]); 0 outside (mode read: linear in x)
//   y[oy, ox] = sum over ky, kx of tap_d(ky, kx) * v[oy * down + ky, ox * down + kx]
// Code of a pixel: stopped where |v| >= clamp before clamping, else negative where u < 0, else positive.
// Zero insertion comes after the bias: the inserted zeros and the padding hold no bias. Taps as in upfirdn2d.h.
struct FilteredLreluParams {
    const void* x;
    const void* b;        // [c] of the same type as x, or null
    const float *fu, *fd;  // contiguous
    uint8_t* codes;       // null in mode none
    void* y;
    Dtype dtype;
    CodeMode mode;
    index_t n, c, in_h, in_w, up_h, up_w, out_h, out_w;
    index_t x_stride[4], y_stride[4];  // in elements, N C H W; any
    index_t codes_h, codes_bytes_w;    // codes: [n, c, codes_h, codes_bytes_w]
    index_t codes_stride[4];           // in bytes, N C H W/4
    index_t code_x, code_y;            // mode read: position of this grid's first pixel in that of the codes, may be negative
    index_t fu_h, fu_w, fd_h, fd_w;
    bool fu_separable, fd_separable, flip;
    index_t up, down, pad_x, pad_y;
    double gain;   // all factors together, up * up included
    double slope;  // at least 0
    double clamp;  // infinity for none; not used in mode read
};

}  // namespace stylegan
