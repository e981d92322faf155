// filtered_lrelu in one kernel: the grid between the filters lives in shared memory, a tile at a time, and leaves behind
// two bits per pixel. Given these, the same kernel computes the gradient (modes write and read of filtered_lrelu.h).
//
//   separable  the filters of StyleGAN3 (12 taps per factor of 2) with factors 2-2, 4-2 and 2-4; every stage in registers
//   generic    all others, also two-dimensional filters
//
// A block owns the pixels of the grid that its outputs begin at, and writes their codes; the last blocks own the rest.
#include "cuda_ops.h"
#include "device.cuh"
#include "fir_tile.cuh"

namespace stylegan {

constexpr int kLreluThreads = 256;

template <class T> struct LreluArguments {
    const T *x, *b;
    const float *fu, *fd;
    uint8_t* codes;
    T* y;
    index_t x_image, x_channel, x_row, x_column, y_image, y_channel, y_row, y_column;  // strides
    index_t codes_image, codes_channel, codes_row, codes_column;
    Divider tiles_x, tiles_y, channels;
    CodeMode mode;
    int in_h, in_w, grid_h, grid_w, out_h, out_w, codes_h, codes_bytes_w, code_x, code_y;
    int in_x, in_y, shift_x, shift_y;              // separable: input that meets the first pixel, and by how much the taps move
    int tile_w, tile_h, fu_h, fu_w, fd_h, fd_w, up, down, pad_x, pad_y;  // generic
    bool fu_separable, fd_separable;
    bool flip;
    Compute<T> gain, slope, clamp;
};

// Where a block works.
struct LreluTile {
    int image, channel, x, y;  // outputs begin at (x, y)
    bool last_x, last_y;
};

template <class T> __device__ __forceinline__ LreluTile lrelu_tile(const LreluArguments<T>& p, int width, int height) {
    unsigned rest = blockIdx.x;
    const int tile_x = p.tiles_x.split(rest), tile_y = p.tiles_y.split(rest), channel = p.channels.split(rest);
    return {static_cast<int>(rest), channel, tile_x * width, tile_y * height, tile_x + 1 == static_cast<int>(p.tiles_x.divisor),
            tile_y + 1 == static_cast<int>(p.tiles_y.divisor)};
}

// x + b inside of the image, 0 outside.
template <class T> struct LreluInput {
    const T* x;
    Compute<T> b;
    __device__ __forceinline__ LreluInput(const LreluArguments<T>& p, const LreluTile& t)
        : x(p.x + t.image * p.x_image + t.channel * p.x_channel), b(p.b ? Number<T>::widen(p.b[t.channel]) : Compute<T>(0)) {}
    __device__ __forceinline__ Compute<T> operator()(const LreluArguments<T>& p, int row, int column) const {
        const bool inside = static_cast<unsigned>(row) < static_cast<unsigned>(p.in_h) && static_cast<unsigned>(column) < static_cast<unsigned>(p.in_w);
        return inside ? Number<T>::widen(x[row * p.x_row + column * p.x_column]) + b : Compute<T>(0);
    }
};

// Codes of the four pixels from `column` on, a multiple of 4, in mode read. Outside everything is stopped.
template <class T> __device__ __forceinline__ unsigned read_codes(const LreluArguments<T>& p, const uint8_t* plane, int row, int column) {
    constexpr unsigned STOPPED = code_stopped * 0x55;
    row += p.code_y;
    column += p.code_x;
    if (static_cast<unsigned>(row) >= static_cast<unsigned>(p.codes_h)) return STOPPED;
    const int first = column >> 2;  // rounds down
    unsigned bits = STOPPED | STOPPED << 8;
    const uint8_t* bytes = plane + row * p.codes_row;
    if (static_cast<unsigned>(first) < static_cast<unsigned>(p.codes_bytes_w)) bits = (bits & 0xff00) | bytes[first * p.codes_column];
    if ((column & 3) && static_cast<unsigned>(first + 1) < static_cast<unsigned>(p.codes_bytes_w))
        bits = (bits & 0xff) | static_cast<unsigned>(bytes[(first + 1) * p.codes_column]) << 8;
    return bits >> (column & 3) * 2;
}

// Activate four pixels of the grid at (row, column) and write or read their codes.
template <class T>
__device__ __forceinline__ void activate(const LreluArguments<T>& p, uint8_t* plane, bool owned, int row, int column, Compute<T>* u) {
    using A = Compute<T>;
    if (p.mode == CodeMode::read) {
        const unsigned bits = read_codes(p, plane, row, column);
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const unsigned code = bits >> 2 * q & 3;
            u[q] = code == code_positive ? u[q] : code == code_negative ? u[q] * p.slope : A(0);
        }
        return;
    }
    unsigned bits = 0;
#pragma unroll
    for (int q = 0; q < 4; q++) {
        const bool negative = u[q] < 0;
        const A v = negative ? u[q] * p.slope : u[q];
        const bool stopped = fabs(v) >= p.clamp || column + q >= p.grid_w;
        bits |= (stopped ? unsigned(code_stopped) : negative ? unsigned(code_negative) : unsigned(code_positive)) << 2 * q;
        u[q] = clamped(v, p.clamp);
    }
    if (p.mode == CodeMode::write && owned && row < p.grid_h && column < p.grid_w)
        plane[row * p.codes_row + (column >> 2) * p.codes_column] = static_cast<uint8_t>(bits);
}

