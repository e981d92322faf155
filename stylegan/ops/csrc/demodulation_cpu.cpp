// stylegan::demodulation and its gradients on the CPU: every weight is read once in each order.
#include <type_traits>

#include "cpu.h"
#include "demodulation.h"
#include "fir_cpu.h"

STYLEGAN_BEGIN

template <class A>
STYLEGAN_INLINE A inverse_root(A v) {
    return 1 / static_cast<A>(sizeof(A) == 4 ? __builtin_sqrtf(static_cast<float>(v)) : __builtin_sqrt(static_cast<double>(v)));
}

// out[i] = sum over the taps of a * b, rows of weights in memory's order.
template <class A>
STYLEGAN_INLINE void sum_taps(const Demodulation& p, const A* a, const A* b, A* out) {
    for (index_t i = 0; i < p.i; i++) out[i] = 0;
    if (p.channels_last) {
        for (index_t k = 0; k < p.taps; k++) {
            const A *x = a + k * p.i, *y = b + k * p.i;
#pragma omp simd
            for (index_t i = 0; i < p.i; i++) out[i] += x[i] * y[i];
        }
    } else {
        for (index_t i = 0; i < p.i; i++) {
            A sum = 0;
            for (index_t k = 0; k < p.taps; k++) sum += a[i * p.taps + k] * b[i * p.taps + k];
            out[i] = sum;
        }
    }
}

// out = w * a, or w * a + up * b, where a and b belong to input channels.
template <bool Up, class A>
STYLEGAN_INLINE void scale_row(const Demodulation& p, const A* w, const A* a, const A* up, const A* b, A* out) {
    if (p.channels_last) {
        for (index_t k = 0; k < p.taps; k++) {
            const index_t at = k * p.i, count = p.i;
#pragma omp simd
            for (index_t i = 0; i < count; i++) out[at + i] = w[at + i] * a[i] + (Up ? up[at + i] * b[i] : A(0));
        }
        return;
    }
    for (index_t i = 0; i < p.i; i++) {
        const index_t at = i * p.taps;
        for (index_t k = 0; k < p.taps; k++) out[at + k] = w[at + k] * a[i] + (Up ? up[at + k] * b[i] : A(0));
    }
}

template <class A>
void forward(const Demodulation& p, index_t begin, index_t end) {
    const A *s = static_cast<const A*>(p.s), *w = static_cast<const A*>(p.w);
    Buffer<A> q(p.i);
    for (index_t o = begin; o < end; o++) {
        const A* row = w + o * p.i * p.taps;
        sum_taps(p, row, row, q.data);
        for (index_t n = 0; n < p.n; n++) {
            const A *style = s + n * p.i, *square = q.data;
            A sum = 0;
#pragma omp simd reduction(+ : sum)
            for (index_t i = 0; i < p.i; i++) sum += style[i] * style[i] * square[i];
            static_cast<A*>(p.out)[n * p.o + o] = inverse_root(sum + static_cast<A>(p.epsilon));
        }
    }
}

// One output channel of one image in order 2: d_dd, and h.
template <class A>
STYLEGAN_INLINE A second_order(const Demodulation& p, index_t n, index_t o, const A* q, const A* r, A dd, A d, A cube) {
    const A *s = static_cast<const A*>(p.s) + n * p.i, *dds = static_cast<const A*>(p.dds);
    A v = 0;
    if (p.ddw != nullptr) {
#pragma omp simd reduction(+ : v)
        for (index_t i = 0; i < p.i; i++) v += s[i] * s[i] * r[i];
    }
    if (dds != nullptr) {
        const A* up = dds + n * p.i;
#pragma omp simd reduction(+ : v)
        for (index_t i = 0; i < p.i; i++) v += up[i] * s[i] * q[i];
    }
    static_cast<A*>(p.out)[n * p.o + o] = -v * cube;
    return static_cast<A>(1.5) * v * dd * cube * d * d;
}

