// stylegan::demodulation, _grad and _grad2 (stylegan/ops/demodulation.py): inverse norms of modulated weights.
#pragma once
#include "dtype.h"

namespace stylegan {

// d[n, o] = (sum over i, k of (s[n, i] w[o, i, k])^2 + epsilon)^-1/2. All tensors are of one type, f32 or f64; s, d and what
// belongs to them are contiguous, w and what belongs to it [o, i, taps] or, channels_last, [o, taps, i].
//
// With q[o, i] the sum over k of w^2, r the same of ddw * w, p = dds * s, and u = dd d^3:
//   order 1: ds = -s (u q), dw = -w (u^T s^2)
//   order 2: v = s^2 r^T + p q^T, h = 3/2 v dd d^5, and then d_dd = -v d^3, d_s = 2 s (h q - u r) - dds (u q),
//            d_w = 2 w (h^T s^2 - u^T p) - ddw (u^T s^2)
// On the CPU a work item is a chunk of `rows` output channels. What sums over those is left as one partial sum for each chunk.
struct Demodulation {
    index_t n, o, i, taps, rows;
    bool channels_last;
    Dtype dtype;
    double epsilon;                // order 0
    const void *s, *w, *dd, *d;    // the latter two: orders 1 and 2
    const void *dds, *ddw;         // order 2; null: zero
    void *out;                     // d or d_dd
    void *by_s, *by_s_up;          // [chunks, n, i] or null: what ds or d_s has as factors of s and of dds. CUDA: by_s is it
    void *by_w;                    // dw or d_w, or null
};

// What the CUDA kernels hand on: q and r [o, i] for orders 1 and 2 where ds or d_s is wanted, else null; h [n, o] for order 2.
struct DemodulationSums {
    void *q, *r, *h;
};

#define STYLEGAN_DECLARE_DEMODULATION(isa) \
    namespace isa {                          \
    void demodulation(const Demodulation&, int order, index_t begin, index_t end); /* chunks */ \
    }

STYLEGAN_DECLARE_DEMODULATION(plain)
STYLEGAN_DECLARE_DEMODULATION(avx2)
STYLEGAN_DECLARE_DEMODULATION(avx512)

}  // namespace stylegan
