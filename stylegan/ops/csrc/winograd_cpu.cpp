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

// How a tile is filtered along an axis: from `inputs` pixels by products at `points` to `outputs` pixels. Each rule has the transforms of a tile of the input (B^T d), of the weight's three taps (G g), of the
// products (A^T m), and for the gradient by the weight those of an output tile's gradient (A g) and back to taps (G^T u).
// They read vectors that lie `from` apart and write them `to` apart.

// Stride 1 and padding 1: values at the points 0, 1, -1 and infinity for tiles of 2 (Lavin and Gray 2015, section 4.1), at 0, +-a,
// +-b and infinity for tiles of 4. Their a, b = 1, 2 lose twice the precision that these do, which were found by trial of
// numbers of few bits; A and B are their squares, kA and kB the denominators of Lagrange's polynomials.
template <int M>
struct Plain {
    static constexpr int inputs = M + 2, points = M + 2, outputs = M, stride = 1;
    static constexpr float a = 0.625f, b = 1.5f, A = a * a, B = b * b;
    static constexpr float kA = 1 / (2 * A * (A - B)), kB = 1 / (2 * B * (B - A)), kZero = 1 / (A * B);

    static STYLEGAN_INLINE void input(const Vector* d, int64_t from, Vector* out, int64_t to) {
        const Vector d0 = d[0], d1 = d[from], d2 = d[2 * from], d3 = d[3 * from];
        if constexpr (M == 2) {
            out[0] = d0 - d2;
            out[to] = d1 + d2;
            out[2 * to] = d2 - d1;
            out[3 * to] = d1 - d3;
        } else {
            const Vector d4 = d[4 * from], d5 = d[5 * from];
            const Vector even = d4 - B * d2, odd = a * d3 - (a * B) * d1, even2 = d4 - A * d2, odd2 = b * d3 - (b * A) * d1;
            out[0] = (A * B) * d0 - (A + B) * d2 + d4;
            out[to] = even + odd;
            out[2 * to] = even - odd;
            out[3 * to] = even2 + odd2;
            out[4 * to] = even2 - odd2;
            out[5 * to] = (A * B) * d1 - (A + B) * d3 + d5;
        }
    }

    static STYLEGAN_INLINE void taps(const Vector* g, int64_t from, Vector* out, int64_t to) {
        const Vector g0 = g[0], g1 = g[from], g2 = g[2 * from];
        if constexpr (M == 2) {
            const Vector even = (g0 + g2) * 0.5f, odd = g1 * 0.5f;
            out[0] = g0;
            out[to] = even + odd;
            out[2 * to] = even - odd;
            out[3 * to] = g2;
        } else {
            const Vector even = kA * g0 + (kA * A) * g2, odd = (kA * a) * g1;
            const Vector even2 = kB * g0 + (kB * B) * g2, odd2 = (kB * b) * g1;
            out[0] = kZero * g0;
            out[to] = even + odd;
            out[2 * to] = even - odd;
            out[3 * to] = even2 + odd2;
            out[4 * to] = even2 - odd2;
            out[5 * to] = g2;
        }
    }

    static STYLEGAN_INLINE void output(const Vector* m, int64_t from, Vector* out, int64_t to) {
        const Vector sum = m[from] + m[2 * from], difference = m[from] - m[2 * from];
        if constexpr (M == 2) {
            out[0] = m[0] + sum;
            out[to] = difference - m[3 * from];
        } else {
            const Vector sum2 = m[3 * from] + m[4 * from], difference2 = m[3 * from] - m[4 * from];
            out[0] = m[0] + sum + sum2;
            out[to] = a * difference + b * difference2;
            out[2 * to] = A * sum + B * sum2;
            out[3 * to] = (a * A) * difference + (b * B) * difference2 + m[5 * from];
        }
    }

    static STYLEGAN_INLINE void gradient(const Vector* g, int64_t from, Vector* out, int64_t to) {
        const Vector g0 = g[0], g1 = g[from];
        if constexpr (M == 2) {
            out[0] = g0;
            out[to] = g0 + g1;
            out[2 * to] = g0 - g1;
            out[3 * to] = -g1;
        } else {
            const Vector g2 = g[2 * from], g3 = g[3 * from];
            const Vector even = g0 + A * g2, odd = a * g1 + (a * A) * g3, even2 = g0 + B * g2, odd2 = b * g1 + (b * B) * g3;
            out[0] = g0;
            out[to] = even + odd;
            out[2 * to] = even - odd;
            out[3 * to] = even2 + odd2;
            out[4 * to] = even2 - odd2;
            out[5 * to] = g3;
        }
    }

