// Separable FIR filters on tiles in shared memory: each thread keeps a strip of outputs in registers, so that an input
// is read once per strip and not once per tap.
//
// A filter is aligned to its grid: out[j] = sum over k of taps[k] * in[i] with i * UP = j * DOWN + k, where tile origins are
// chosen so that in[0] meets out[0] at tap 0. An up-sampling filter whose padding is no multiple of UP is moved right by
// up to UP - 1 zero taps to make it so (`aligned_taps`).
#pragma once
#include "device.cuh"

namespace stylegan {

// Inputs that N consecutive outputs need.
template <int UP, int DOWN, int TAPS> __host__ __device__ constexpr int fir_inputs(int n) { return ((n - 1) * DOWN + TAPS - 1) / UP + 1; }
__host__ __device__ constexpr int round_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// How many inputs a thread loads at once for a strip of N outputs of a row, and what a row of `width` outputs needs so.
template <int UP, int DOWN, int N> constexpr int kRowVector = N * DOWN / UP % 4 == 0 ? 4 : N * DOWN / UP % 2 == 0 ? 2 : 1;
template <int UP, int DOWN, int TAPS, int N> __host__ __device__ constexpr int fir_row_inputs(int width) {
    return round_up((width / N - 1) * (N * DOWN / UP) + round_up(fir_inputs<UP, DOWN, TAPS>(N), kRowVector<UP, DOWN, N>), 4);
}

template <int UP, int DOWN, int TAPS, int N, class A>
__device__ __forceinline__ void fir(const A* in, const A* taps, A* out) {
#pragma unroll
    for (int j = 0; j < N; j++) {
        out[j] = 0;
#pragma unroll
        for (int k = 0; k < TAPS; k++)
            if ((j * DOWN + k) % UP == 0) out[j] += in[(j * DOWN + k) / UP] * taps[k];
    }
}

// Taps in shared memory, as correlation taps and moved right by `shift`, zero up to COUNT. Every thread calls it.
template <int COUNT, class A>
__device__ __forceinline__ void aligned_taps(A* out, const float* f, int taps, int shift, bool flip, A gain, int thread) {
    if (thread < COUNT) {
        const int k = thread - shift;
        out[thread] = k >= 0 && k < taps ? A(f[flip ? k : taps - 1 - k]) * gain : A(0);
    }
}

// Rows of `in` to rows of `out`: `groups` groups of N outputs in each row.
template <int UP, int DOWN, int TAPS, int N, int THREADS, class A>
__device__ __forceinline__ void fir_along_rows(const A* in, int in_pitch, A* out, int out_pitch, const A* taps, int rows, int groups) {
    constexpr int STEP = N * DOWN / UP, V = kRowVector<UP, DOWN, N>;
    constexpr int COUNT = round_up(fir_inputs<UP, DOWN, TAPS>(N), V);
    static_assert(N * DOWN % UP == 0 && N % 4 == 0);
    A w[TAPS];
#pragma unroll
    for (int k = 0; k < TAPS; k++) w[k] = taps[k];
    for (int i = threadIdx.x; i < rows * groups; i += THREADS) {
        const int row = i / groups, group = i - row * groups;
        A v[COUNT], sums[N];
#pragma unroll
        for (int k = 0; k < COUNT; k += V) load<V>(in + row * in_pitch + group * STEP + k, v + k);
        fir<UP, DOWN, TAPS, N>(v, w, sums);
#pragma unroll
        for (int k = 0; k < N; k += 4) store<4>(out + row * out_pitch + group * N + k, sums + k);
    }
}

// Columns of `in`, four at a time: N rows of them to `emit(first row, first column, sums[N][4])`.
template <int UP, int DOWN, int TAPS, int N, int THREADS, class A, class Emit>
__device__ __forceinline__ void fir_along_columns(const A* in, int pitch, const A* taps, int row_groups, int quads, Emit emit) {
    constexpr int STEP = N * DOWN / UP, COUNT = fir_inputs<UP, DOWN, TAPS>(N);
    static_assert(N * DOWN % UP == 0);
    A w[TAPS];
#pragma unroll
    for (int k = 0; k < TAPS; k++) w[k] = taps[k];
    for (int i = threadIdx.x; i < row_groups * quads; i += THREADS) {
        const int group = i / quads, column = (i - group * quads) * 4;
        A sums[N][4] = {};
#pragma unroll
        for (int r = 0; r < COUNT; r++) {
            A v[4];
            load<4>(in + (group * STEP + r) * pitch + column, v);
#pragma unroll
            for (int j = 0; j < N; j++) {
                const int k = r * UP - j * DOWN;
                if (k >= 0 && k < TAPS)
#pragma unroll
                    for (int q = 0; q < 4; q++) sums[j][q] += v[q] * w[k];
            }
        }
        emit(group * N, column, sums);
    }
}

}  // namespace stylegan
