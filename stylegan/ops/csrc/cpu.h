// What the CPU kernels share. Every `*_cpu.cpp` is compiled once per instruction set, into the namespace
// stylegan::STYLEGAN_ISA. Nothing of the standard library that could be emitted as a function of its own is used in them: the
// linker would keep one copy for all, perhaps one that the machine cannot run.
#pragma once
#include "dtype.h"
#include "inline.h"

#define STYLEGAN_BEGIN     \
    namespace stylegan {   \
    namespace STYLEGAN_ISA { \
    namespace {
#define STYLEGAN_EXPORT }
#define STYLEGAN_END \
    }                \
    }

STYLEGAN_BEGIN

struct half_t {
    uint16_t bits;
};
struct bfloat_t {
    uint16_t bits;
};

template <class T>
struct ComputeType {
    using type = float;
};
template <>
struct ComputeType<double> {
    using type = double;
};
template <class T>
using compute_t = typename ComputeType<T>::type;

STYLEGAN_INLINE float load(const float* p) { return *p; }
STYLEGAN_INLINE double load(const double* p) { return *p; }
STYLEGAN_INLINE float load(const bfloat_t* p) { return __builtin_bit_cast(float, static_cast<uint32_t>(p->bits) << 16); }

// Exponents differ by 112. Scaling as numbers, not as bits, sets subnormal halves right, too.
STYLEGAN_INLINE float load(const half_t* p) {
    const uint32_t magnitude = p->bits & 0x7fffu, sign = static_cast<uint32_t>(p->bits & 0x8000u) << 16;
    const float scaled = __builtin_bit_cast(float, magnitude << 13) * 0x1p112f;
    const uint32_t bits = magnitude >= 0x7c00u ? (magnitude << 13) | 0x7f800000u : __builtin_bit_cast(uint32_t, scaled);
    return __builtin_bit_cast(float, bits | sign);
}

STYLEGAN_INLINE void store(float* p, float v) { *p = v; }
STYLEGAN_INLINE void store(double* p, double v) { *p = v; }

// To nearest, ties to even. A NaN stays one.
STYLEGAN_INLINE void store(bfloat_t* p, float v) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, v);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    p->bits = static_cast<uint16_t>(v != v ? 0x7fc0u : rounded);
}

STYLEGAN_INLINE void store(half_t* p, float v) {
    const uint32_t bits = __builtin_bit_cast(uint32_t, v), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    // Below 2^-14 halves are multiples of 2^-24: adding 0.5 moves those to the end of the float's mantissa, rounded.
    const float shifted = __builtin_bit_cast(float, magnitude) + 0.5f;
    const uint32_t subnormal = __builtin_bit_cast(uint32_t, shifted) - 0x3f000000u;
    const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    uint32_t result = magnitude < 0x38800000u ? subnormal : normal;
    result = magnitude >= 0x477ff000u ? 0x7c00u : result;  // from 65520 on: infinity
    result = magnitude > 0x7f800000u ? 0x7e00u : result;
    p->bits = static_cast<uint16_t>(result | sign);
}

STYLEGAN_INLINE index_t smaller(index_t a, index_t b) { return a < b ? a : b; }
STYLEGAN_INLINE index_t larger(index_t a, index_t b) { return a > b ? a : b; }
STYLEGAN_INLINE index_t div_up(index_t a, index_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Call `function` with a null pointer of the element type.
template <class F>
STYLEGAN_INLINE void with_type(Dtype dtype, F function) {
    switch (dtype) {
        case Dtype::f32:
            return function(static_cast<float*>(nullptr));
        case Dtype::f64:
            return function(static_cast<double*>(nullptr));
        case Dtype::f16:
            return function(static_cast<half_t*>(nullptr));
        case Dtype::bf16:
            return function(static_cast<bfloat_t*>(nullptr));
    }
}

}  // namespace
STYLEGAN_END
