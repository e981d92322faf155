// stylegan::modulated_epilogue, _grad and _grad2 (stylegan/ops/modulated_epilogue.py): what follows the convolution of
// a modulated layer, in one pass over memory. And stylegan::modulation_grad and _grad2 (stylegan/ops/modulation.py), which are
// the gradients for t = x * d alone, with x given.
#pragma once
#include "bias_act.h"

namespace stylegan {

// t = x * d[n, c] + noise[n, p] + b[c];  y = clamp(gain * act(t)), act linear or lrelu with slope alpha, p a pixel.
// m = dy/dt = gain, gain * alpha, or 0 where |y| >= clamp: read off y.
// x is not kept. Where m != 0 it is (y / m - noise - b) / d, and elsewhere nothing depends on it.
//
// With y_is_x, in orders 1 and 2, the tensor called y holds x, and nothing is divided by d, which may be zero. act is linear
// then, gain 1, noise and b are null, and clamp is NaN: it stops nothing, not even an infinite x.
//
// x-like tensors (x, y, dy, dx, ddx, d_dy, d_x) are dense, all contiguous or all channels_last. All else is contiguous and
// in the compute type.
struct EpilogueShape {
    index_t n, c, pixels;
    bool channels_last;
    Dtype dtype;
    bool leaky;                 // false: linear
    double alpha, gain, clamp;  // alpha >= 0, clamp infinity for none
    const void* d;              // [n, c] or null: 1
    const void* noise;          // [n, pixels], [pixels] or null: 0
    const void* b;              // [c] or null: 0
    bool noise_per_image;
    bool y_is_x;
};

struct EpilogueForward {
    EpilogueShape s;
    const void* x;
    void* y;
};

// dx = m * dy * d; the sums over the other indices of: dd[n, c] of m * dy * x, dnoise[n, p] of m * dy, db[c] of m * dy.
// Sums over pixels are left as `chunks` partial sums of consecutive pixels, so that their order depends on nothing but the
// shape. Null pointers: not wanted.
struct EpilogueGrad {
    EpilogueShape s;
    const void *dy, *y;
    const void* dlink;  // x-like or null: added to dx
    void* dx;
    index_t chunks;
    void* dd;       // [n, chunks, c], before they are added up
    void* dnoise;   // [n, pixels]
    void* db;       // [n, chunks, c]
    void* product;  // x-like: y * d; only with y_is_x
};

// Gradient of EpilogueGrad for the upstream ddx, ddd [n, c], ddnoise ([n, pixels] or, as the noise, [pixels]) and ddb [c];
// each may be null. d_x is only wanted with ddd, d_d only with ddx.
//   d_dy = m * (ddx * d + ddd * x + ddnoise + ddb);  d_x = m * dy * ddd;  d_d[n, c] = sum over p of m * dy * ddx
struct EpilogueGrad2 {
    EpilogueShape s;
    const void *dy, *y, *ddx;
    const void *ddd, *ddnoise, *ddb;
    void *d_dy, *d_x;
    index_t chunks;
    void* d_d;  // [n, chunks, c], before they are added up
};

}  // namespace stylegan
