// The kernels of winograd.h, written once in the compiler's vector extensions and compiled for each instruction set.
// No header of the standard library is used here: its inline functions, compiled for one processor, could end up in use on another.
#include "winograd.h"

namespace stylegan {
namespace STYLEGAN_ISA {
namespace {

// Floats of a vector, vectors of a full panel (1, 2 or 4), and vectors of sums (a multiple of 4) that registers can hold
// besides a panel's row and a factor.
#if defined(__AVX512F__)
constexpr int64_t kLanes = 16, kPanel = 4;
constexpr int kSums = 24;
#elif defined(__AVX2__)
constexpr int64_t kLanes = 8, kPanel = 2;
constexpr int kSums = 12;
#else
constexpr int64_t kLanes = 4, kPanel = 2;
constexpr int kSums = 8;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef float Unaligned __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

STYLEGAN_INLINE Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
STYLEGAN_INLINE void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }

// c[Rows x Columns * lanes] (+)= a[Rows x depth] b[depth x Columns * lanes], sums in registers, in the order of depth.
template <int Rows, int Columns>
STYLEGAN_INLINE void multiply_tile(const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step, int64_t depth,
                          float* c, int64_t c_row, bool add) {
    Vector sum[Rows][Columns];
#pragma GCC unroll 24
    for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < Columns; j++) sum[i][j] = add ? load(c + i * c_row + j * kLanes) : Vector{};
    for (int64_t k = 0; k < depth; k++, a += a_step, b += b_step) {
        Vector right[Columns];
#pragma GCC unroll 4
        for (int j = 0; j < Columns; j++) right[j] = load(b + j * kLanes);
#pragma GCC unroll 24
        for (int i = 0; i < Rows; i++) {
            const float left = a[i * a_row];
#pragma GCC unroll 4
            for (int j = 0; j < Columns; j++) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 24
    for (int i = 0; i < Rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < Columns; j++) store(c + i * c_row + j * kLanes, sum[i][j]);
}

// The same for any number of rows: full register tiles, then one for what is left.
template <int Rows, int Columns>
void multiply(int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
                    int64_t depth, float* c, int64_t c_row, bool add) {
    for (; rows >= Rows; rows -= Rows, a += Rows * a_row, c += Rows * c_row)
        multiply_tile<Rows, Columns>(a, a_row, a_step, b, b_step, depth, c, c_row, add);
    if constexpr (Rows > 1)
        if (rows > 0) multiply<Rows / 2, Columns>(rows, a, a_row, a_step, b, b_step, depth, c, c_row, add);
}

// Panels are as wide as the channels allow: narrow ones have more rows, to keep as many sums in flight.
int64_t panel(int64_t channels) {
    int64_t columns = kPanel;
    while (channels % (columns * kLanes)) columns /= 2;
    return columns * kLanes;
}

void multiply_panel(int64_t width, int64_t rows, const float* a, int64_t a_row, int64_t a_step, const float* b,
                          int64_t b_step, int64_t depth, float* c, int64_t c_row, bool add) {
    switch (width / kLanes) {
        case 1: return multiply<kSums, 1>(rows, a, a_row, a_step, b, b_step, depth, c, c_row, add);
        case 2: return multiply<kSums / 2, 2>(rows, a, a_row, a_step, b, b_step, depth, c, c_row, add);
        default: return multiply<kSums / 4, 4>(rows, a, a_row, a_step, b, b_step, depth, c, c_row, add);
    }
}

// The first pixel of a tile.
struct Corner {
    int64_t image, y, x;
};

template <int M>
STYLEGAN_INLINE Corner corner(int64_t tile, const WinogradShape& shape) {
    const int64_t columns = shape.tile_columns(M), per_image = shape.tile_rows(M) * columns, rest = tile % per_image;
    return {tile / per_image, rest / columns * M, rest % columns * M};
}

// How many of a tile's M rows or columns, from `first` on, lie in the image.
template <int M>
STYLEGAN_INLINE int inside(int64_t first, int64_t size) { return first + M <= size ? M : static_cast<int>(size - first); }

// One-dimensional transforms: values at the points 0, 1, -1 and infinity for M = 2 (Lavin and Gray 2015, section 4.1), at
// 0, +-a, +-b and infinity for M = 4. Their a, b = 1, 2 lose twice the precision that these do, which were found by trial of
// numbers of few bits; A and B are their squares, kA and kB the denominators of Lagrange's polynomials.
constexpr float a = 0.625f, b = 1.5f, A = a * a, B = b * b;
constexpr float kA = 1 / (2 * A * (A - B)), kB = 1 / (2 * B * (B - A)), kZero = 1 / (A * B);


// B^T d: M + 2 inputs at the M + 2 points.
template <int M>
STYLEGAN_INLINE void input_axis(const Vector* d, int64_t from, Vector* out, int64_t step) {
    const Vector d0 = d[0], d1 = d[from], d2 = d[2 * from], d3 = d[3 * from];
    if constexpr (M == 2) {
        out[0] = d0 - d2;
        out[step] = d1 + d2;
        out[2 * step] = d2 - d1;
        out[3 * step] = d1 - d3;
    } else {
        const Vector d4 = d[4 * from], d5 = d[5 * from];
        const Vector even = d4 - B * d2, odd = a * d3 - (a * B) * d1, even2 = d4 - A * d2, odd2 = b * d3 - (b * A) * d1;
        out[0] = (A * B) * d0 - (A + B) * d2 + d4;
        out[step] = even + odd;
        out[2 * step] = even - odd;
        out[3 * step] = even2 + odd2;
        out[4 * step] = even2 - odd2;
        out[5 * step] = (A * B) * d1 - (A + B) * d3 + d5;
    }
}

// A^T m: M outputs from M + 2 products.
template <int M>
STYLEGAN_INLINE void output_axis(const Vector* m, int64_t from, Vector* out, int64_t step) {
    const Vector sum = m[from] + m[2 * from], difference = m[from] - m[2 * from];
    if constexpr (M == 2) {
        out[0] = m[0] + sum;
        out[step] = difference - m[3 * from];
    } else {
        const Vector sum2 = m[3 * from] + m[4 * from], difference2 = m[3 * from] - m[4 * from];
        out[0] = m[0] + sum + sum2;
        out[step] = a * difference + b * difference2;
        out[2 * step] = A * sum + B * sum2;
        out[3 * step] = (a * A) * difference + (b * B) * difference2 + m[5 * from];
    }
}

// A g: an output tile's gradient at the M + 2 points.
template <int M>
STYLEGAN_INLINE void gradient_axis(const Vector* g, int64_t from, Vector* out, int64_t step) {
    const Vector g0 = g[0], g1 = g[from];
    if constexpr (M == 2) {
        out[0] = g0;
        out[step] = g0 + g1;
        out[2 * step] = g0 - g1;
        out[3 * step] = -g1;
    } else {
        const Vector g2 = g[2 * from], g3 = g[3 * from];
        const Vector even = g0 + A * g2, odd = a * g1 + (a * A) * g3, even2 = g0 + B * g2, odd2 = b * g1 + (b * B) * g3;
        out[0] = g0;
        out[step] = even + odd;
        out[2 * step] = even - odd;
        out[3 * step] = even2 + odd2;
        out[4 * step] = even2 - odd2;
        out[5 * step] = g3;
    }
}

// G g: three taps at the M + 2 points.
template <int M>
STYLEGAN_INLINE void filter_axis(const Vector* g, int64_t from, Vector* out, int64_t step) {
    const Vector g0 = g[0], g1 = g[from], g2 = g[2 * from];
    if constexpr (M == 2) {
        const Vector even = (g0 + g2) * 0.5f, odd = g1 * 0.5f;
        out[0] = g0;
        out[step] = even + odd;
        out[2 * step] = even - odd;
        out[3 * step] = g2;
    } else {
        const Vector even = kA * g0 + (kA * A) * g2, odd = (kA * a) * g1;
        const Vector even2 = kB * g0 + (kB * B) * g2, odd2 = (kB * b) * g1;
        out[0] = kZero * g0;
        out[step] = even + odd;
        out[2 * step] = even - odd;
        out[3 * step] = even2 + odd2;
        out[4 * step] = even2 - odd2;
        out[5 * step] = g2;
    }
}

// G^T u: three taps' gradients from those at the M + 2 points.
template <int M>
STYLEGAN_INLINE void weight_axis(const Vector* u, int64_t from, Vector* out, int64_t step) {
    const Vector sum = u[from] + u[2 * from], difference = u[from] - u[2 * from];
    if constexpr (M == 2) {
        out[0] = u[0] + sum * 0.5f;
        out[step] = difference * 0.5f;
        out[2 * step] = sum * 0.5f + u[3 * from];
    } else {
        const Vector sum2 = u[3 * from] + u[4 * from], difference2 = u[3 * from] - u[4 * from];
        out[0] = kZero * u[0] + kA * sum + kB * sum2;
        out[step] = (kA * a) * difference + (kB * b) * difference2;
        out[2 * step] = (kA * A) * sum + (kB * B) * sum2 + u[5 * from];
    }
}

// Transformed tiles v [points][most][channels] = B^T d B of x with a border of zeros.
template <int M>
void transform_input(const float* x, float* v, Range tiles, int64_t most, const WinogradShape& shape) {
    constexpr int N = M + 2;
    const int64_t channels = shape.in, plane = padded(most * channels);
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const Corner at = corner<M>(tile, shape);
        const float* pixel[N * N];
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = 0; j < N; j++) {
                const int64_t row = at.y + i - 1, column = at.x + j - 1;
                const bool inside = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
                pixel[N * i + j] =
                    inside ? x + ((at.image * shape.height + row) * shape.width + column) * channels : nullptr;
            }
        const bool border = at.y == 0 || at.x == 0 || at.y + M >= shape.height || at.x + M >= shape.width;
        float* out = v + (tile - tiles.begin) * channels;
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vector half[N * N];
#pragma GCC unroll 6
            for (int j = 0; j < N; j++) {
                Vector d[N];
#pragma GCC unroll 6
                for (int i = 0; i < N; i++)
                    d[i] = !border || pixel[N * i + j] ? load(pixel[N * i + j] + c) : Vector{};
                input_axis<M>(d, 1, half + j, N);
            }
#pragma GCC unroll 6
            for (int i = 0; i < N; i++) {
                Vector full[N];
                input_axis<M>(half + N * i, 1, full, 1);
#pragma GCC unroll 6
                for (int j = 0; j < N; j++) store(out + (N * i + j) * plane + c, full[j]);
            }
        }
    }
}