// Orders 1 and 2 of one chunk.
template <class A, bool Second>
void gradients(const Demodulation& p, index_t chunk) {
    const index_t begin = chunk * p.rows, end = smaller(begin + p.rows, p.o), row = p.i * p.taps;
    const A *w = static_cast<const A*>(p.w), *ddw = static_cast<const A*>(p.ddw), *dds = static_cast<const A*>(p.dds);
    A* by_s = p.by_s == nullptr ? nullptr : static_cast<A*>(p.by_s) + chunk * p.n * p.i;
    A* by_s_up = p.by_s_up == nullptr ? nullptr : static_cast<A*>(p.by_s_up) + chunk * p.n * p.i;
    Buffer<A> q(p.i), r(p.i), by_w(p.i), by_w_up(p.i);
    for (index_t i = 0; i < p.i; i++) r.data[i] = 0;
    for (index_t o = begin; o < end; o++) {
        if (Second || by_s != nullptr) sum_taps(p, w + o * row, w + o * row, q.data);
        if (ddw != nullptr) sum_taps(p, ddw + o * row, w + o * row, r.data);
        for (index_t i = 0; i < p.i; i++) by_w.data[i] = by_w_up.data[i] = 0;
        for (index_t n = 0; n < p.n; n++) {
            const A dd = static_cast<const A*>(p.dd)[n * p.o + o], d = static_cast<const A*>(p.d)[n * p.o + o];
            const A cube = d * d * d, u = dd * cube, h = Second ? second_order(p, n, o, q.data, r.data, dd, d, cube) : A(0);
            const A *s = static_cast<const A*>(p.s) + n * p.i, *q_ = q.data, *r_ = r.data;
            const index_t count = p.i;
            if (by_s != nullptr) {
                A* sum = by_s + n * count;
#pragma omp simd
                for (index_t i = 0; i < count; i++) sum[i] += Second ? 2 * (h * q_[i] - u * r_[i]) : -u * q_[i];
            }
            if (by_s_up != nullptr) {
                A* sum = by_s_up + n * count;
#pragma omp simd
                for (index_t i = 0; i < count; i++) sum[i] -= u * q_[i];
            }
            if (p.by_w != nullptr) {
                A *sum = by_w.data, *up = by_w_up.data;
                const A first = Second ? 2 * h : -u;
#pragma omp simd
                for (index_t i = 0; i < count; i++) sum[i] += first * (s[i] * s[i]);
                if (ddw != nullptr) {
#pragma omp simd
                    for (index_t i = 0; i < count; i++) up[i] -= u * (s[i] * s[i]);
                }
                if (dds != nullptr) {
                    const A* p_ = dds + n * count;
#pragma omp simd
                    for (index_t i = 0; i < count; i++) sum[i] -= 2 * u * (p_[i] * s[i]);
                }
            }
        }
        if (p.by_w == nullptr) continue;
        A* out = static_cast<A*>(p.by_w) + o * row;
        if (ddw != nullptr) {
            scale_row<true>(p, w + o * row, by_w.data, ddw + o * row, by_w_up.data, out);
        } else {
            scale_row<false>(p, w + o * row, by_w.data, ddw, by_w_up.data, out);
        }
    }
}

STYLEGAN_EXPORT

// Chunks [begin, end) of order 0, 1 or 2.
void demodulation(const Demodulation& p, int order, index_t begin, index_t end) {
    with_type(p.dtype, [&](auto* type) {
        using A = compute_t<std::remove_pointer_t<decltype(type)>>;
        for (index_t chunk = begin; chunk < end; chunk++) {
            if (order == 0) {
                forward<A>(p, chunk * p.rows, smaller((chunk + 1) * p.rows, p.o));
            } else if (order == 1) {
                gradients<A, false>(p, chunk);
            } else {
                gradients<A, true>(p, chunk);
            }
        }
    });
}

STYLEGAN_END
