// The arithmetic of stylegan::normal and uniform, for one block of four numbers. It makes the same bits everywhere, and the
// reference in stylegan/ops/normal.py is its twin: 32-bit integers, and floats under correctly rounded +, -, *, / and square
// root only, none of them fused with another. No number on the way is subnormal, so that flushing these would change nothing.
#pragma once
#include <cstdint>
#include <cstring>

#include "inline.h"

#ifdef __CUDACC__
#define STYLEGAN_NUMBER __device__ __forceinline__
#else
#define STYLEGAN_NUMBER STYLEGAN_INLINE
#endif

namespace stylegan {
namespace {

// nvcc would contract a * b + c where it is not told in this way. The host's compiler is by -ffp-contract=off (libraries.py).
#ifdef __CUDACC__
STYLEGAN_NUMBER float times(float a, float b) { return __fmul_rn(a, b); }
STYLEGAN_NUMBER float over(float a, float b) { return __fdiv_rn(a, b); }
STYLEGAN_NUMBER float root(float a) { return __fsqrt_rn(a); }
#else
STYLEGAN_NUMBER float times(float a, float b) { return a * b; }
STYLEGAN_NUMBER float over(float a, float b) { return a / b; }
STYLEGAN_NUMBER float root(float a) { return __builtin_sqrtf(a); }
#endif

STYLEGAN_NUMBER uint32_t bits_of(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof bits);
    return bits;
}

STYLEGAN_NUMBER float float_of(uint32_t bits) {
    float a;
    memcpy(&a, &bits, sizeof a);
    return a;
}

template <class T> struct Four {
    T a, b, c, d;
};

// The two words of a product.
template <class Word> struct Product {
    Word low, high;
};

// Philox 4x32-10 (Salmon et al. 2011, section 3.3 and table 2). Words are 32 bits, or vectors of 64 of which the lower halves
// count.
template <class Word, class Multiply>
STYLEGAN_NUMBER Four<Word> philox(Four<Word> counter, uint64_t key, const Multiply& multiply) {
    uint32_t low = static_cast<uint32_t>(key), high = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        const Product<Word> p = multiply(counter.a, 0xd2511f53u), q = multiply(counter.c, 0xcd9e8d57u);
        counter = {q.high ^ counter.b ^ low, q.low, p.high ^ counter.d ^ high, p.low};
        low += 0x9e3779b9u, high += 0xbb67ae85u;
    }
    return counter;
}

// c[0] + q (c[1] + q (c[2] ...))
STYLEGAN_NUMBER float horner(float, float last) { return last; }
template <class... Rest> STYLEGAN_NUMBER float horner(float q, float first, Rest... rest) { return first + times(q, horner(q, rest...)); }

// sqrt(-2 ln u) for u = (x + 1/2) / 2^32, to 2.2 units in the last place: 6.76 for x = 0, 1.5e-5 for x = 2^32 - 1.
//
// The smaller one of u and 1 - u is a, which a float holds to 24 bits. With a = m 2^-e, m from 1/2 to 1, ln u is either
// ln m - e ln 2 or ln(1 - a). Both logarithms are ln(1 - v) = -2 artanh(v / (2 - v)) for v from 0 to 1/2.
STYLEGAN_NUMBER float radius(uint32_t x) {
    const bool upper = static_cast<int32_t>(x) < 0;
    const float a = times(static_cast<float>(static_cast<int32_t>(upper ? ~x : x)) + 0.5f, 0x1p-32f);
    const uint32_t bits = bits_of(a);
    const float v = upper ? a : 1.0f - float_of((bits & 0x7fffffu) | 0x3f000000u);
    const float e = upper ? 0.0f : static_cast<float>(126 - static_cast<int32_t>(bits >> 23));
    const float s = over(v, 2.0f - v);
    const float artanh = times(s, horner(times(s, s), 4.0f, 1.33332825f, 0.800432444f, 0.560015678f, 0.560309291f));
    return root(times(e, 1.38629436f) + artanh);
}

struct Direction {
    float cos, sin;
};

// Cosine and sine of 2 pi (x + 1/2) / 2^32, to 2.8 units in the last place: those of h quarters of pi, h from -1 to 1, from
// the nearest one of the four axes on.
STYLEGAN_NUMBER Direction direction(uint32_t x) {
    const uint32_t turned = x + 0x20000000u, axis = turned >> 30;
    const float h = times(static_cast<float>(static_cast<int32_t>(turned & 0x3fffffffu) - 0x20000000) + 0.5f, 0x1p-29f);
    const float q = times(h, h);
    const float sin = times(h, horner(q, 0.785398185f, -0.0807458237f, 0.0024909908f, -3.65908454e-05f));
    const float cos = horner(q, 1.0f, -0.308425128f, 0.015854327f, -0.000325940084f, 3.53033352e-06f);
    const bool swapped = axis & 1;
    return {float_of(bits_of(swapped ? sin : cos) ^ ((axis + 1) & 2) << 30), float_of(bits_of(swapped ? cos : sin) ^ (axis & 2) << 30)};
}

// Box and Muller 1958: two of the words make two numbers.
STYLEGAN_NUMBER Four<float> normals(const Four<uint32_t>& words) {
    const float r = radius(words.a), s = radius(words.c);
    const Direction to = direction(words.b), too = direction(words.d);
    return {times(r, to.cos), times(r, to.sin), times(s, too.cos), times(s, too.sin)};
}

// x / 2^32 in [0, 1), rounded down to what a float holds, or to 2^-24 from 2^-8 on.
STYLEGAN_NUMBER float uniform(uint32_t x) {
    const bool exact = x < 1u << 24;
    return times(static_cast<float>(static_cast<int32_t>(exact ? x : x >> 8)), exact ? 0x1p-32f : 0x1p-24f);
}

STYLEGAN_NUMBER Four<float> uniforms(const Four<uint32_t>& words) {
    return {uniform(words.a), uniform(words.b), uniform(words.c), uniform(words.d)};
}

STYLEGAN_NUMBER uint32_t low_word(uint64_t v) { return static_cast<uint32_t>(v); }
STYLEGAN_NUMBER uint32_t high_word(uint64_t v) { return static_cast<uint32_t>(v >> 32); }

}  // namespace
}  // namespace stylegan