// y = A^T m A for products m [points][most][out].
template <int M>
void transform_output(const float* m, float* y, Range tiles, int64_t most, const WinogradShape& shape) {
    constexpr int N = M + 2;
    const int64_t channels = shape.out, plane = padded(most * channels);
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const Corner at = corner<M>(tile, shape);
        float* out = y + ((at.image * shape.height + at.y) * shape.width + at.x) * channels;
        const float* in = m + (tile - tiles.begin) * channels;
        const int rows = inside<M>(at.y, shape.height), columns = inside<M>(at.x, shape.width);
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vector half[M * N];
#pragma GCC unroll 6
            for (int j = 0; j < N; j++) {
                Vector p[N];
#pragma GCC unroll 6
                for (int i = 0; i < N; i++) p[i] = load(in + (N * i + j) * plane + c);
                output_axis<M>(p, 1, half + j, N);
            }
#pragma GCC unroll 4
            for (int i = 0; i < M; i++) {
                Vector full[M];
                output_axis<M>(half + N * i, 1, full, 1);
                if (i < rows)
#pragma GCC unroll 4
                    for (int j = 0; j < M; j++)
                        if (j < columns) store(out + (i * shape.width + j) * channels + c, full[j]);
            }
        }
    }
}

// m [points][most][a range of out] = A g A^T.
template <int M>
void transform_gradient(const float* dy, float* m, Range tiles, Range out, int64_t most, const WinogradShape& shape) {
    constexpr int N = M + 2;
    const int64_t channels = shape.out, plane = padded(most * out.size());
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const Corner at = corner<M>(tile, shape);
        const float* in = dy + ((at.image * shape.height + at.y) * shape.width + at.x) * channels;
        float* to = m + (tile - tiles.begin) * out.size() - out.begin;
        const int rows = inside<M>(at.y, shape.height), columns = inside<M>(at.x, shape.width);
        for (int64_t c = out.begin; c < out.end; c += kLanes) {
            Vector half[N * M];
#pragma GCC unroll 4
            for (int j = 0; j < M; j++) {
                Vector g[M];
#pragma GCC unroll 4
                for (int i = 0; i < M; i++)
                    g[i] = i < rows && j < columns ? load(in + (i * shape.width + j) * channels + c) : Vector{};
                gradient_axis<M>(g, 1, half + j, M);
            }
#pragma GCC unroll 6
            for (int i = 0; i < N; i++) {
                Vector full[N];
                gradient_axis<M>(half + M * i, 1, full, 1);
#pragma GCC unroll 6
                for (int j = 0; j < N; j++) store(to + (N * i + j) * plane + c, full[j]);
            }
        }
    }
}