// ---------------------------------------------------------------------------------------------------------------------

template <class T, int UP, int DOWN> struct LreluShape {
    using A = Compute<T>;
    static constexpr int FU = 6 * UP, FD = 6 * DOWN, TAPS = FU + UP - 1;
    static constexpr int WIDTH = DOWN == 4 ? 16 : 32, HEIGHT = DOWN == 4 ? (sizeof(A) == 8 ? 4 : 8) : 16;
    static constexpr int STRIP_UP = 8, STRIP_DOWN = 4, ROWS_UP = 4, ROWS_DOWN = 2;  // outputs of a thread in each stage
    static constexpr int GRID_W = round_up(WIDTH * DOWN + FD - 1, STRIP_UP), GRID_H = round_up(HEIGHT * DOWN + FD - 1, ROWS_UP);
    static constexpr int IN_W = fir_row_inputs<UP, 1, TAPS, STRIP_UP>(GRID_W);
    static constexpr int IN_H = (GRID_H / ROWS_UP - 1) * ROWS_UP / UP + fir_inputs<UP, 1, TAPS>(ROWS_UP);
    static_assert(fir_row_inputs<1, DOWN, FD, STRIP_DOWN>(WIDTH) <= GRID_W && WIDTH * DOWN % 4 == 0);
    // Stages alternate between two buffers.
    static constexpr int FIRST = IN_H * IN_W > GRID_H * GRID_W ? IN_H * IN_W : GRID_H * GRID_W;
    static constexpr int SECOND = IN_H * GRID_W > GRID_H * WIDTH ? IN_H * GRID_W : GRID_H * WIDTH;
};