    static STYLEGAN_INLINE void back(const Vector* u, int64_t from, Vector* out, int64_t to) {
        const Vector sum = u[from] + u[2 * from], difference = u[from] - u[2 * from];
        if constexpr (M == 2) {
            out[0] = u[0] + sum * 0.5f;
            out[to] = difference * 0.5f;
            out[2 * to] = sum * 0.5f + u[3 * from];
        } else {
            const Vector sum2 = u[3 * from] + u[4 * from], difference2 = u[3 * from] - u[4 * from];
            out[0] = kZero * u[0] + kA * sum + kB * sum2;
            out[to] = (kA * a) * difference + (kB * b) * difference2;
            out[2 * to] = (kA * A) * sum + (kB * B) * sum2 + u[5 * from];
        }
    }
};

// Stride 2: two outputs from five pixels d. y0 = d0 g0 + d2 g2 + d1 g1, y1 = d2 g0 + d4 g2 + d3 g1. For the gradient by the weight.
struct Stepping {
    static constexpr int inputs = 5, points = 5, outputs = 2, stride = 2;

    static STYLEGAN_INLINE void input(const Vector* d, int64_t from, Vector* out, int64_t to) {
        out[0] = d[0] - d[2 * from];
        out[to] = d[2 * from];
        out[2 * to] = d[4 * from] - d[2 * from];
        out[3 * to] = d[from];
        out[4 * to] = d[3 * from];
    }

    static STYLEGAN_INLINE void gradient(const Vector* g, int64_t from, Vector* out, int64_t to) {
        out[0] = out[3 * to] = g[0];
        out[to] = g[0] + g[from];
        out[2 * to] = out[4 * to] = g[from];
    }

    static STYLEGAN_INLINE void back(const Vector* u, int64_t from, Vector* out, int64_t to) {
        out[0] = u[0] + u[from];
        out[to] = u[3 * from] + u[4 * from];
        out[2 * to] = u[from] + u[2 * from];
    }
};

template <class Rule>
constexpr int64_t points = Rule::points * Rule::points;

template <class Rule>
STYLEGAN_INLINE int64_t tiles_along(int64_t out_size) {
    return (out_size + Rule::outputs - 1) / Rule::outputs;
}

template <class Rule>
int64_t tiles(const WinogradShape& shape) {
    return shape.n * tiles_along<Rule>(shape.out_height) * tiles_along<Rule>(shape.out_width);
}

// The first output of a tile.
struct Place {
    int64_t image, y, x;
};

template <class Rule>
STYLEGAN_INLINE Place place(int64_t tile, const WinogradShape& shape) {
    const int64_t columns = tiles_along<Rule>(shape.out_width);
    const int64_t per_image = tiles_along<Rule>(shape.out_height) * columns, rest = tile % per_image;
    return {tile / per_image, rest / columns * Rule::outputs, rest % columns * Rule::outputs};
}

// How many of a tile's outputs, from `first` on, lie in the image.
template <class Rule>
STYLEGAN_INLINE int inside(int64_t first, int64_t size) {
    return first + Rule::outputs <= size ? Rule::outputs : static_cast<int>(size - first);
}