template <int M>
void filter(const float* w, float* u, const WinogradShape& shape, bool adjoint, Range panels) {
    constexpr int N = M + 2;
    const int64_t in = shape.in, out = shape.out, width = panel(out), plane = padded(in * out);
    for (int64_t p = panels.begin; p < panels.end; p++)
        for (int64_t q = 0; q < width; q += kLanes)
            for (int64_t i0 = 0; i0 < in; i0 += kLanes) {
                // taps[k][i][o]: the vectors run along the output channels.
                float taps[9][kLanes][kLanes];
                const int64_t o0 = p * width + q;
                for (int64_t k = 0; k < 9; k++)
                    for (int64_t a = 0; a < kLanes; a++) {
                        if (adjoint) {
                            store(taps[k][a], load(w + ((i0 + a) * 9 + 8 - k) * out + o0));
                        } else {
                            const float* row = w + ((o0 + a) * 9 + k) * in + i0;
                            for (int64_t i = 0; i < kLanes; i++) taps[k][i][a] = row[i];
                        }
                    }
                for (int64_t i = 0; i < kLanes; i++) {
                    Vector half[N * 3];
#pragma GCC unroll 3
                    for (int j = 0; j < 3; j++) {
                        const Vector g[3] = {load(taps[j][i]), load(taps[3 + j][i]), load(taps[6 + j][i])};
                        filter_axis<M>(g, 1, half + j, 3);
                    }
#pragma GCC unroll 6
                    for (int r = 0; r < N; r++) {
                        Vector full[N];
                        filter_axis<M>(half + 3 * r, 1, full, 1);
#pragma GCC unroll 6
                        for (int j = 0; j < N; j++)
                            store(u + (N * r + j) * plane + (p * in + i0 + i) * width + q, full[j]);
                    }
                }
            }
}