template <class T, int UP, int DOWN>
__global__ void __launch_bounds__(kLreluThreads) filtered_lrelu_separable_kernel(const LreluArguments<T> p) {
    using A = Compute<T>;
    using S = LreluShape<T, UP, DOWN>;
    SHARED_ARRAY(A, first, [S::FIRST]);
    SHARED_ARRAY(A, second, [S::SECOND]);
    SHARED_ARRAY(A, up_x, [S::TAPS]);
    SHARED_ARRAY(A, up_y, [S::TAPS]);
    SHARED_ARRAY(A, down_taps, [S::FD]);
    const LreluTile t = lrelu_tile(p, S::WIDTH, S::HEIGHT);
    const int grid_x = t.x * DOWN, grid_y = t.y * DOWN;
    const int in_x = grid_x / UP + p.in_x, in_y = grid_y / UP + p.in_y;
    aligned_taps<S::TAPS>(up_x, p.fu, S::FU, p.shift_x, p.flip, p.gain, threadIdx.x);
    aligned_taps<S::TAPS>(up_y, p.fu, S::FU, p.shift_y, p.flip, A(1), threadIdx.x);
    aligned_taps<S::FD>(down_taps, p.fd, S::FD, 0, p.flip, A(1), threadIdx.x);
    const LreluInput<T> input(p, t);
    for (int i = threadIdx.x; i < S::IN_H * S::IN_W; i += kLreluThreads) first[i] = input(p, in_y + i / S::IN_W, in_x + i % S::IN_W);
    __syncthreads();
    fir_along_rows<UP, 1, S::TAPS, S::STRIP_UP, kLreluThreads>(first, S::IN_W, second, S::GRID_W, up_x, S::IN_H, S::GRID_W / S::STRIP_UP);
    __syncthreads();
    uint8_t* codes = p.codes + t.image * p.codes_image + t.channel * p.codes_channel;
    fir_along_columns<UP, 1, S::TAPS, S::ROWS_UP, kLreluThreads>(
        second, S::GRID_W, up_y, S::GRID_H / S::ROWS_UP, S::GRID_W / 4, [&](int row, int column, auto& u) {
#pragma unroll
            for (int j = 0; j < S::ROWS_UP; j++) {
                const bool owned = (t.last_x || column < S::WIDTH * DOWN) && (t.last_y || row + j < S::HEIGHT * DOWN);
                activate(p, codes, owned, grid_y + row + j, grid_x + column, u[j]);
                store<4>(first + (row + j) * S::GRID_W + column, u[j]);
            }
        });
    __syncthreads();
    fir_along_rows<1, DOWN, S::FD, S::STRIP_DOWN, kLreluThreads>(first, S::GRID_W, second, S::WIDTH, down_taps, S::GRID_H, S::WIDTH / S::STRIP_DOWN);
    __syncthreads();
    T* y = p.y + t.image * p.y_image + t.channel * p.y_channel;
    fir_along_columns<1, DOWN, S::FD, S::ROWS_DOWN, kLreluThreads>(
        second, S::WIDTH, down_taps, S::HEIGHT / S::ROWS_DOWN, S::WIDTH / 4, [&](int row, int column, auto& sums) {
#pragma unroll
            for (int j = 0; j < S::ROWS_DOWN; j++)
#pragma unroll
                for (int q = 0; q < 4; q++)
                    if (t.y + row + j < p.out_h && t.x + column + q < p.out_w)
                        y[(t.y + row + j) * p.y_row + (t.x + column + q) * p.y_column] = Number<T>::narrow(sums[j][q]);
        });
}

// ---------------------------------------------------------------------------------------------------------------------

constexpr int kPoolBytes = 40 << 10;  // the input's and the grid's tile together

// Correlation tap (ky, kx) of a filter [h, w], or [w] for both axes.
template <class A> __device__ __forceinline__ A tap(const float* f, int h, int w, bool separable, bool flip, int ky, int kx) {
    if (!flip) ky = h - 1 - ky, kx = w - 1 - kx;
    return separable ? A(f[ky]) * A(f[kx]) : A(f[ky * w + kx]);
}

__host__ __device__ inline int grid_extent(int tile, int down, int taps) { return tile * down + taps - 1; }
__host__ __device__ inline int input_extent(int grid, int up, int taps) { return (grid + taps - 2) / up + 2; }