// Transformed tiles v [points][most][channels] = B^T d B of x with a border of zeros.
template <class Rule>
void transform_input(const float* x, float* v, Range range, int64_t most, const WinogradShape& shape) {
    constexpr int I = Rule::inputs, P = Rule::points;
    const int64_t channels = shape.in, plane = padded(most * channels);
    for (int64_t tile = range.begin; tile < range.end; tile++) {
        const Place at = place<Rule>(tile, shape);
        const float* pixel[I * I];
        bool border = false;
        for (int64_t i = 0; i < I; i++)
            for (int64_t j = 0; j < I; j++) {
                const int64_t row = at.y * Rule::stride - shape.padding + i, column = at.x * Rule::stride - shape.padding + j;
                const bool inside = row >= 0 && row < shape.in_height && column >= 0 && column < shape.in_width;
                pixel[I * i + j] =
                    inside ? x + ((at.image * shape.in_height + row) * shape.in_width + column) * channels : nullptr;
                border |= !inside;
            }
        float* out = v + (tile - range.begin) * channels;
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vector half[P * I];
#pragma GCC unroll 6
            for (int j = 0; j < I; j++) {
                Vector d[I];
#pragma GCC unroll 6
                for (int i = 0; i < I; i++)
                    d[i] = !border || pixel[I * i + j] ? load(pixel[I * i + j] + c) : Vector{};
                Rule::input(d, 1, half + j, I);
            }
#pragma GCC unroll 6
            for (int i = 0; i < P; i++) {
                Vector full[P];
                Rule::input(half + I * i, 1, full, 1);
#pragma GCC unroll 6
                for (int j = 0; j < P; j++) store(out + (P * i + j) * plane + c, full[j]);
            }
        }
    }
}

// y = A^T m A for products m [points][most][out].
template <class Rule>
void transform_output(const float* m, float* y, Range range, int64_t most, const WinogradShape& shape) {
    constexpr int O = Rule::outputs, P = Rule::points;
    const int64_t channels = shape.out, plane = padded(most * channels);
    for (int64_t tile = range.begin; tile < range.end; tile++) {
        const Place at = place<Rule>(tile, shape);
        const int rows = inside<Rule>(at.y, shape.out_height), columns = inside<Rule>(at.x, shape.out_width);
        float* out = y + ((at.image * shape.out_height + at.y) * shape.out_width + at.x) * channels;
        const float* in = m + (tile - range.begin) * channels;
        for (int64_t c = 0; c < channels; c += kLanes) {
            Vector half[O * P];
#pragma GCC unroll 6
            for (int j = 0; j < P; j++) {
                Vector p[P];
#pragma GCC unroll 6
                for (int i = 0; i < P; i++) p[i] = load(in + (P * i + j) * plane + c);
                Rule::output(p, 1, half + j, P);
            }
#pragma GCC unroll 4
            for (int i = 0; i < O; i++) {
                Vector full[O];
                Rule::output(half + P * i, 1, full, 1);
                if (i < rows)
#pragma GCC unroll 4
                    for (int j = 0; j < O; j++)
                        if (j < columns) store(out + (i * shape.out_width + j) * channels + c, full[j]);
            }
        }
    }
}

// m [points][most][a range of out] = A g A^T.
template <class Rule>
void transform_gradient(const float* dy, float* m, Range range, Range out, int64_t most, const WinogradShape& shape) {
    constexpr int O = Rule::outputs, P = Rule::points;
    const int64_t channels = shape.out, plane = padded(most * out.size());
    for (int64_t tile = range.begin; tile < range.end; tile++) {
        const Place at = place<Rule>(tile, shape);
        const int rows = inside<Rule>(at.y, shape.out_height), columns = inside<Rule>(at.x, shape.out_width);
        const float* in = dy + ((at.image * shape.out_height + at.y) * shape.out_width + at.x) * channels;
        float* to = m + (tile - range.begin) * out.size() - out.begin;
        for (int64_t c = out.begin; c < out.end; c += kLanes) {
            Vector half[P * O];
#pragma GCC unroll 4
            for (int j = 0; j < O; j++) {
                Vector g[O];
#pragma GCC unroll 4
                for (int i = 0; i < O; i++)
                    g[i] = i < rows && j < columns ? load(in + (i * shape.out_width + j) * channels + c) : Vector{};
                Rule::gradient(g, 1, half + j, O);
            }
#pragma GCC unroll 6
            for (int i = 0; i < P; i++) {
                Vector full[P];
                Rule::gradient(half + O * i, 1, full, 1);
#pragma GCC unroll 6
                for (int j = 0; j < P; j++) store(to + (P * i + j) * plane + c, full[j]);
            }
        }
    }
}

