// What all CUDA kernels share: 16-byte vectors, division by a constant, and launching.
//
// The kernels compile with nvcc and, for tests on a machine without a GPU, with a host compiler that finds
// cuda_emulation.h (tests/cuda/emulator). They take one plain structure by value and see no torch header.
#pragma once
#include "number.cuh"

namespace stylegan {

// V elements that are loaded and stored with as few instructions as their alignment allows, 16 bytes at most each.
template <class T, int V> struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) Vector { T v[V]; };

template <class T> constexpr int kVector = 16 / sizeof(T);  // elements in 16 bytes

template <int V, class T> __device__ __forceinline__ Vector<T, V> load_raw(const T* p) { return *reinterpret_cast<const Vector<T, V>*>(p); }

// The V elements at p + OFFSET where position < limit, else zeros. Written out for a GPU, as a load that depends on a
// predicate: the compiler would make a branch of it, and compute every position anew.
template <int V, int OFFSET, class T> __device__ __forceinline__ Vector<T, V> load_below(const T* p, unsigned position, unsigned limit) {
#ifdef __CUDA_ARCH__
    Vector<T, V> q;
    const size_t at = __cvta_generic_to_global(p);
    constexpr int BYTES = OFFSET * static_cast<int>(sizeof(T));
    if constexpr (sizeof q == 2) {
        unsigned short word;
        asm("{ .reg .pred below; setp.lt.u32 below, %2, %3; mov.u16 %0, 0; @below ld.global.u16 %0, [%1+%4]; }" : "=&h"(word) : "l"(at), "r"(position), "r"(limit), "n"(BYTES));
        memcpy(&q, &word, sizeof q);
    } else if constexpr (sizeof q == 4) {
        unsigned word;
        asm("{ .reg .pred below; setp.lt.u32 below, %2, %3; mov.u32 %0, 0; @below ld.global.u32 %0, [%1+%4]; }" : "=&r"(word) : "l"(at), "r"(position), "r"(limit), "n"(BYTES));
        memcpy(&q, &word, sizeof q);
    } else if constexpr (sizeof q == 8) {
        unsigned long long word;
        asm("{ .reg .pred below; setp.lt.u32 below, %2, %3; mov.u64 %0, 0; @below ld.global.u64 %0, [%1+%4]; }" : "=&l"(word) : "l"(at), "r"(position), "r"(limit), "n"(BYTES));
        memcpy(&q, &word, sizeof q);
    } else {
        static_assert(sizeof q == 16);
        unsigned words[4];
        asm("{ .reg .pred below; setp.lt.u32 below, %5, %6; mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; mov.u32 %3, 0;"
            " @below ld.global.v4.u32 {%0, %1, %2, %3}, [%4+%7]; }"
            : "=&r"(words[0]), "=&r"(words[1]), "=&r"(words[2]), "=&r"(words[3]) : "l"(at), "r"(position), "r"(limit), "n"(BYTES));
        memcpy(&q, words, sizeof q);
    }
    return q;
#else
    return position < limit ? load_raw<V>(p + OFFSET) : Vector<T, V>{};
#endif
}

// Two neighbours of a vector of half types, in the register that holds both.
template <class T, int V> __device__ __forceinline__ unsigned word_of(const Vector<T, V>& q, int k) {
    unsigned word;
    memcpy(&word, &q.v[k], sizeof word);
    return word;
}

template <class T, int V> __device__ __forceinline__ void unpack(const Vector<T, V>& q, Compute<T>* out) {
#pragma unroll
    for (int k = 0; k < V; k++) {
        if constexpr (sizeof(T) == 2 && V % 2 == 0) {
            if (k % 2 == 0) {
                const float2 f = Number<T>::widen_pair(word_of(q, k));
                out[k] = f.x;
                out[k + 1] = f.y;
            }
        } else {
            out[k] = Number<T>::widen(q.v[k]);
        }
    }
}

template <int V, class T> __device__ __forceinline__ void load(const T* p, Compute<T>* out) { unpack(load_raw<V>(p), out); }

template <int V, class T> __device__ __forceinline__ void store(T* p, const Compute<T>* in) {
    Vector<T, V> q;
    if constexpr (sizeof(T) == 2 && V % 2 == 0) {  // one instruction converts two
        unsigned words[V / 2];
#pragma unroll
        for (int k = 0; k < V / 2; k++) words[k] = Number<T>::narrow_pair({in[2 * k], in[2 * k + 1]});
        memcpy(&q, words, sizeof q);
    } else {
#pragma unroll
        for (int k = 0; k < V; k++) q.v[k] = Number<T>::narrow(in[k]);
    }
    *reinterpret_cast<Vector<T, V>*>(p) = q;
}

// Sum over groups of `lanes` neighbouring threads; all of them get it.
template <class A> __device__ __forceinline__ A sum_over_lanes(A v, int lanes) {
    for (int d = lanes / 2; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
    return v;
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

// Stores what `in` holds within +-bound. Half types are clamped two at a time, after rounding: that is monotonic, so the
// order makes no difference.
template <int V, class T> __device__ __forceinline__ void store_clamped(T* p, const Compute<T>* in, Compute<T> bound) {
    if constexpr (Number<T>::kClampsPairs && V % 2 == 0) {
        const unsigned most = Number<T>::narrow_pair({bound, bound}), least = most ^ 0x80008000u;
        unsigned words[V / 2];
#pragma unroll
        for (int k = 0; k < V / 2; k++) words[k] = Number<T>::clamp_pair(Number<T>::narrow_pair({in[2 * k], in[2 * k + 1]}), least, most);
        Vector<T, V> q;
        memcpy(&q, words, sizeof q);
        *reinterpret_cast<Vector<T, V>*>(p) = q;
    } else {
        Compute<T> out[V];
#pragma unroll
        for (int k = 0; k < V; k++) out[k] = clamped(in[k], bound);
        store<V>(p, out);
    }
}

// The derivative of a leaky ReLU with gain and clamp, read off its result y: `gain` where y, or -y if not POSITIVE, is
// greater than 0, else `below`; 0 where |y| >= clamp. Half types are compared two at a time.
template <bool POSITIVE, class T, int V, class A>
__device__ __forceinline__ void slopes(const Vector<T, V>& y, A gain, A below, A clamp, A* out) {
    if constexpr (Number<T>::kComparesPairs && V % 2 == 0) {
        const unsigned bound = Number<T>::bound_pair(clamp);
#pragma unroll
        for (int k = 0; k < V; k += 2) {
            const unsigned word = word_of(y, k);
            float2 slope;
            Number<T>::greater_pair(POSITIVE ? word : word ^ 0x80008000u, 0, gain, below, slope);
            Number<T>::zero_from_bound_pair(word & 0x7fff7fffu, bound, slope);
            out[k] = slope.x;
            out[k + 1] = slope.y;
        }
    } else {
        A v[V];
        unpack(y, v);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const A slope = (POSITIVE ? v[k] > 0 : v[k] < 0) ? gain : below;
            out[k] = fabs(v[k]) >= clamp ? A(0) : slope;
        }
    }
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
#else
    switch (dtype) {
        case Dtype::f32: return f(static_cast<float*>(nullptr));
        case Dtype::f64: return f(static_cast<double*>(nullptr));
        case Dtype::f16: return f(static_cast<__half*>(nullptr));
        case Dtype::bf16: return f(static_cast<__nv_bfloat16*>(nullptr));
    }
    return 1;
#endif
}

}  // namespace stylegan