template <class T> __global__ void __launch_bounds__(kLreluThreads) filtered_lrelu_generic_kernel(const LreluArguments<T> p) {
    using A = Compute<T>;
    SHARED_ARRAY(A, pool, [kPoolBytes / sizeof(A)]);
    const LreluTile t = lrelu_tile(p, p.tile_w, p.tile_h);
    const int grid_x = t.x * p.down, grid_y = t.y * p.down;
    const int grid_w = round_up(grid_extent(p.tile_w, p.down, p.fd_w), 4), grid_h = grid_extent(p.tile_h, p.down, p.fd_h);
    const int in_w = input_extent(grid_w, p.up, p.fu_w), in_h = input_extent(grid_h, p.up, p.fu_h);
    const int in_x = static_cast<int>(floor_div(grid_x - p.pad_x, p.up)), in_y = static_cast<int>(floor_div(grid_y - p.pad_y, p.up));
    A* staged = pool;
    A* grid = pool + in_h * in_w;
    const LreluInput<T> input(p, t);
    for (int i = threadIdx.x; i < in_h * in_w; i += kLreluThreads) staged[i] = input(p, in_y + i / in_w, in_x + i % in_w);
    __syncthreads();
    uint8_t* codes = p.codes + t.image * p.codes_image + t.channel * p.codes_channel;
    for (int i = threadIdx.x; i < grid_h * (grid_w / 4); i += kLreluThreads) {
        const int row = i / (grid_w / 4), column = i % (grid_w / 4) * 4;
        const int vy = grid_y + row - p.pad_y - in_y * p.up;  // from the first staged row, with inserted zeros
        A u[4];
#pragma unroll
        for (int q = 0; q < 4; q++) {
            const int vx = grid_x + column + q - p.pad_x - in_x * p.up;
            u[q] = 0;
            for (int iy = (vy + p.up - 1) / p.up, ky = iy * p.up - vy; ky < p.fu_h; iy++, ky += p.up)
                for (int ix = (vx + p.up - 1) / p.up, kx = ix * p.up - vx; kx < p.fu_w; ix++, kx += p.up)
                    u[q] += staged[iy * in_w + ix] * tap<A>(p.fu, p.fu_h, p.fu_w, p.fu_separable, p.flip, ky, kx);
            u[q] *= p.gain;
        }
        const bool owned = (t.last_x || column < p.tile_w * p.down) && (t.last_y || row < p.tile_h * p.down);
        activate(p, codes, owned, grid_y + row, grid_x + column, u);
#pragma unroll
        for (int q = 0; q < 4; q++) grid[row * grid_w + column + q] = u[q];
    }
    __syncthreads();
    T* y = p.y + t.image * p.y_image + t.channel * p.y_channel;
    for (int i = threadIdx.x; i < p.tile_h * p.tile_w; i += kLreluThreads) {
        const int row = i / p.tile_w, column = i % p.tile_w;
        if (t.y + row >= p.out_h || t.x + column >= p.out_w) continue;
        A sum = 0;
        for (int ky = 0; ky < p.fd_h; ky++)
            for (int kx = 0; kx < p.fd_w; kx++)
                sum += grid[(row * p.down + ky) * grid_w + column * p.down + kx] * tap<A>(p.fd, p.fd_h, p.fd_w, p.fd_separable, p.flip, ky, kx);
        y[(t.y + row) * p.y_row + (t.x + column) * p.y_column] = Number<T>::narrow(sum);
    }
}

// ---------------------------------------------------------------------------------------------------------------------

template <class T> LreluArguments<T> lrelu_arguments(const FilteredLreluParams& p) {
    const auto small = [](index_t v) { return static_cast<int>(v); };
    LreluArguments<T> a{static_cast<const T*>(p.x), static_cast<const T*>(p.b), p.fu, p.fd, p.codes, static_cast<T*>(p.y),
                        p.x_stride[0], p.x_stride[1], p.x_stride[2], p.x_stride[3], p.y_stride[0], p.y_stride[1], p.y_stride[2], p.y_stride[3],
                        p.codes_stride[0], p.codes_stride[1], p.codes_stride[2], p.codes_stride[3]};
    a.channels = Divider(p.c);
    a.mode = p.mode;
    a.in_h = small(p.in_h), a.in_w = small(p.in_w);
    a.grid_h = small(p.up_h), a.grid_w = small(p.up_w);
    a.out_h = small(p.out_h), a.out_w = small(p.out_w);
    a.codes_h = small(p.codes_h), a.codes_bytes_w = small(p.codes_bytes_w);
    a.code_x = small(p.code_x), a.code_y = small(p.code_y);
    a.fu_h = small(p.fu_separable ? p.fu_w : p.fu_h), a.fu_w = small(p.fu_w);
    a.fd_h = small(p.fd_separable ? p.fd_w : p.fd_h), a.fd_w = small(p.fd_w);
    a.up = small(p.up), a.down = small(p.down), a.pad_x = small(p.pad_x), a.pad_y = small(p.pad_y);
    a.fu_separable = p.fu_separable, a.fd_separable = p.fd_separable;
    a.flip = p.flip;
    a.gain = static_cast<Compute<T>>(p.gain);
    a.slope = static_cast<Compute<T>>(p.slope);
    a.clamp = static_cast<Compute<T>>(p.clamp);
    return a;
}

