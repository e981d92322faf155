// Several planes side by side: a pixel is one vector, which holds a number of each plane. Whatever lies along a row or down a
// column is then the same for all lanes, so that filters need neither shuffles nor special cases.
#pragma once
#include <utility>

#include "cpu.h"

STYLEGAN_BEGIN

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX2__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <class A>
struct Bits {
    using type = uint32_t;
};
template <>
struct Bits<double> {
    using type = uint64_t;
};

// Vectors of A and, for masks and codes, of integers of the same size.
template <class A>
struct Lanes {
    static constexpr int count = vector_bytes / static_cast<int>(sizeof(A));
    typedef A Vector __attribute__((vector_size(vector_bytes)));
    typedef typename Bits<A>::type Integers __attribute__((vector_size(vector_bytes)));
};
template <class A>
using vector_t = typename Lanes<A>::Vector;
template <class A>
using integers_t = typename Lanes<A>::Integers;

template <class A>
STYLEGAN_INLINE vector_t<A> load_vector(const A* p) {
    vector_t<A> v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

template <class A>
STYLEGAN_INLINE void store_vector(A* p, vector_t<A> v) { __builtin_memcpy(p, &v, sizeof v); }

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define STYLEGAN_SHUFFLES
#endif
#endif

#ifdef STYLEGAN_SHUFFLES
// Of two rows that are Step apart in a square, change the upper right half-block for the lower left one.
template <int Step, class V, int... J>
STYLEGAN_INLINE void exchange(V& a, V& b, std::integer_sequence<int, J...>) {
    constexpr int n = sizeof...(J);
    const V upper = __builtin_shufflevector(a, b, (J & Step ? n + J - Step : J)...);
    b = __builtin_shufflevector(a, b, (J & Step ? n + J : J + Step)...);
    a = upper;
}

template <int Step, int N, class V>
STYLEGAN_INLINE void transpose_blocks(V (&rows)[N]) {
    if constexpr (Step > 0) {
#pragma GCC unroll 16
        for (int i = 0; i < N; i++) {
            if (!(i & Step)) exchange<Step>(rows[i], rows[i + Step], std::make_integer_sequence<int, N>{});
        }
        transpose_blocks<Step / 2>(rows);
    }
}
#endif

// to[j][i] = from[i][j] for as many rows and columns as there are lanes; the rows are `from_row` and `to_row` numbers apart.
template <class A>
STYLEGAN_INLINE void transpose(const A* from, index_t from_row, A* to, index_t to_row) {
    constexpr int n = Lanes<A>::count;
#ifdef STYLEGAN_SHUFFLES
    vector_t<A> rows[n];
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) rows[i] = load_vector(from + i * from_row);
    transpose_blocks<n / 2>(rows);
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) store_vector(to + i * to_row, rows[i]);
#else
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) to[j * to_row + i] = from[i * from_row + j];
    }
#endif
}

// What `filter` adds up: rows of pixels, and for each row its taps, the rows of which are `tap_row` numbers apart.
template <class A>
struct Window2d {
    const vector_t<A>* const* rows;
    index_t row_count;
    const A* taps;
    index_t tap_row, tap_count;
};

// Block outputs from the i-th on, their sums in registers; always in the same order, whatever the size of the block.
// Step and Taps are those of the call, or 0 for any.
template <int Block, int Step, int Taps, class A>
STYLEGAN_INLINE void filter_block(const Window2d<A>& w, index_t start, index_t step, vector_t<A>* out, index_t out_step, index_t i) {
    const index_t apart = Step > 0 ? Step : step, tap_count = Taps > 0 ? Taps : w.tap_count;
    vector_t<A> sum[Block] = {};
    for (index_t r = 0; r < w.row_count; r++) {
        const vector_t<A>* in = w.rows[r] + start + i * apart;
        const A* taps = w.taps + r * w.tap_row;
#pragma GCC unroll 12
        for (index_t k = 0; k < tap_count; k++) {
            const A tap = taps[k];
#pragma GCC unroll 8
            for (int b = 0; b < Block; b++) sum[b] += tap * in[b * apart + k];
        }
    }
#pragma GCC unroll 8
    for (int b = 0; b < Block; b++) out[(i + b) * out_step] = sum[b];
}

template <int Step, int Taps, class A>
__attribute__((noinline)) void filter_row(
    const Window2d<A>& w, index_t start, index_t step, vector_t<A>* out, index_t out_step, index_t count) {
    index_t i = 0;
    for (; i + 8 <= count; i += 8) filter_block<8, Step, Taps>(w, start, step, out, out_step, i);
    for (; i < count && count >= 4; i += 4) filter_block<4, Step, Taps>(w, start, step, out, out_step, smaller(i, count - 4));
    for (; i < count; i++) filter_block<1, Step, Taps>(w, start, step, out, out_step, i);
}

// Where row r has the taps of row row_count - 1 - r: both rows are added first, which takes a third of the work away. The sums of
// a pair are used by several outputs, so that they are kept in registers.
template <int Block, int Step, int Taps, class A>
STYLEGAN_INLINE void filter_mirrored_block(const Window2d<A>& w, vector_t<A>* out, index_t i) {
    constexpr int columns = (Block - 1) * Step + Taps;
    vector_t<A> sum[Block] = {};
    for (index_t r = 0; r < w.row_count / 2; r++) {
        const vector_t<A> *upper = w.rows[r] + i * Step, *lower = w.rows[w.row_count - 1 - r] + i * Step;
        vector_t<A> pair[columns];
#pragma GCC unroll 32
        for (int c = 0; c < columns; c++) pair[c] = upper[c] + lower[c];
        const A* taps = w.taps + r * w.tap_row;
#pragma GCC unroll 16
        for (int k = 0; k < Taps; k++) {
            const A tap = taps[k];
#pragma GCC unroll 8
            for (int b = 0; b < Block; b++) sum[b] += tap * pair[b * Step + k];
        }
    }
#pragma GCC unroll 8
    for (int b = 0; b < Block; b++) out[i + b] = sum[b];
}

template <int Step, int Taps, class A>
__attribute__((noinline)) void filter_mirrored(const Window2d<A>& w, vector_t<A>* out, index_t count) {
    constexpr int block = 6;
    index_t i = 0;
    for (; i < count && count >= block; i += block) filter_mirrored_block<block, Step, Taps>(w, out, smaller(i, count - block));
    for (; i < count; i++) filter_mirrored_block<1, Step, Taps>(w, out, i);
}

// out[i * out_step] = sum over r and k of taps[r][k] * rows[r][start + i * step + k], for i < count. `out` is none of the rows.
template <class A>
STYLEGAN_INLINE void filter(const Window2d<A>& w, index_t start, index_t step, vector_t<A>* out, index_t out_step, index_t count) {
    // The usual ones are unrolled: down a column, and the twelve taps that StyleGAN3 has around a factor of two.
    if (step == 1 && w.tap_count == 1) return filter_row<1, 1>(w, start, step, out, out_step, count);
    if (step == 1 && w.tap_count == 6) return filter_row<1, 6>(w, start, step, out, out_step, count);
    if (step == 2 && w.tap_count == 12) return filter_row<2, 12>(w, start, step, out, out_step, count);
    filter_row<0, 0>(w, start, step, out, out_step, count);
}

}  // namespace
STYLEGAN_END
