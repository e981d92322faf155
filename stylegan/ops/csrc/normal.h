// stylegan::normal and uniform (stylegan/ops/normal.py): numbers that depend on a key, an index and a position alone.
#pragma once
#include "dtype.h"

namespace stylegan {

// Row i holds the first `size` numbers of indices[i]. Four neighbours come of one call of Philox: blocks, `blocks` in a row.
struct Draws {
    uint64_t key;
    const int64_t* indices;  // [n]
    index_t n, size, blocks;
    float* out;  // [n, size]
};

constexpr index_t kTileBlocks = 16;  // of a work item on the CPU: it has a cache line of each of the four numbers

#define STYLEGAN_DECLARE_DRAWS(isa)                                                          \
    namespace isa {                                                                          \
    void draw(const Draws&, bool normal, index_t begin, index_t end); /* tiles of all rows */ \
    }

STYLEGAN_DECLARE_DRAWS(plain)
STYLEGAN_DECLARE_DRAWS(avx2)
STYLEGAN_DECLARE_DRAWS(avx512)

}  // namespace stylegan
