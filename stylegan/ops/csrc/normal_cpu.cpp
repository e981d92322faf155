// stylegan::normal and uniform on the CPU. Compiled with -ffp-contract=off: see philox.h.
#include "normal.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "lanes_cpu.h"
#include "philox.h"

STYLEGAN_BEGIN

using Wide = integers_t<double>;
typedef uint32_t Narrow __attribute__((vector_size(vector_bytes / 2)));
constexpr index_t kWide = Lanes<double>::count, kTile = 4 * kTileBlocks;  // numbers of a tile
static_assert(kTileBlocks % kWide == 0);

// Of the lower halves of 64 bits: one instruction, which compilers do not find.
STYLEGAN_INLINE Wide wide_product(Wide a, uint32_t b) {
#if defined(__AVX512F__)
    return reinterpret_cast<Wide>(_mm512_mul_epu32(reinterpret_cast<__m512i>(a), _mm512_set1_epi64(b)));
#elif defined(__AVX2__)
    return reinterpret_cast<Wide>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(b)));
#elif defined(__SSE2__)
    return reinterpret_cast<Wide>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), _mm_set1_epi64x(b)));
#else
    return (a & 0xffffffffu) * b;
#endif
}

// The words of the blocks of a tile, the first of which is a multiple of their number.
STYLEGAN_INLINE void tile_words(uint64_t key, uint64_t index, uint64_t first, uint32_t (&words)[4][kTileBlocks]) {
    const Wide zeros{};
    Wide lanes{};
    for (index_t lane = 0; lane < kWide; lane++) lanes[lane] = lane;
#pragma GCC unroll 8
    for (index_t i = 0; i < kTileBlocks; i += kWide) {
        const Four<Wide> counter{zeros + low_word(index), zeros + high_word(index), lanes + low_word(first + i), zeros + high_word(first)};
        const auto multiply = [](Wide a, uint32_t b) STYLEGAN_INLINED {
            const Wide product = wide_product(a, b);
            return Product<Wide>{product, product >> 32};
        };
        const Four<Wide> four = philox(counter, key, multiply);
        const Wide parts[4] = {four.a, four.b, four.c, four.d};
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const auto narrow = __builtin_convertvector(parts[k], Narrow);
            __builtin_memcpy(words[k] + i, &narrow, sizeof narrow);
        }
    }
}

// Whole tiles, so that the compiler knows the length of the loop; what lies beyond the end of a row is thrown away.
template <bool NORMAL>
void fill(const Draws& draws, index_t begin, index_t end) {
    const index_t tiles = div_up(draws.blocks, kTileBlocks);
    for (index_t i = begin; i < end; i++) {
        const index_t row = i / tiles, first = i % tiles * kTile;
        float* const out = draws.out + row * draws.size + first;
        alignas(64) uint32_t words[4][kTileBlocks];
        tile_words(draws.key, draws.indices[row], first / 4, words);
        alignas(64) float tile[kTile];
#pragma omp simd
        for (index_t lane = 0; lane < kTileBlocks; lane++) {
            const Four<uint32_t> four{words[0][lane], words[1][lane], words[2][lane], words[3][lane]};
            const Four<float> made = NORMAL ? normals(four) : uniforms(four);
            float* const at = tile + 4 * lane;
            at[0] = made.a, at[1] = made.b, at[2] = made.c, at[3] = made.d;
        }
        __builtin_memcpy(out, tile, sizeof(float) * smaller(draws.size - first, kTile));
    }
}

STYLEGAN_EXPORT

void draw(const Draws& draws, bool normal, index_t begin, index_t end) {
    normal ? fill<true>(draws, begin, end) : fill<false>(draws, begin, end);
}

STYLEGAN_END
