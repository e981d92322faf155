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

STYLEGAN_INLINE Corner corner(int64_t tile, const WinogradShape& shape) {
    const int64_t per_image = shape.tile_rows() * shape.tile_columns(), rest = tile % per_image;
    return {tile / per_image, rest / shape.tile_columns() * 2, rest % shape.tile_columns() * 2};
}

// B^T d of equation 11 along one axis.
STYLEGAN_INLINE void input_axis(Vector d0, Vector d1, Vector d2, Vector d3, Vector* out, int64_t step) {
    out[0] = d0 - d2;
    out[step] = d1 + d2;
    out[2 * step] = d2 - d1;
    out[3 * step] = d1 - d3;
}

// Transformed tiles v [16][most][channels] = B^T d B of x with a border of zeros.
void transform_input(const float* x, float* v, Range tiles, int64_t most, const WinogradShape& shape) {
    const int64_t channels = shape.in, plane = padded(most * channels);
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const Corner at = corner(tile, shape);
        const float* pixel[16];
        for (int64_t i = 0; i < 4; i++)
            for (int64_t j = 0; j < 4; j++) {
                const int64_t row = at.y + i - 1, column = at.x + j - 1;
                const bool inside = row >= 0 && row < shape.height && column >= 0 && column < shape.width;
                pixel[4 * i + j] =
                    inside ? x + ((at.image * shape.height + row) * shape.width + column) * channels : nullptr;
            }
        const bool border = at.y == 0 || at.x == 0 || at.y + 2 >= shape.height || at.x + 2 >= shape.width;
        float* out = v + (tile - tiles.begin) * channels;
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vector half[16];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                Vector d[4];
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    d[i] = !border || pixel[4 * i + j] ? load(pixel[4 * i + j] + c) : Vector{};
                input_axis(d[0], d[1], d[2], d[3], half + j, 4);
            }
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                Vector full[4];
                input_axis(half[4 * i], half[4 * i + 1], half[4 * i + 2], half[4 * i + 3], full, 1);
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) store(out + (4 * i + j) * plane + c, full[j]);
            }
        }
    }
}

// y = A^T m A for products m [16][most][out].
void transform_output(const float* m, float* y, Range tiles, int64_t most, const WinogradShape& shape) {
    const int64_t channels = shape.out, plane = padded(most * channels);
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const Corner at = corner(tile, shape);
        float* out = y + ((at.image * shape.height + at.y) * shape.width + at.x) * channels;
        const float* in = m + (tile - tiles.begin) * channels;
        const bool right = at.x + 1 < shape.width, below = at.y + 1 < shape.height;
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vector top[4], bottom[4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                Vector p[4];
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) p[i] = load(in + (4 * i + j) * plane + c);
                top[j] = p[0] + p[1] + p[2];
                bottom[j] = p[1] - p[2] - p[3];
            }
            store(out + c, top[0] + top[1] + top[2]);
            if (right) store(out + channels + c, top[1] - top[2] - top[3]);
            if (below) store(out + shape.width * channels + c, bottom[0] + bottom[1] + bottom[2]);
            if (right && below) store(out + (shape.width + 1) * channels + c, bottom[1] - bottom[2] - bottom[3]);
        }
    }
}

// A g along one axis: what an output tile's gradient is at the four points.
STYLEGAN_INLINE void gradient_axis(Vector g0, Vector g1, Vector* out, int64_t step) {
    out[0] = g0;
    out[step] = g0 + g1;
    out[2 * step] = g0 - g1;
    out[3 * step] = -g1;
}

// m [16][most][a range of out] = A g A^T.
void transform_gradient(const float* dy, float* m, Range tiles, Range out, int64_t most, const WinogradShape& shape) {
    const int64_t channels = shape.out, plane = padded(most * out.size());
    for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        const Corner at = corner(tile, shape);
        const float* in = dy + ((at.image * shape.height + at.y) * shape.width + at.x) * channels;
        float* to = m + (tile - tiles.begin) * out.size() - out.begin;
        const bool right = at.x + 1 < shape.width, below = at.y + 1 < shape.height;
        for (int64_t c = out.begin; c < out.end; c += kLanes) {
            const Vector zero{};
            const Vector g00 = load(in + c), g01 = right ? load(in + channels + c) : zero;
            const Vector g10 = below ? load(in + shape.width * channels + c) : zero;
            const Vector g11 = right && below ? load(in + (shape.width + 1) * channels + c) : zero;
            Vector half[8];
            gradient_axis(g00, g10, half, 2);
            gradient_axis(g01, g11, half + 1, 2);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                Vector full[4];
                gradient_axis(half[2 * i], half[2 * i + 1], full, 1);
#pragma GCC unroll 4
                for (int j = 0; j < 4; j++) store(to + (4 * i + j) * plane + c, full[j]);
            }
        }
    }
}

