// stylegan::normal and uniform: a thread makes one block of four numbers.
#include "normal.h"
#include "cuda_ops.h"
#include "device.cuh"
#include "philox.h"

namespace stylegan {

constexpr int kDrawThreads = 256;

struct DrawArguments {
    Draws draws;
    unsigned threads;
    Divider blocks;  // of a row
};

// One instruction; the compiler would multiply 64 bits with 64.
__device__ __forceinline__ Product<uint32_t> multiply_wide(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
    Product<uint32_t> p;
    asm("{ .reg .u64 p; mul.wide.u32 p, %2, %3; mov.b64 {%0, %1}, p; }" : "=r"(p.low), "=r"(p.high) : "r"(a), "r"(b));
    return p;
#else
    return {a * b, __umulhi(a, b)};
#endif
}

template <bool NORMAL, bool VECTORS> __global__ void __launch_bounds__(kDrawThreads) normal_kernel(const DrawArguments p) {
    unsigned row = blockIdx.x * kDrawThreads + threadIdx.x;
    if (row >= p.threads) return;
    const unsigned block = p.blocks.split(row);
    const uint64_t index = p.draws.indices[row];
    const auto multiply = [](uint32_t a, uint32_t b) { return multiply_wide(a, b); };
    const Four<uint32_t> words = philox(Four<uint32_t>{low_word(index), high_word(index), block, 0}, p.draws.key, multiply);
    const Four<float> made = NORMAL ? normals(words) : uniforms(words);
    const float numbers[4] = {made.a, made.b, made.c, made.d};
    const index_t first = static_cast<index_t>(block) * 4;
    float* const out = p.draws.out + row * p.draws.size + first;
    if (VECTORS) return store<4>(out, numbers);
#pragma unroll
    for (int k = 0; k < 4; k++)
        if (first + k < p.draws.size) out[k] = numbers[k];
}

#ifndef STYLEGAN_LAUNCH_LIMIT  // threads; a test sets it low, to see few rows cut into parts
#define STYLEGAN_LAUNCH_LIMIT (kIndexLimit - kDrawThreads)
#endif

// Threads are counted in 32 bits: as many rows at a time as that allows. A row may have 2^33 numbers.
int normal_cuda(const Draws& draws, bool normal, void* stream) {
    const index_t limit = STYLEGAN_LAUNCH_LIMIT;
    if (draws.n == 0 || draws.size == 0) return cudaSuccess;
    if (draws.blocks > limit) return cudaErrorInvalidValue;
    const bool vectors = draws.size % 4 == 0 && aligned(draws.out, 16);
    const index_t most = limit / draws.blocks;
    for (index_t row = 0; row < draws.n; row += most) {
        DrawArguments a{draws, 0, Divider(draws.blocks)};
        a.draws.n = draws.n - row < most ? draws.n - row : most;
        a.draws.indices += row, a.draws.out += row * draws.size;
        a.threads = static_cast<unsigned>(a.draws.n * draws.blocks);
        const dim3 grid(ceil_div(a.threads, kDrawThreads)), block(kDrawThreads);
        if (normal && vectors)
            LAUNCH((normal_kernel<true, true>), grid, block, stream, a);
        else if (normal)
            LAUNCH((normal_kernel<true, false>), grid, block, stream, a);
        else if (vectors)
            LAUNCH((normal_kernel<false, true>), grid, block, stream, a);
        else
            LAUNCH((normal_kernel<false, false>), grid, block, stream, a);
        if (const int error = cudaGetLastError()) return error;
    }
    return cudaSuccess;
}

}  // namespace stylegan