template <class Rule>
void filter(const float* w, float* u, const WinogradShape& shape, bool adjoint, Range panels) {
    constexpr int P = Rule::points;
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
                    Vector half[P * 3];
#pragma GCC unroll 3
                    for (int j = 0; j < 3; j++) {
                        const Vector g[3] = {load(taps[j][i]), load(taps[3 + j][i]), load(taps[6 + j][i])};
                        Rule::taps(g, 1, half + j, 3);
                    }
#pragma GCC unroll 6
                    for (int r = 0; r < P; r++) {
                        Vector full[P];
                        Rule::taps(half + 3 * r, 1, full, 1);
#pragma GCC unroll 6
                        for (int j = 0; j < P; j++)
                            store(u + (P * r + j) * plane + (p * in + i0 + i) * width + q, full[j]);
                    }
                }
            }
}

template <class Rule>
void forward(const float* x, const float* u, float* y, const WinogradShape& shape, Range range, int64_t most,
             float* scratch) {
    const int64_t in = shape.in, out = shape.out, width = panel(out);
    float *v = scratch, *m = scratch + points<Rule> * padded(most * in);
    for (int64_t begin = range.begin; begin < range.end; begin += most) {
        const Range block = {begin, begin + most < range.end ? begin + most : range.end};
        transform_input<Rule>(x, v, block, most, shape);
        for (int64_t p = 0; p < points<Rule>; p++)
            for (int64_t q = 0; q < out; q += width)
                multiply_panel(width, block.size(), v + p * padded(most * in), in, 1,
                               u + p * padded(in * out) + q * in, width, in, m + p * padded(most * out) + q, out, false);
        transform_output<Rule>(m, y, block, most, shape);
    }
}

template <class Rule>
void correlate(const float* dy, const float* x, float* sum, const WinogradShape& shape, Range range, Range out,
               int64_t most, float* scratch) {
    const int64_t in = shape.in, width = panel(in), rows = out.size();
    float *v = scratch, *m = scratch + points<Rule> * padded(most * in);
    for (int64_t begin = range.begin; begin < range.end; begin += most) {
        const Range block = {begin, begin + most < range.end ? begin + most : range.end};
        transform_input<Rule>(x, v, block, most, shape);
        transform_gradient<Rule>(dy, m, block, out, most, shape);
        for (int64_t p = 0; p < points<Rule>; p++)
            for (int64_t q = 0; q < in; q += width)
                multiply_panel(width, rows, m + p * padded(most * rows), 1, rows, v + p * padded(most * in) + q, in,
                               block.size(), sum + p * padded(in * shape.out) + out.begin * in + q, in,
                               begin != range.begin);
    }
}

template <class Rule>
void finish(const float* sum, int64_t parts, float* dw, const WinogradShape& shape, Range out) {
    constexpr int P = Rule::points;
    const int64_t in = shape.in, plane = padded(in * shape.out);
    for (int64_t o = out.begin; o < out.end; o++)
        for (int64_t c = 0; c < in; c += kLanes) {
            Vector half[3 * P];
#pragma GCC unroll 6
            for (int j = 0; j < P; j++) {
                Vector u[P];
                for (int i = 0; i < P; i++) {
                    const float* first = sum + (P * i + j) * plane + o * in + c;
                    u[i] = load(first);
                    for (int64_t part = 1; part < parts; part++) u[i] += load(first + part * points<Rule> * plane);
                }
                Rule::back(u, 1, half + j, P);
            }
#pragma GCC unroll 3
            for (int i = 0; i < 3; i++) {
                Vector taps[3];
                Rule::back(half + P * i, 1, taps, 1);
                for (int j = 0; j < 3; j++) store(dw + (o * 9 + 3 * i + j) * in + c, taps[j]);
            }
        }
}

template <class Rule>
constexpr Winograd kKernels = {kLanes,       points<Rule>,  Rule::outputs * Rule::outputs, tiles<Rule>,    panel,
                               filter<Rule>, forward<Rule>, correlate<Rule>,               finish<Rule>};
template <>
constexpr Winograd kKernels<Stepping> = {kLanes,  points<Stepping>, 4, tiles<Stepping>, panel,
                                         nullptr, nullptr,          correlate<Stepping>, finish<Stepping>};

}  // namespace

void winograd(WinogradKind kind, const Winograd** kernels) {
    switch (kind) {
        case WinogradKind::small: *kernels = &kKernels<Plain<2>>; break;
        case WinogradKind::large: *kernels = &kKernels<Plain<4>>; break;
        case WinogradKind::stepping: *kernels = &kKernels<Stepping>; break;
    }
}

}  // namespace STYLEGAN_ISA
}  // namespace stylegan