// G g along one axis.
STYLEGAN_INLINE void filter_axis(Vector g0, Vector g1, Vector g2, Vector* out, int64_t step) {
    const Vector even = (g0 + g2) * 0.5f, odd = g1 * 0.5f;
    out[0] = g0;
    out[step] = even + odd;
    out[2 * step] = even - odd;
    out[3 * step] = g2;
}

void filter(const float* w, float* u, const WinogradShape& shape, bool adjoint, Range panels) {
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
                    Vector half[12];
#pragma GCC unroll 3
                    for (int j = 0; j < 3; j++)
                        filter_axis(load(taps[j][i]), load(taps[3 + j][i]), load(taps[6 + j][i]), half + j, 3);
#pragma GCC unroll 4
                    for (int r = 0; r < 4; r++) {
                        Vector full[4];
                        filter_axis(half[3 * r], half[3 * r + 1], half[3 * r + 2], full, 1);
#pragma GCC unroll 4
                        for (int j = 0; j < 4; j++)
                            store(u + (4 * r + j) * plane + (p * in + i0 + i) * width + q, full[j]);
                    }
                }
            }
}

void forward(const float* x, const float* u, float* y, const WinogradShape& shape, Range tiles, int64_t most,
             float* scratch) {
    const int64_t in = shape.in, out = shape.out, width = panel(out);
    float *v = scratch, *m = scratch + kPoints * padded(most * in);
    for (int64_t begin = tiles.begin; begin < tiles.end; begin += most) {
        const Range block = {begin, begin + most < tiles.end ? begin + most : tiles.end};
        transform_input(x, v, block, most, shape);
        for (int64_t p = 0; p < kPoints; p++)
            for (int64_t q = 0; q < out; q += width)
                multiply_panel(width, block.size(), v + p * padded(most * in), in, 1,
                               u + p * padded(in * out) + q * in, width, in, m + p * padded(most * out) + q, out, false);
        transform_output(m, y, block, most, shape);
    }
}

void correlate(const float* dy, const float* x, float* sum, const WinogradShape& shape, Range tiles, Range out,
               int64_t most, float* scratch) {
    const int64_t in = shape.in, width = panel(in), rows = out.size();
    float *v = scratch, *m = scratch + kPoints * padded(most * in);
    for (int64_t begin = tiles.begin; begin < tiles.end; begin += most) {
        const Range block = {begin, begin + most < tiles.end ? begin + most : tiles.end};
        transform_input(x, v, block, most, shape);
        transform_gradient(dy, m, block, out, most, shape);
        for (int64_t p = 0; p < kPoints; p++)
            for (int64_t q = 0; q < in; q += width)
                multiply_panel(width, rows, m + p * padded(most * rows), 1, rows, v + p * padded(most * in) + q, in,
                               block.size(), sum + p * padded(in * shape.out) + out.begin * in + q, in,
                               begin != tiles.begin);
    }
}

// G^T u along one axis.
STYLEGAN_INLINE void weight_axis(const Vector* u, Vector* out) {
    const Vector even = (u[1] + u[2]) * 0.5f;
    out[0] = u[0] + even;
    out[1] = (u[1] - u[2]) * 0.5f;
    out[2] = even + u[3];
}

void finish(const float* sum, int64_t parts, float* dw, const WinogradShape& shape, Range out) {
    const int64_t in = shape.in, plane = padded(in * shape.out);
    for (int64_t o = out.begin; o < out.end; o++)
        for (int64_t c = 0; c < in; c += kLanes) {
            Vector half[3][4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                Vector u[4], axis[3];
                for (int i = 0; i < 4; i++) {
                    const float* first = sum + (4 * i + j) * plane + o * in + c;
                    u[i] = load(first);
                    for (int64_t part = 1; part < parts; part++) u[i] += load(first + part * kPoints * plane);
                }
                weight_axis(u, axis);
                for (int i = 0; i < 3; i++) half[i][j] = axis[i];
            }
#pragma GCC unroll 3
            for (int i = 0; i < 3; i++) {
                Vector taps[3];
                weight_axis(half[i], taps);
                for (int j = 0; j < 3; j++) store(dw + (o * 9 + 3 * i + j) * in + c, taps[j]);
            }
        }
}

constexpr Winograd kKernels = {kLanes, panel, filter, forward, correlate, finish};

}  // namespace

void winograd(const Winograd** kernels) { *kernels = &kKernels; }

}  // namespace STYLEGAN_ISA
}  // namespace stylegan