template <int M>
void forward(const float* x, const float* u, float* y, const WinogradShape& shape, Range tiles, int64_t most,
             float* scratch) {
    constexpr int64_t points = winograd_points(M);
    const int64_t in = shape.in, out = shape.out, width = panel(out);
    float *v = scratch, *m = scratch + points * padded(most * in);
    for (int64_t begin = tiles.begin; begin < tiles.end; begin += most) {
        const Range block = {begin, begin + most < tiles.end ? begin + most : tiles.end};
        transform_input<M>(x, v, block, most, shape);
        for (int64_t p = 0; p < points; p++)
            for (int64_t q = 0; q < out; q += width)
                multiply_panel(width, block.size(), v + p * padded(most * in), in, 1,
                               u + p * padded(in * out) + q * in, width, in, m + p * padded(most * out) + q, out, false);
        transform_output<M>(m, y, block, most, shape);
    }
}

template <int M>
void correlate(const float* dy, const float* x, float* sum, const WinogradShape& shape, Range tiles, Range out,
               int64_t most, float* scratch) {
    constexpr int64_t points = winograd_points(M);
    const int64_t in = shape.in, width = panel(in), rows = out.size();
    float *v = scratch, *m = scratch + points * padded(most * in);
    for (int64_t begin = tiles.begin; begin < tiles.end; begin += most) {
        const Range block = {begin, begin + most < tiles.end ? begin + most : tiles.end};
        transform_input<M>(x, v, block, most, shape);
        transform_gradient<M>(dy, m, block, out, most, shape);
        for (int64_t p = 0; p < points; p++)
            for (int64_t q = 0; q < in; q += width)
                multiply_panel(width, rows, m + p * padded(most * rows), 1, rows, v + p * padded(most * in) + q, in,
                               block.size(), sum + p * padded(in * shape.out) + out.begin * in + q, in,
                               begin != tiles.begin);
    }
}

template <int M>
void finish(const float* sum, int64_t parts, float* dw, const WinogradShape& shape, Range out) {
    constexpr int N = M + 2;
    const int64_t in = shape.in, plane = padded(in * shape.out);
    for (int64_t o = out.begin; o < out.end; o++)
        for (int64_t c = 0; c < in; c += kLanes) {
            Vector half[3 * N];
#pragma GCC unroll 6
            for (int j = 0; j < N; j++) {
                Vector u[N];
                for (int i = 0; i < N; i++) {
                    const float* first = sum + (N * i + j) * plane + o * in + c;
                    u[i] = load(first);
                    for (int64_t part = 1; part < parts; part++) u[i] += load(first + part * winograd_points(M) * plane);
                }
                weight_axis<M>(u, 1, half + j, N);
            }
#pragma GCC unroll 3
            for (int i = 0; i < 3; i++) {
                Vector taps[3];
                weight_axis<M>(half + N * i, 1, taps, 1);
                for (int j = 0; j < 3; j++) store(dw + (o * 9 + 3 * i + j) * in + c, taps[j]);
            }
        }
}

template <int M>
constexpr Winograd kKernels = {M, kLanes, panel, filter<M>, forward<M>, correlate<M>, finish<M>};

}  // namespace

void winograd(int64_t tile, const Winograd** kernels) { *kernels = tile == 2 ? &kKernels<2> : &kKernels<4>; }

}  // namespace STYLEGAN_ISA
}  // namespace stylegan
