// upfirdn2d in three kernels:
//   strip      filters of up to 4 x 4 taps, factors 1:1, up 2 or down 2: registers only, no shared memory, no barrier
//   separable  filters of up to 12 taps per axis with the same factors: tiles in shared memory, rows then columns
//   generic    everything else: one thread per output
#include <utility>

#include "cuda_ops.h"
#include "device.cuh"
#include "fir_tile.cuh"

namespace stylegan {

constexpr int kStripThreads = 128, kTileThreads = 256, kStripTaps = 4, kTileTaps = 12;

// Store the V numbers of `sums`, plus those of `added`, where there are any, at `to`, which is a place in `y`.
template <int V, class T> __device__ __forceinline__ void store_sum(const T* added, const T* y, T* to, Compute<T>* sums) {
    if (added) {
        Compute<T> more[V];
        load<V>(added + (to - y), more);
#pragma unroll
        for (int k = 0; k < V; k++) sums[k] += more[k];
    }
    store<V>(to, sums);
}

// ---------------------------------------------------------------------------------------------------------------------
// A thread computes ROWS x COLUMNS outputs of V channels (V = 1 where the image is planar). It walks down the rows of
// the input that they need, adds each to all outputs that it belongs to, and stores a row of outputs with its last input:
// 16 multiply-adds per output of a 4 x 4 filter, and little else. Warps whose tiles all lie inside check nothing.

template <class T> struct StripArguments {
    const T* x;
    const float* f;
    T* y;
    const T* added;
    index_t x_image, x_channel, x_row, x_column, y_image, y_channel, y_row, y_column;  // strides
    Divider tiles_x, tiles_y, groups;  // groups of V channels
    uint32_t threads;
    int in_h, in_w, out_h, out_w, first_x, first_y;  // first: output of tile 0, 0 or negative, where the filter is in phase
    int in_x, in_y;                                  // input column and row that meet it
    int f_h, f_w;
    bool flip;
    bool store_rows;                                 // rows of a tile may be stored as vectors
    Compute<T> gain;
};

template <class T, int V, bool PLANAR, int UP, int DOWN> struct StripShape {
    static constexpr int COLUMNS = PLANAR ? (sizeof(T) == 8 ? 2 : 4) : UP;
    static constexpr int ROWS = UP == 1 && DOWN == 1 ? 16 : PLANAR || UP == 1 ? 8 : 4;
    static constexpr int IN_COLUMNS = fir_inputs<UP, DOWN, kStripTaps>(COLUMNS);
    static constexpr int IN_ROWS = fir_inputs<UP, DOWN, kStripTaps>(ROWS);
};

// The correlation taps times gain, zero beyond the filter.
template <class T> __device__ __forceinline__ void strip_taps(const StripArguments<T>& p, Compute<T>* w) {
    using A = Compute<T>;
    constexpr int F = kStripTaps;
    if (p.f_h == F && p.f_w == F) {
        if (p.flip) {
#pragma unroll
            for (int k = 0; k < F * F; k++) w[k] = A(p.f[k]) * p.gain;
        } else {
#pragma unroll
            for (int k = 0; k < F * F; k++) w[k] = A(p.f[F * F - 1 - k]) * p.gain;
        }
    } else {
#pragma unroll
        for (int k = 0; k < F * F; k++) {
            const int ky = k / F, kx = k % F, at = ky * p.f_w + kx;
            w[k] = ky < p.f_h && kx < p.f_w ? A(p.f[p.flip ? at : p.f_h * p.f_w - 1 - at]) * p.gain : A(0);
        }
    }
}

// Where a thread works: its first input, its first output, and their columns and rows.
template <class T> struct StripPlace {
    const T* x;
    T* y;
    int ix, iy, ox, oy;
};

// Calls f with 0, 1, ... as compile-time constants.
template <int... I, class F> __device__ __forceinline__ void unrolled(std::integer_sequence<int, I...>, F f) {
    (f(std::integral_constant<int, I>()), ...);
}

template <class T, int V, bool PLANAR, int UP, int DOWN, bool INSIDE>
__device__ __forceinline__ void strip(const StripArguments<T>& p, const StripPlace<T>& t, const Compute<T>* w) {
    using A = Compute<T>;
    using S = StripShape<T, V, PLANAR, UP, DOWN>;
    constexpr int F = kStripTaps;
    A sums[S::ROWS][S::COLUMNS * V] = {};
    const T* row = t.x;
    T* y = t.y;
#pragma unroll
    for (int r = 0; r < S::IN_ROWS; r++, row += p.x_row) {
        const unsigned width = INSIDE || static_cast<unsigned>(t.iy + r) < static_cast<unsigned>(p.in_h) ? p.in_w : 0;
        unrolled(std::make_integer_sequence<int, S::IN_COLUMNS>(), [&](auto column) {
            constexpr int c = decltype(column)::value;
            Vector<T, V> q;
            if constexpr (INSIDE)
                q = load_raw<V>(row + (PLANAR ? c : c * p.x_column));
            else
                q = load_below<V, PLANAR ? c : 0>(row + (PLANAR ? 0 : c * p.x_column), t.ix + c, width);
            A v[V];
            unpack(q, v);
#pragma unroll
            for (int oy = 0; oy < S::ROWS; oy++)
#pragma unroll
                for (int ox = 0; ox < S::COLUMNS; ox++) {
                    const int ky = r * UP - oy * DOWN, kx = c * UP - ox * DOWN;
                    if (ky >= 0 && ky < F && kx >= 0 && kx < F)
#pragma unroll
                        for (int k = 0; k < V; k++) sums[oy][ox * V + k] += v[k] * w[ky * F + kx];
                }
        });
#pragma unroll
        for (int oy = 0; oy < S::ROWS; oy++) {
            if ((oy * DOWN + F - 1) / UP != r) continue;
            if (!INSIDE && t.oy + oy >= p.out_h) return;
            T* const to = y;
            y += p.y_row;
            if (!INSIDE && UP > 1 && t.oy + oy < 0) continue;
            if (PLANAR && p.store_rows) {
                store_sum<S::COLUMNS>(p.added, p.y, to, sums[oy]);
                continue;
            }
#pragma unroll
            for (int ox = 0; ox < S::COLUMNS; ox++)
                if (INSIDE || static_cast<unsigned>(t.ox + ox) < static_cast<unsigned>(p.out_w))
                    store_sum<V>(p.added, p.y, to + (PLANAR ? ox : ox * p.y_column), sums[oy] + ox * V);
        }
    }
}

template <class T, int V, bool PLANAR, int UP, int DOWN>
__global__ void __launch_bounds__(kStripThreads) upfirdn2d_strip_kernel(const StripArguments<T> p) {
    using S = StripShape<T, V, PLANAR, UP, DOWN>;
    unsigned rest = blockIdx.x * kStripThreads + threadIdx.x;
    const bool works = rest < p.threads;
    // Neighbouring lanes are neighbours in memory.
    unsigned group = PLANAR ? 0 : p.groups.split(rest);
    const unsigned tile_x = p.tiles_x.split(rest), tile_y = p.tiles_y.split(rest);
    if (PLANAR) group = p.groups.split(rest);
    StripPlace<T> t;
    t.ox = static_cast<int>(tile_x) * S::COLUMNS + p.first_x;
    t.oy = static_cast<int>(tile_y) * S::ROWS + p.first_y;
    t.ix = static_cast<int>(tile_x) * (S::COLUMNS * DOWN / UP) + p.in_x;
    t.iy = static_cast<int>(tile_y) * (S::ROWS * DOWN / UP) + p.in_y;
    t.x = p.x + rest * p.x_image + group * (V * p.x_channel) + t.iy * p.x_row + t.ix * (PLANAR ? 1 : p.x_column);
    t.y = p.y + rest * p.y_image + group * (V * p.y_channel) + t.oy * p.y_row + t.ox * (PLANAR ? 1 : p.y_column);
    const bool inside = t.ix >= 0 && t.iy >= 0 && t.ix + S::IN_COLUMNS <= p.in_w && t.iy + S::IN_ROWS <= p.in_h && t.ox >= 0 && t.oy >= 0 &&
                        t.ox + S::COLUMNS <= p.out_w && t.oy + S::ROWS <= p.out_h;
    const bool all_inside = __all_sync(0xffffffffu, inside || !works);  // a warp that diverges would do both
    if (!works) return;
    Compute<T> w[kStripTaps * kStripTaps];
    strip_taps(p, w);
    if (all_inside)
        strip<T, V, PLANAR, UP, DOWN, true>(p, t, w);
    else
        strip<T, V, PLANAR, UP, DOWN, false>(p, t, w);
}

template <class T, int V, bool PLANAR, int UP, int DOWN> int launch_strip(const Upfirdn2dParams& p, void* stream) {
    using S = StripShape<T, V, PLANAR, UP, DOWN>;
    StripArguments<T> a{static_cast<const T*>(p.x), p.f, static_cast<T*>(p.y), static_cast<const T*>(p.added),
                        p.x_stride[0], p.x_stride[1], p.x_stride[2], p.x_stride[3], p.y_stride[0], p.y_stride[1], p.y_stride[2], p.y_stride[3]};
    // Move the tiles left and up until their first output meets its input at tap 0.
    const index_t shift_x = ((p.pad_x % UP) + UP) % UP, shift_y = ((p.pad_y % UP) + UP) % UP;
    a.first_x = static_cast<int>(UP == 1 ? 0 : -((UP - shift_x) % UP));
    a.first_y = static_cast<int>(UP == 1 ? 0 : -((UP - shift_y) % UP));
    a.in_x = static_cast<int>(floor_div(a.first_x * DOWN - p.pad_x, UP));
    a.in_y = static_cast<int>(floor_div(a.first_y * DOWN - p.pad_y, UP));
    const index_t tiles_x = ceil_div(p.out_w - a.first_x, S::COLUMNS), tiles_y = ceil_div(p.out_h - a.first_y, S::ROWS);
    a.tiles_x = Divider(tiles_x);
    a.tiles_y = Divider(tiles_y);
    a.groups = Divider(p.c / V);
    a.threads = static_cast<uint32_t>(p.n * (p.c / V) * tiles_x * tiles_y);
    a.in_h = static_cast<int>(p.in_h);
    a.in_w = static_cast<int>(p.in_w);
    a.out_h = static_cast<int>(p.out_h);
    a.out_w = static_cast<int>(p.out_w);
    a.f_h = static_cast<int>(p.f_h);
    a.f_w = static_cast<int>(p.f_w);
    a.flip = p.flip;
    a.gain = static_cast<Compute<T>>(p.gain);
    const size_t bytes = S::COLUMNS * sizeof(T);
    a.store_rows = a.first_x == 0 && p.out_w % S::COLUMNS == 0 && aligned(p.y, bytes) && aligned(p.added, bytes) && p.y_stride[0] % S::COLUMNS == 0 &&
                   p.y_stride[1] % S::COLUMNS == 0 && p.y_stride[2] % S::COLUMNS == 0;
    LAUNCH((upfirdn2d_strip_kernel<T, V, PLANAR, UP, DOWN>), dim3(ceil_div(a.threads, kStripThreads)), dim3(kStripThreads), stream, a);
    return cudaGetLastError();
}

// ---------------------------------------------------------------------------------------------------------------------
// A block computes a tile of one plane: stages its input, filters rows, then columns.

template <class T> struct TileArguments {
    const T* x;
    const float* f;
    T* y;
    const T* added;
    index_t x_image, x_channel, x_row, x_column, y_image, y_channel, y_row, y_column;
    Divider tiles_x, tiles_y, channels;
    int in_h, in_w, out_h, out_w, in_x, in_y, taps, shift_x, shift_y;
    bool flip;
    Compute<T> gain;
};

template <class T, int UP, int DOWN> struct TileShape {
    static constexpr int TAPS = kTileTaps + UP - 1, STRIP = 8, ROWS = 4;  // outputs of a thread along rows, along columns
    static constexpr int WIDTH = DOWN == 2 ? 32 : 64, HEIGHT = DOWN == 2 || sizeof(T) == 8 ? 16 : 32;
    static constexpr int IN_WIDTH = fir_row_inputs<UP, DOWN, TAPS, STRIP>(WIDTH), IN_HEIGHT = fir_inputs<UP, DOWN, TAPS>(HEIGHT);
};

template <class T, int UP, int DOWN>
__global__ void __launch_bounds__(kTileThreads) upfirdn2d_separable_kernel(const TileArguments<T> p) {
    using A = Compute<T>;
    using S = TileShape<T, UP, DOWN>;
    constexpr int TAPS = S::TAPS, WIDTH = S::WIDTH, HEIGHT = S::HEIGHT, IN_WIDTH = S::IN_WIDTH, IN_HEIGHT = S::IN_HEIGHT;
    SHARED_ARRAY(A, staged, [IN_HEIGHT * IN_WIDTH]);
    SHARED_ARRAY(A, rows, [IN_HEIGHT * WIDTH]);
    SHARED_ARRAY(A, taps_x, [TAPS]);
    SHARED_ARRAY(A, taps_y, [TAPS]);
    unsigned rest = blockIdx.x;
    const int tile_x = p.tiles_x.split(rest), tile_y = p.tiles_y.split(rest), channel = p.channels.split(rest);
    const int ox = tile_x * WIDTH, oy = tile_y * HEIGHT;
    const int ix = tile_x * (WIDTH * DOWN / UP) + p.in_x, iy = tile_y * (HEIGHT * DOWN / UP) + p.in_y;
    aligned_taps<TAPS>(taps_x, p.f, p.taps, p.shift_x, p.flip, p.gain, threadIdx.x);
    aligned_taps<TAPS>(taps_y, p.f, p.taps, p.shift_y, p.flip, A(1), threadIdx.x);
    const T* x = p.x + rest * p.x_image + channel * p.x_channel;
    for (int i = threadIdx.x; i < IN_HEIGHT * IN_WIDTH; i += kTileThreads) {
        const int r = i / IN_WIDTH, c = i - r * IN_WIDTH;
        const bool inside = static_cast<unsigned>(iy + r) < static_cast<unsigned>(p.in_h) && static_cast<unsigned>(ix + c) < static_cast<unsigned>(p.in_w);
        staged[i] = inside ? Number<T>::widen(x[(iy + r) * p.x_row + (ix + c) * p.x_column]) : A(0);
    }
    __syncthreads();
    fir_along_rows<UP, DOWN, TAPS, S::STRIP, kTileThreads>(staged, IN_WIDTH, rows, WIDTH, taps_x, IN_HEIGHT, WIDTH / S::STRIP);
    __syncthreads();
    T* const y = p.y + rest * p.y_image + channel * p.y_channel;
    fir_along_columns<UP, DOWN, TAPS, S::ROWS, kTileThreads>(rows, WIDTH, taps_y, HEIGHT / S::ROWS, WIDTH / 4, [&](int r, int c, const auto& sums) {
#pragma unroll
        for (int j = 0; j < S::ROWS; j++)
#pragma unroll
            for (int q = 0; q < 4; q++)
                if (oy + r + j < p.out_h && ox + c + q < p.out_w) {
                    A sum = sums[j][q];
                    store_sum<1>(p.added, p.y, y + (oy + r + j) * p.y_row + (ox + c + q) * p.y_column, &sum);
                }
    });
}

template <class T, int UP, int DOWN> int launch_separable(const Upfirdn2dParams& p, void* stream) {
    constexpr int WIDTH = TileShape<T, UP, DOWN>::WIDTH, HEIGHT = TileShape<T, UP, DOWN>::HEIGHT;
    TileArguments<T> a{static_cast<const T*>(p.x), p.f, static_cast<T*>(p.y), static_cast<const T*>(p.added),
                       p.x_stride[0], p.x_stride[1], p.x_stride[2], p.x_stride[3], p.y_stride[0], p.y_stride[1], p.y_stride[2], p.y_stride[3]};
    const index_t tiles_x = ceil_div(p.out_w, WIDTH), tiles_y = ceil_div(p.out_h, HEIGHT);
    a.tiles_x = Divider(tiles_x);
    a.tiles_y = Divider(tiles_y);
    a.channels = Divider(p.c);
    a.in_h = static_cast<int>(p.in_h);
    a.in_w = static_cast<int>(p.in_w);
    a.out_h = static_cast<int>(p.out_h);
    a.out_w = static_cast<int>(p.out_w);
    a.in_x = static_cast<int>(floor_div(-p.pad_x, UP));
    a.in_y = static_cast<int>(floor_div(-p.pad_y, UP));
    a.shift_x = static_cast<int>(-p.pad_x - index_t(a.in_x) * UP);
    a.shift_y = static_cast<int>(-p.pad_y - index_t(a.in_y) * UP);
    a.taps = static_cast<int>(p.f_w);
    a.flip = p.flip;
    a.gain = static_cast<Compute<T>>(p.gain);
    LAUNCH((upfirdn2d_separable_kernel<T, UP, DOWN>), dim3(p.n * p.c * tiles_x * tiles_y), dim3(kTileThreads), stream, a);
    return cudaGetLastError();
}

// ---------------------------------------------------------------------------------------------------------------------

template <class T> __global__ void __launch_bounds__(kTileThreads) upfirdn2d_generic_kernel(const Upfirdn2dParams p) {
    using A = Compute<T>;
    const index_t total = p.n * p.c * p.out_h * p.out_w;
    const bool planar = p.y_stride[3] == 1;
    for (index_t i = index_t(blockIdx.x) * kTileThreads + threadIdx.x; i < total; i += index_t(gridDim.x) * kTileThreads) {
        index_t rest = i, channel = 0;
        if (!planar) channel = rest % p.c, rest /= p.c;
        const index_t ox = rest % p.out_w;
        rest /= p.out_w;
        const index_t oy = rest % p.out_h;
        rest /= p.out_h;
        if (planar) channel = rest % p.c, rest /= p.c;
        const T* x = static_cast<const T*>(p.x) + rest * p.x_stride[0] + channel * p.x_stride[1];
        // First tap that meets a pixel and no inserted zero, and that pixel.
        const index_t vy = oy * p.down_y - p.pad_y, vx = ox * p.down_x - p.pad_x;
        const index_t iy0 = -floor_div(-vy, p.up_y), ix0 = -floor_div(-vx, p.up_x);
        A sum = 0;
        for (index_t ky = iy0 * p.up_y - vy, iy = iy0; ky < p.f_h; ky += p.up_y, iy++) {
            if (iy < 0 || iy >= p.in_h) continue;
            A row = 0;
            for (index_t kx = ix0 * p.up_x - vx, ix = ix0; kx < p.f_w; kx += p.up_x, ix++) {
                if (ix < 0 || ix >= p.in_w) continue;
                const index_t tap_x = p.flip ? kx : p.f_w - 1 - kx, tap_y = p.flip ? ky : p.f_h - 1 - ky;
                row += Number<T>::widen(x[iy * p.x_stride[2] + ix * p.x_stride[3]]) * A(p.separable ? p.f[tap_x] : p.f[tap_y * p.f_w + tap_x]);
            }
            sum += p.separable ? row * A(p.f[p.flip ? ky : p.f_h - 1 - ky]) : row;
        }
        T* const y = static_cast<T*>(p.y);
        sum *= A(p.gain);
        store_sum<1>(static_cast<const T*>(p.added), y, y + rest * p.y_stride[0] + channel * p.y_stride[1] + oy * p.y_stride[2] + ox * p.y_stride[3], &sum);
    }
}

template <class T> int launch_generic(const Upfirdn2dParams& p, void* stream) {
    const index_t blocks = ceil_div(p.n * p.c * p.out_h * p.out_w, kTileThreads);
    LAUNCH((upfirdn2d_generic_kernel<T>), dim3(blocks < (1 << 20) ? blocks : 1 << 20), dim3(kTileThreads), stream, p);
    return cudaGetLastError();
}

// The strip or separable kernel for these factors, if there is one.
template <class T, int UP, int DOWN> int launch_factors(const Upfirdn2dParams& p, bool strip, void* stream) {
    constexpr int V = kVector<T>;
    if (!strip) return launch_separable<T, UP, DOWN>(p, stream);
    if (p.x_stride[3] == 1 && p.y_stride[3] == 1) return launch_strip<T, 1, true, UP, DOWN>(p, stream);
    bool vectors = p.c % V == 0 && p.x_stride[1] == 1 && p.y_stride[1] == 1 && aligned(p.x, 16) && aligned(p.y, 16) && aligned(p.added, 16);
    for (int d : {0, 2, 3}) vectors = vectors && p.x_stride[d] % V == 0 && p.y_stride[d] % V == 0;
    return vectors ? launch_strip<T, V, false, UP, DOWN>(p, stream) : launch_generic<T>(p, stream);
}

int upfirdn2d_cuda(const Upfirdn2dParams& p, void* stream) {
    const index_t outputs = p.n * p.c * p.out_h * p.out_w, inputs = p.n * p.c * p.in_h * p.in_w;
    if (outputs == 0) return cudaSuccess;
    const index_t taps = p.f_h > p.f_w ? p.f_h : p.f_w, up = p.up_x, down = p.down_x;
    const bool square = p.up_x == p.up_y && p.down_x == p.down_y;
    const bool strip = taps <= kStripTaps && !p.separable, tiled = taps <= kTileTaps && p.separable;
    // The fast kernels count in 32 bits, with room for padding.
    index_t largest = outputs > inputs ? outputs : inputs;
    for (index_t pad : {p.pad_x, p.pad_y}) largest = largest > pad ? (largest > -pad ? largest : -pad) : pad;
    const bool fast = square && (strip || tiled) && largest < kIndexLimit / 4;
    return dispatch(p.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        if (fast && up == 1 && down == 1) return launch_factors<T, 1, 1>(p, strip, stream);
        if (fast && up == 2 && down == 1) return launch_factors<T, 2, 1>(p, strip, stream);
        if (fast && up == 1 && down == 2) return launch_factors<T, 1, 2>(p, strip, stream);
        return launch_generic<T>(p, stream);
    });
}

}  // namespace stylegan
