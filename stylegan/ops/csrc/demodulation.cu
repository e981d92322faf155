// Inverse norms of modulated weights (demodulation.h), in three orders.
//
// One block owns an output channel and reads its weights once, tile by tile along the input channels: what it needs of them,
// the sums q and r over the taps, lies in shared memory. Its warps take the images in turn and add up along the tile. What
// sums over output channels instead, ds, is made by a second kernel from the q and r that the first has left in memory: a
// ninth of the weights for 3 x 3 taps. No two blocks add to one number, so that the order of every sum is fixed.
#include "cuda_ops.h"
#include "device.cuh"

namespace stylegan {

constexpr int kNormThreads = 256, kWarps = kNormThreads / 32, kTile = 512;  // of input channels

template <class A> struct DemodulationArguments {
    int n, o, i, taps;  // small enough that n * i, n * o and i * taps fit, too
    bool channels_last;
    Divider taps_of;
    A epsilon;
    const A *s, *w, *dd, *d, *dds, *ddw;
    A *out, *ds, *dw;  // out: d or d_dd
    A *q, *r, *h;      // [o, i], [o, i] and [n, o]: from the first kernel to the second
};

// The sum over the taps of a * b, for one input channel of a row of weights.
template <class A> __device__ __forceinline__ A sum_over_taps(const DemodulationArguments<A>& p, const A* a, const A* b, int i) {
    const int step = p.channels_last ? p.i : 1;
    int at = p.channels_last ? i : i * p.taps;
    A sum = 0;
    for (int k = 0; k < p.taps; k++, at += step) sum += a[at] * b[at];
    return sum;
}

// dw of a tile: w * a, in order 2 w * a + ddw * b, where a and b belong to input channels. As the weights lie in memory.
template <class A> __device__ __forceinline__ void scale_tile(const DemodulationArguments<A>& p, index_t row, int first, int count, const A* a, const A* b) {
    A* const dw = p.dw + row;
    const A *const w = p.w + row, *const ddw = p.ddw ? p.ddw + row : nullptr;
    const auto scale = [&](int at, int j) { dw[at] = w[at] * a[j] + (ddw ? ddw[at] * b[j] : A(0)); };
    if (p.channels_last) {
        for (int k = 0; k < p.taps; k++)
            for (int j = threadIdx.x; j < count; j += kNormThreads) scale(k * p.i + first + j, j);
    } else {
        const unsigned all = count * static_cast<unsigned>(p.taps);
        for (unsigned e = threadIdx.x; e < all; e += kNormThreads) scale(first * p.taps + e, p.taps_of.quotient(e));
    }
}

// Where a tile of the input channels ends, counted from its first one.
template <class A> __device__ __forceinline__ int tile_length(const DemodulationArguments<A>& p, int first) {
    return min(p.i - first, kTile);
}

// What warps add up of one tile of an output channel's sums over input channels, and at the last tile the results.
template <class A, int ORDER> __device__ __forceinline__ void add_tile(const DemodulationArguments<A>& p, int o, int first, const A* q, const A* r) {
    const int lane = threadIdx.x % 32, count = tile_length(p, first);
    for (int n = threadIdx.x / 32; n < p.n; n += kWarps) {
        A sum = 0;
        for (int j = lane; j < count; j += 32) {
            const int at = n * p.i + first + j;
            const A s = p.s[at];
            sum += ORDER == 0 ? s * s * q[j] : s * s * r[j] + (p.dds ? p.dds[at] * s * q[j] : A(0));
        }
        sum = sum_over_lanes(sum, 32);
        if (lane != 0) continue;
        const int at = n * p.o + o;
        if (first > 0) sum += p.out[at];
        if (p.i - first > kTile) {
            p.out[at] = sum;
        } else if (ORDER == 0) {
            p.out[at] = 1 / sqrt(sum + p.epsilon);
        } else {
            const A dd = p.dd[at], d = p.d[at], cube = d * d * d;
            p.out[at] = -sum * cube;
            p.h[at] = A(1.5) * sum * dd * cube * d * d;
        }
    }
}

// For one input channel the sums over images: a, the factor of w in dw, and b, that of ddw.
template <class A, int ORDER> __device__ __forceinline__ void sum_over_images(const DemodulationArguments<A>& p, int o, int i, A& a, A& b) {
    a = b = 0;
    for (int n = 0; n < p.n; n++) {
        const int norm = n * p.o + o, at = n * p.i + i;
        const A d = p.d[norm], u = p.dd[norm] * d * d * d, s = p.s[at];
        if (ORDER == 2) a += 2 * (p.h[norm] * s * s - (p.dds ? u * p.dds[at] * s : A(0)));
        (ORDER == 1 ? a : b) -= u * s * s;
    }
}

// One output channel.
template <class A, int ORDER> __global__ void __launch_bounds__(kNormThreads) demodulation_kernel(const DemodulationArguments<A> p) {
    SHARED_ARRAY(A, one, [kTile]);                   // q, then the factor of w
    SHARED_ARRAY(A, two, [ORDER == 2 ? kTile : 1]);  // r, then that of ddw
    const int o = blockIdx.x;
    const index_t channels = static_cast<index_t>(o) * p.i, row = channels * p.taps;
    // Once also where there are no input channels: the sums are then 0.
    for (int first = 0; first == 0 || first < p.i; first += kTile) {
        __syncthreads();  // the tile before has been read
        for (int j = threadIdx.x; j < tile_length(p, first); j += kNormThreads) {
            const int i = first + j;
            if (ORDER != 1 || p.q) one[j] = sum_over_taps(p, p.w + row, p.w + row, i);
            if (ORDER == 2) two[j] = p.ddw ? sum_over_taps(p, p.ddw + row, p.w + row, i) : A(0);
            if (ORDER != 0 && p.q) p.q[channels + i] = one[j];
            if (ORDER == 2 && p.q) p.r[channels + i] = two[j];
        }
        __syncthreads();
        if constexpr (ORDER != 1) add_tile<A, ORDER>(p, o, first, one, two);
    }
    if constexpr (ORDER != 0) {
        if (!p.dw) return;
        for (int first = 0; first < p.i; first += kTile) {
            __syncthreads();  // h has been written, and what is in shared memory read
            for (int j = threadIdx.x; j < tile_length(p, first); j += kNormThreads) {
                A a, b;
                sum_over_images<A, ORDER>(p, o, first + j, a, b);
                one[j] = a;
                if (ORDER == 2) two[j] = b;
            }
            __syncthreads();
            scale_tile(p, row, first, tile_length(p, first), one, two);
        }
    }
}

// ds or d_s of one image for 32 input channels: the warps share the output channels.
template <class A, int ORDER> __global__ void __launch_bounds__(kNormThreads) demodulation_styles_kernel(const DemodulationArguments<A> p) {
    SHARED_ARRAY(A, sums, [ORDER][kNormThreads]);
    const int tiles = (p.i + 31) / 32, n = blockIdx.x / tiles, i = blockIdx.x % tiles * 32 + threadIdx.x % 32;
    A sum[ORDER] = {};  // the factors of s and of dds
    if (i < p.i) {
        for (int o = threadIdx.x / 32; o < p.o; o += kWarps) {
            const int norm = n * p.o + o;
            const index_t at = static_cast<index_t>(o) * p.i + i;
            const A d = p.d[norm], u = p.dd[norm] * d * d * d, q = p.q[at];
            if (ORDER == 1) {
                sum[0] -= u * q;
            } else {
                sum[0] += 2 * (p.h[norm] * q - u * p.r[at]);
                sum[ORDER - 1] -= u * q;
            }
        }
    }
#pragma unroll
    for (int k = 0; k < ORDER; k++) sums[k][threadIdx.x] = sum[k];
    __syncthreads();
    if (threadIdx.x >= 32 || i >= p.i) return;
#pragma unroll
    for (int k = 0; k < ORDER; k++)
        for (int warp = 1; warp < kWarps; warp++) sum[k] += sums[k][warp * 32 + threadIdx.x];
    const int at = n * p.i + i;
    p.ds[at] = p.s[at] * sum[0] + (ORDER == 2 && p.dds ? p.dds[at] * sum[ORDER - 1] : A(0));
}

// ---------------------------------------------------------------------------------------------------------------------

template <int ORDER, class A> int launch_demodulation(const Demodulation& p, const DemodulationSums& sums, void* stream) {
    const auto in = [](const void* t) { return static_cast<const A*>(t); };
    const auto out = [](void* t) { return static_cast<A*>(t); };
    const index_t styles = p.n * ceil_div(p.i, 32);
    // Tiles reach beyond the last channel by less than one, and unsigned numbers count what is in them.
    for (const index_t count : {p.o, p.i, styles, p.n * p.i, p.n * p.o, p.i * p.taps, p.taps * kTile})
        if (count >= kIndexLimit - kTile) return cudaErrorInvalidValue;
    const auto whole = [](index_t count) { return static_cast<int>(count); };
    const DemodulationArguments<A> a{whole(p.n), whole(p.o), whole(p.i), whole(p.taps), p.channels_last, Divider(p.taps > 0 ? p.taps : 1), static_cast<A>(p.epsilon),
                                     in(p.s), in(p.w), in(p.dd), in(p.d), in(p.dds), in(p.ddw), out(p.out), out(p.by_s), out(p.by_w),
                                     out(sums.q), out(sums.r), out(sums.h)};
    if (p.o > 0 && (ORDER != 1 || p.by_w || p.by_s)) {
        LAUNCH((demodulation_kernel<A, ORDER>), dim3(p.o), dim3(kNormThreads), stream, a);
        if (const int error = cudaGetLastError()) return error;
    }
    if constexpr (ORDER > 0) {
        if (p.by_s && styles > 0) {
            LAUNCH((demodulation_styles_kernel<A, ORDER>), dim3(styles), dim3(kNormThreads), stream, a);
            return cudaGetLastError();
        }
    }
    return cudaSuccess;
}

int demodulation_cuda(const Demodulation& p, const DemodulationSums& sums, int order, void* stream) {
    const auto run = [&](auto* type) {
        using A = std::remove_pointer_t<decltype(type)>;
        return order == 0   ? launch_demodulation<0, A>(p, sums, stream)
               : order == 1 ? launch_demodulation<1, A>(p, sums, stream)
                            : launch_demodulation<2, A>(p, sums, stream);
    };
#ifndef STYLEGAN_HALF_ONLY  // see dispatch; what belongs to float16 is computed in float32
    if (p.dtype == Dtype::f64) return run(static_cast<double*>(nullptr));
#endif
    return p.dtype == Dtype::f32 ? run(static_cast<float*>(nullptr)) : static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace stylegan
