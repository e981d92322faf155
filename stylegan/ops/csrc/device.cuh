// What all CUDA kernels share: element types, 16-byte vectors, division by a constant, and launching.
//
// The kernels compile with nvcc and, for tests on a machine without a GPU, with a host compiler that finds
// cuda_emulation.h (tests/cuda/emulator). They take one plain structure by value and see no torch header.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define SHARED_ARRAY(T, name, dims) __shared__ __align__(16) T name dims
#define LAUNCH(kernel, grid, block, stream, parameters) kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(parameters)
#else
#include "cuda_emulation.h"
#endif
#include <cstring>

#include "dtype.h"

namespace stylegan {

// Half types are computed in float.
template <class T> struct Number {
    using Compute = T;
    static __device__ __forceinline__ T widen(T v) { return v; }
    static __device__ __forceinline__ T narrow(T v) { return v; }
};
template <> struct Number<__half> {
    using Compute = float;
    using Pair = __half2;
    static __device__ __forceinline__ float widen(__half v) { return __half2float(v); }
    static __device__ __forceinline__ __half narrow(float v) { return __float2half_rn(v); }
    static __device__ __forceinline__ float2 widen_pair(Pair v) { return __half22float2(v); }
    static __device__ __forceinline__ Pair narrow_pair(float2 v) { return __float22half2_rn(v); }
};
template <> struct Number<__nv_bfloat16> {
    using Compute = float;
    using Pair = __nv_bfloat162;
    static __device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
    static __device__ __forceinline__ __nv_bfloat16 narrow(float v) { return __float2bfloat16_rn(v); }
    static __device__ __forceinline__ float2 widen_pair(Pair v) { return __bfloat1622float2(v); }
    static __device__ __forceinline__ Pair narrow_pair(float2 v) { return __float22bfloat162_rn(v); }
};
template <class T> using Compute = typename Number<T>::Compute;

// V elements that are loaded and stored with as few instructions as their alignment allows, 16 bytes at most each.
template <class T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Vector { T v[V]; };

template <class T> constexpr int kVector = 16 / sizeof(T);  // elements in 16 bytes

template <int V, class T> __device__ __forceinline__ void load(const T* p, Compute<T>* out) {
    const Vector<T, V> q = *reinterpret_cast<const Vector<T, V>*>(p);
#pragma unroll
    for (int k = 0; k < V; k++) {
        if constexpr (sizeof(T) == 2 && V % 2 == 0) {  // one instruction converts two
            if (k % 2 == 0) {
                typename Number<T>::Pair pair;
                memcpy(&pair, &q.v[k], sizeof pair);
                const float2 f = Number<T>::widen_pair(pair);
                out[k] = f.x;
                out[k + 1] = f.y;
            }
        } else {
            out[k] = Number<T>::widen(q.v[k]);
        }
    }
}

template <int V, class T> __device__ __forceinline__ void store(T* p, const Compute<T>* in) {
    Vector<T, V> q;
#pragma unroll
    for (int k = 0; k < V; k++) {
        if constexpr (sizeof(T) == 2 && V % 2 == 0) {
            if (k % 2 == 0) {
                const typename Number<T>::Pair pair = Number<T>::narrow_pair({in[k], in[k + 1]});
                memcpy(&q.v[k], &pair, sizeof pair);
            }
        } else {
            q.v[k] = Number<T>::narrow(in[k]);
        }
    }
    *reinterpret_cast<Vector<T, V>*>(p) = q;
}

// v within +-bound; NaN stays NaN, which fmin and fmax would hide from the guard against broken gradients.
template <class A> __device__ __forceinline__ A clamped(A v, A bound) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    if constexpr (sizeof(A) == 4) {
        float r;
        asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(v), "f"(bound));
        asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(r), "f"(-bound));
        return r;
    }
#endif
    return v > bound ? bound : v < -bound ? -bound : v;
}

// Quotient and remainder of n < 2^31 by a divisor known to the host (Granlund and Montgomery 1994, figure 4.1):
// n / d = (umulhi(n, m) + n) >> s with s = ceil(log2 d), m = floor(2^32 (2^s - d) / d) + 1. An integer division
// takes a GPU about forty instructions.
struct Divider {
    uint32_t divisor = 1, multiplier = 1, shift = 0;
    Divider() = default;
    explicit Divider(index_t d) : divisor(static_cast<uint32_t>(d)) {
        while ((uint64_t(1) << shift) < divisor) shift++;
        multiplier = static_cast<uint32_t>((((uint64_t(1) << shift) - divisor) << 32) / divisor + 1);
    }
    __device__ __forceinline__ unsigned quotient(unsigned n) const { return (__umulhi(n, multiplier) + n) >> shift; }
    __device__ __forceinline__ unsigned remainder(unsigned n) const { return n - quotient(n) * divisor; }
    // Returns the remainder and leaves the quotient in n.
    __device__ __forceinline__ unsigned split(unsigned& n) const {
        const unsigned q = quotient(n), r = n - q * divisor;
        n = q;
        return r;
    }
};

constexpr index_t kIndexLimit = index_t(1) << 31;  // of what a Divider divides

inline bool aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// b > 0
__host__ __device__ inline index_t floor_div(index_t a, index_t b) { return a / b - (a % b < 0); }
__host__ __device__ inline index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }

inline size_t element_bytes(Dtype dtype) { return dtype == Dtype::f64 ? 8 : dtype == Dtype::f32 ? 4 : 2; }

// Call f with a null pointer of the element type.
template <class F> int dispatch(Dtype dtype, F f) {
#ifdef STYLEGAN_HALF_ONLY  // a quarter of the time to compile, for tests under sanitizers
    return dtype == Dtype::f16 ? f(static_cast<__half*>(nullptr)) : 1;
#endif
    switch (dtype) {
        case Dtype::f32: return f(static_cast<float*>(nullptr));
        case Dtype::f64: return f(static_cast<double*>(nullptr));
        case Dtype::f16: return f(static_cast<__half*>(nullptr));
        case Dtype::bf16: return f(static_cast<__nv_bfloat16*>(nullptr));
    }
    return 1;
}

}  // namespace stylegan