// Blocks for tiles of this size, -1 if they are more than a grid has.
template <class T> index_t lrelu_blocks(LreluArguments<T>& a, const FilteredLreluParams& p, index_t width, index_t height) {
    const index_t tiles_x = ceil_div(p.out_w, width), tiles_y = ceil_div(p.out_h, height);
    a.tiles_x = Divider(tiles_x);
    a.tiles_y = Divider(tiles_y);
    const index_t blocks = tiles_x * tiles_y * p.n * p.c;
    return blocks < kIndexLimit ? blocks : -1;
}

template <class T, int UP, int DOWN> int launch_lrelu_separable(const FilteredLreluParams& p, void* stream) {
    using S = LreluShape<T, UP, DOWN>;
    LreluArguments<T> a = lrelu_arguments<T>(p);
    a.in_x = static_cast<int>(floor_div(-p.pad_x, UP));
    a.in_y = static_cast<int>(floor_div(-p.pad_y, UP));
    a.shift_x = -a.pad_x - a.in_x * UP;
    a.shift_y = -a.pad_y - a.in_y * UP;
    const index_t blocks = lrelu_blocks(a, p, S::WIDTH, S::HEIGHT);
    if (blocks < 0) return cudaErrorInvalidValue;
    LAUNCH((filtered_lrelu_separable_kernel<T, UP, DOWN>), dim3(blocks), dim3(kLreluThreads), stream, a);
    return cudaGetLastError();
}

template <class T> int launch_lrelu_generic(const FilteredLreluParams& p, void* stream) {
    LreluArguments<T> a = lrelu_arguments<T>(p);
    const auto elements = [&](int width, int height) {
        const index_t grid_w = round_up(grid_extent(width, a.down, a.fd_w), 4), grid_h = grid_extent(height, a.down, a.fd_h);
        const index_t in_w = input_extent(static_cast<int>(grid_w), a.up, a.fu_w), in_h = input_extent(static_cast<int>(grid_h), a.up, a.fu_h);
        return in_h * in_w + grid_h * grid_w;
    };
    for (a.tile_w = 32, a.tile_h = 32; elements(a.tile_w, a.tile_h) > index_t(kPoolBytes / sizeof(Compute<T>));) {
        if (a.tile_w == 4 && a.tile_h == 1) return cudaErrorInvalidValue;  // filters of some 70 taps and more
        (a.tile_h > 1 && (a.tile_h >= a.tile_w || a.tile_w == 4) ? a.tile_h : a.tile_w) /= 2;
    }
    const index_t blocks = lrelu_blocks(a, p, a.tile_w, a.tile_h);
    if (blocks < 0) return cudaErrorInvalidValue;
    LAUNCH((filtered_lrelu_generic_kernel<T>), dim3(blocks), dim3(kLreluThreads), stream, a);
    return cudaGetLastError();
}

int filtered_lrelu_cuda(const FilteredLreluParams& p, void* stream) {
    if (p.n * p.c * p.out_h * p.out_w == 0) return cudaSuccess;
    for (index_t size : {p.in_h, p.in_w, p.up_h, p.up_w, p.fu_w * p.fu_h, p.fd_w * p.fd_h, p.up, p.down})
        if (size >= kIndexLimit / 8) return cudaErrorInvalidValue;
    const bool separable = p.fu_separable && p.fd_separable && p.fu_w == 6 * p.up && p.fd_w == 6 * p.down;
    return dispatch(p.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        if (separable && p.up == 2 && p.down == 2) return launch_lrelu_separable<T, 2, 2>(p, stream);
        if (separable && p.up == 4 && p.down == 2) return launch_lrelu_separable<T, 4, 2>(p, stream);
        if (separable && p.up == 2 && p.down == 4) return launch_lrelu_separable<T, 2, 4>(p, stream);
        return launch_lrelu_generic<T>(p, stream);
    });
}

}  // namespace stylegan
