// The element types of the CUDA kernels: what they are computed in, and pairs of half types in one register.
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

#ifdef __CUDA_ARCH__
#define ARCHITECTURE __CUDA_ARCH__
#else
#define ARCHITECTURE 0  // a host compiler
#endif

// Operations on two numbers of a half type in one register, `low` the first in memory. A bound is rounded up to `TYPE`.
#define PAIR_OPERATIONS(TYPE)                                                                                             \
    static __device__ __forceinline__ unsigned clamp_pair(unsigned v, unsigned least, unsigned most) {                     \
        asm("min.NaN." TYPE "x2 %0, %0, %1;" : "+r"(v) : "r"(most));                                                       \
        asm("max.NaN." TYPE "x2 %0, %0, %1;" : "+r"(v) : "r"(least));                                                      \
        return v;                                                                                                          \
    }                                                                                                                      \
    static __device__ __forceinline__ void greater_pair(unsigned v, unsigned than, float yes, float no, float2& out) {     \
        asm("{ .reg .pred p, q; setp.gt." TYPE "x2 p|q, %2, %3; selp.f32 %0, %4, %5, p; selp.f32 %1, %4, %5, q; }"         \
            : "=f"(out.x), "=f"(out.y) : "r"(v), "r"(than), "f"(yes), "f"(no));                                            \
    }                                                                                                                      \
    static __device__ __forceinline__ void zero_from_bound_pair(unsigned v, unsigned bound, float2& out) {                 \
        asm("{ .reg .pred p, q; setp.ge." TYPE "x2 p|q, %2, %3; selp.f32 %0, 0f00000000, %0, p;"                           \
            " selp.f32 %1, 0f00000000, %1, q; }" : "+f"(out.x), "+f"(out.y) : "r"(v), "r"(bound));                         \
    }

// Half types are computed in float.
template <class T> struct Number {
    using Compute = T;
    static constexpr bool kClampsPairs = false, kComparesPairs = false;
    static __device__ __forceinline__ T widen(T v) { return v; }
    static __device__ __forceinline__ T narrow(T v) { return v; }
};
template <> struct Number<__half> {
    using Compute = float;
    static constexpr bool kClampsPairs = ARCHITECTURE >= 800, kComparesPairs = ARCHITECTURE >= 750;
    static __device__ __forceinline__ float widen(__half v) { return __half2float(v); }
    static __device__ __forceinline__ __half narrow(float v) { return __float2half_rn(v); }
    static __device__ __forceinline__ float2 widen_pair(unsigned v) {
        float2 r;
#ifdef __CUDA_ARCH__  // one instruction takes both apart
        asm("{ .reg .f16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }" : "=f"(r.x), "=f"(r.y) : "r"(v));
#else
        __half2 pair;
        memcpy(&pair, &v, sizeof pair);
        r = __half22float2(pair);
#endif
        return r;
    }
    static __device__ __forceinline__ unsigned narrow_pair(float2 v) {
        const __half2 pair = __float22half2_rn(v);
        unsigned r;
        memcpy(&r, &pair, sizeof r);
        return r;
    }
#ifdef __CUDA_ARCH__
    PAIR_OPERATIONS("f16")
    static __device__ __forceinline__ unsigned bound_pair(float bound) {
        const unsigned word = __half_as_ushort(__float2half_ru(bound));
        return word | word << 16;
    }
#endif
};
template <> struct Number<__nv_bfloat16> {
    using Compute = float;
    static constexpr bool kClampsPairs = ARCHITECTURE >= 800, kComparesPairs = ARCHITECTURE >= 900;
    static __device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }
    static __device__ __forceinline__ __nv_bfloat16 narrow(float v) { return __float2bfloat16_rn(v); }
    static __device__ __forceinline__ float2 widen_pair(unsigned v) {  // they are the upper halves of floats
        const unsigned low = v << 16, high = v & 0xffff0000u;
        float2 r;
        memcpy(&r.x, &low, sizeof low);
        memcpy(&r.y, &high, sizeof high);
        return r;
    }
    static __device__ __forceinline__ unsigned narrow_pair(float2 v) {
        const __nv_bfloat162 pair = __float22bfloat162_rn(v);
        unsigned r;
        memcpy(&r, &pair, sizeof r);
        return r;
    }
#ifdef __CUDA_ARCH__
    PAIR_OPERATIONS("bf16")
    static __device__ __forceinline__ unsigned bound_pair(float bound) {
        const unsigned word = (__float_as_uint(bound) + 0xffff) >> 16;
        return word | word << 16;
    }
#endif
};
#undef PAIR_OPERATIONS
template <class T> using Compute = typename Number<T>::Compute;

}  // namespace stylegan
