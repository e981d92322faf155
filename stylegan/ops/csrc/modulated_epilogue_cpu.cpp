// stylegan::modulated_epilogue and its gradients on the CPU. A work item is a chunk of the pixels of one image, all channels.
#include <type_traits>

#include "cpu_kernels.h"
#include "fir_cpu.h"

STYLEGAN_BEGIN

// Where one work item lies, and the parameters in the type of computation.
template <class T>
struct Item {
    using A = compute_t<T>;
    const EpilogueShape& s;
    index_t n, first, last;  // image, pixels
    index_t image;           // offset of the image
    const A *d, *noise, *b;  // of this image; may be null
    A above, below, clamp, to_above, to_below;

    Item(const EpilogueShape& shape, index_t item, index_t chunks) : s(shape), n(item / chunks) {
        const index_t chunk = item % chunks;
        first = chunk * s.pixels / chunks, last = (chunk + 1) * s.pixels / chunks;
        image = n * s.c * s.pixels;
        d = s.d == nullptr ? nullptr : static_cast<const A*>(s.d) + n * s.c;
        b = static_cast<const A*>(s.b);
        noise = of_image(s.noise);
        above = s.gain, below = s.leaky ? s.gain * s.alpha : s.gain, clamp = s.clamp;
        to_above = 1 / above, to_below = below == 0 ? A(0) : 1 / below;
    }

    // A tensor of the noise's shape at this image.
    STYLEGAN_INLINE const A* of_image(const void* tensor) const {
        if (tensor == nullptr) return nullptr;
        return static_cast<const A*>(tensor) + (s.noise_per_image ? n * s.pixels : 0);
    }
    STYLEGAN_INLINE A slope(A y) const {
        const A m = y > 0 ? above : below;
        return y >= clamp || y <= -clamp ? A(0) : m;
    }
    STYLEGAN_INLINE A act(A t) const {
        A v = t * (t > 0 ? above : below);
        v = v > clamp ? clamp : v;
        return v < -clamp ? -clamp : v;
    }
    // The activation's argument, where it is not stopped.
    STYLEGAN_INLINE A argument(A y) const { return y * (y > 0 ? to_above : to_below); }
    STYLEGAN_INLINE const T* at(const void* tensor, index_t offset) const {
        return tensor == nullptr ? nullptr : static_cast<const T*>(tensor) + image + offset;
    }
    STYLEGAN_INLINE T* at(void* tensor, index_t offset) const {
        return tensor == nullptr ? nullptr : static_cast<T*>(tensor) + image + offset;
    }
};

template <class A>
void fill(A* out, const A* values, index_t length, A otherwise) {
    for (index_t i = 0; i < length; i++) out[i] = values == nullptr ? otherwise : values[i];
}

// What the activation's argument, less noise and bias, is multiplied with to give x.
template <class A>
void fill_to_x(A* out, const EpilogueShape& s, const A* d) {
    for (index_t k = 0; k < s.c; k++) out[k] = s.y_is_x || d == nullptr ? A(1) : 1 / d[k];
}

template <class T>
void forward(const EpilogueForward& f, index_t item, index_t chunks) {
    using A = compute_t<T>;
    const Item<T> it(f.s, item, chunks);
    const index_t c = f.s.c, pixels = f.s.pixels;
    if (f.s.channels_last) {
        Buffer<A> d(c), b(c);
        fill(d.data, it.d, c, A(1)), fill(b.data, it.b, c, A(0));
        for (index_t p = it.first; p < it.last; p++) {
            const T* x = it.at(f.x, p * c);
            T* y = it.at(f.y, p * c);
            const A z = it.noise == nullptr ? A(0) : it.noise[p], *scale = d.data, *bias = b.data;
#pragma omp simd
            for (index_t k = 0; k < c; k++) store(y + k, it.act(load(x + k) * scale[k] + (z + bias[k])));
        }
        return;
    }
    const index_t length = it.last - it.first;
    Buffer<A> noise(length);
    fill(noise.data, it.noise == nullptr ? nullptr : it.noise + it.first, length, A(0));
    for (index_t k = 0; k < c; k++) {
        const T* x = it.at(f.x, k * pixels + it.first);
        T* y = it.at(f.y, k * pixels + it.first);
        const A scale = it.d == nullptr ? A(1) : it.d[k], bias = it.b == nullptr ? A(0) : it.b[k], *z = noise.data;
#pragma omp simd
        for (index_t p = 0; p < length; p++) store(y + p, it.act(load(x + p) * scale + (z[p] + bias)));
    }
}

// `length` neighbours in memory: channels of a pixel, or pixels of a channel. What belongs to the channels is an array in the
// first case and one number in the second; `z` is the other way round.
template <bool Along, class A>
struct Values {
    const A* values;
    const A first;
    STYLEGAN_INLINE explicit Values(const A* v) : values(v), first(v[0]) {}
    STYLEGAN_INLINE A operator[](index_t k) const { return Along ? values[k] : first; }
};

template <bool Last, bool Sums, bool Noise, bool Link, bool Product, class T, class A>
STYLEGAN_INLINE void grad_run(
    const Item<T>& item, index_t length, const T* dy, const T* y, const T* dlink, T* product, T* dx, const A* scales, const A* biases,
    const A* noise, A* dd, A* db, A* dnoise) {
    const Item<T> it = item;
    const Values<Last, A> d(scales), b(biases);
    const Values<!Last, A> z(noise);
    A sum_d = 0, sum_b = 0, sum_z = 0;
#pragma omp simd reduction(+ : sum_d, sum_b, sum_z)
    for (index_t k = 0; k < length; k++) {
        const A v = load(y + k), dt = load(dy + k) * it.slope(v);
        A out = dt * d[k];
        if (Link) out += load(dlink + k);
        store(dx + k, out);
        if (Product) store(product + k, v * d[k]);
        if (Sums) {
            const A scaled = dt * (it.argument(v) - z[k] - b[k]);  // dt * x * d, or with y_is_x dt * x
            if (Last) {
                dd[k] += scaled, db[k] += dt;
            } else {
                sum_d += scaled, sum_b += dt;
            }
        }
        if (Noise) {
            if (Last) {
                sum_z += dt;
            } else {
                dnoise[k] += dt;
            }
        }
    }
    if (Sums && !Last) dd[0] += sum_d, db[0] += sum_b;
    if (Noise && Last) dnoise[0] += sum_z;
}

template <bool Last, class T, class A, class... Rest>
STYLEGAN_INLINE void grad_select(
    bool sums, bool noise, const T* dlink, T* product, const Item<T>& it, index_t length, const T* dy, const T* y, Rest... rest) {
    auto run = [&](auto S, auto Z, auto L, auto P) {
        grad_run<Last, decltype(S)::value, decltype(Z)::value, decltype(L)::value, decltype(P)::value, T, A>(
            it, length, dy, y, dlink, product, rest...);
    };
    using yes = std::true_type;
    using no = std::false_type;
    if (product != nullptr && dlink != nullptr) return run(yes{}, no{}, yes{}, yes{});
    if (product != nullptr) return run(yes{}, no{}, no{}, yes{});
    if (dlink != nullptr) return run(yes{}, yes{}, yes{}, no{});
    if (noise) return run(yes{}, yes{}, no{}, no{});
    return sums ? run(yes{}, no{}, no{}, no{}) : run(no{}, no{}, no{}, no{});
}

// Sums that nobody wants go into `unused`.
template <class T>
void grad(const EpilogueGrad& g, index_t item) {
    using A = compute_t<T>;
    const Item<T> it(g.s, item, g.chunks);
    const index_t c = g.s.c, pixels = g.s.pixels, length = it.last - it.first;
    const bool sums = g.dd != nullptr || g.db != nullptr, with_noise = g.dnoise != nullptr;
    Buffer<A> d(c), to_x(c), b(c), dd(c), db(c), z(length), dz(length);
    fill(d.data, it.d, c, A(1)), fill_to_x(to_x.data, g.s, it.d), fill(b.data, it.b, c, A(0));
    fill<A>(dd.data, nullptr, c, 0), fill<A>(db.data, nullptr, c, 0), fill<A>(dz.data, nullptr, length, 0);
    fill(z.data, it.noise == nullptr ? nullptr : it.noise + it.first, length, A(0));
    if (g.s.channels_last) {
        for (index_t p = 0; p < length; p++) {
            const index_t at = (it.first + p) * c;
            grad_select<true, T, A>(
                sums, with_noise, it.at(g.dlink, at), it.at(g.product, at), it, c, it.at(g.dy, at), it.at(g.y, at), it.at(g.dx, at),
                static_cast<const A*>(d.data), static_cast<const A*>(b.data), static_cast<const A*>(z.data + p), dd.data,
                db.data, dz.data + p);
        }
    } else {
        for (index_t k = 0; k < c; k++) {
            const index_t at = k * pixels + it.first;
            grad_select<false, T, A>(
                sums, with_noise, it.at(g.dlink, at), it.at(g.product, at), it, length, it.at(g.dy, at), it.at(g.y, at), it.at(g.dx, at),
                static_cast<const A*>(d.data + k), static_cast<const A*>(b.data + k), static_cast<const A*>(z.data),
                dd.data + k, db.data + k, dz.data);
        }
    }
    for (index_t k = 0; k < c; k++) {
        if (g.dd != nullptr) static_cast<A*>(g.dd)[item * c + k] = dd.data[k] * to_x.data[k];
        if (g.db != nullptr) static_cast<A*>(g.db)[item * c + k] = db.data[k];
    }
    if (with_noise) {
        for (index_t p = 0; p < length; p++) static_cast<A*>(g.dnoise)[it.n * pixels + it.first + p] = dz.data[p];
    }
}

template <bool Last, class T, class A>
STYLEGAN_INLINE void grad2_run(
    const Item<T>& item, index_t length, const T* dy, const T* y, const T* ddx, T* d_dy, T* d_x, const A* scales,
    const A* scales_to_x, const A* biases, const A* up_scales, const A* up_biases, const A* noise, const A* up_noise, A* d_d) {
    const Item<T> it = item;
    const Values<Last, A> d(scales), to_x(scales_to_x), b(biases), ddd(up_scales), ddb(up_biases);
    const Values<!Last, A> z(noise), dz(up_noise);
    A sum = 0;
    const bool use_x = ddx != nullptr, out_dy = d_dy != nullptr, out_x = d_x != nullptr;
#pragma omp simd reduction(+ : sum)
    for (index_t k = 0; k < length; k++) {
        const A v = load(y + k), m = it.slope(v), dt = load(dy + k) * m, r = ddd[k];
        const A up = use_x ? load(ddx + k) : A(0);
        const A x = (it.argument(v) - z[k] - b[k]) * to_x[k];
        if (out_dy) store(d_dy + k, m * (up * d[k] + r * x + dz[k] + ddb[k]));
        if (out_x) store(d_x + k, dt * r);
        if (Last) {
            d_d[k] += dt * up;
        } else {
            sum += dt * up;
        }
    }
    if (!Last) d_d[0] += sum;
}

template <class T>
void grad2(const EpilogueGrad2& g, index_t item) {
    using A = compute_t<T>;
    const Item<T> it(g.s, item, g.chunks);
    const index_t c = g.s.c, pixels = g.s.pixels, length = it.last - it.first;
    Buffer<A> d(c), to_x(c), b(c), ddd(c), ddb(c), z(length), dz(length), d_d(c);
    fill(d.data, it.d, c, A(1)), fill_to_x(to_x.data, g.s, it.d), fill(b.data, it.b, c, A(0));
    fill<A>(d_d.data, nullptr, c, 0);
    const A* up_d = static_cast<const A*>(g.ddd);
    fill(ddd.data, up_d == nullptr ? nullptr : up_d + it.n * c, c, A(0));
    fill(ddb.data, static_cast<const A*>(g.ddb), c, A(0));
    const A* up_noise = it.of_image(g.ddnoise);
    fill(z.data, it.noise == nullptr ? nullptr : it.noise + it.first, length, A(0));
    fill(dz.data, up_noise == nullptr ? nullptr : up_noise + it.first, length, A(0));
    const bool last = g.s.channels_last;
    for (index_t j = 0; j < (last ? length : c); j++) {
        const index_t at = last ? (it.first + j) * c : j * pixels + it.first;
        const T *dy = it.at(g.dy, at), *y = it.at(g.y, at), *ddx = it.at(g.ddx, at);
        T *d_dy = it.at(g.d_dy, at), *d_x = it.at(g.d_x, at);
        if (last) {
            grad2_run<true, T, A>(
                it, c, dy, y, ddx, d_dy, d_x, d.data, to_x.data, b.data, ddd.data, ddb.data, z.data + j, dz.data + j, d_d.data);
        } else {
            grad2_run<false, T, A>(
                it, length, dy, y, ddx, d_dy, d_x, d.data + j, to_x.data + j, b.data + j, ddd.data + j, ddb.data + j, z.data,
                dz.data, d_d.data + j);
        }
    }
    if (g.d_d != nullptr) {
        for (index_t k = 0; k < c; k++) static_cast<A*>(g.d_d)[item * c + k] = d_d.data[k];
    }
}

STYLEGAN_EXPORT

void epilogue(const EpilogueForward& f, index_t chunks, index_t begin, index_t end) {
    with_type(f.s.dtype, [&](auto* type) {
        for (index_t i = begin; i < end; i++) forward<std::remove_pointer_t<decltype(type)>>(f, i, chunks);
    });
}

void epilogue_grad(const EpilogueGrad& g, index_t begin, index_t end) {
    with_type(g.s.dtype, [&](auto* type) {
        for (index_t i = begin; i < end; i++) grad<std::remove_pointer_t<decltype(type)>>(g, i);
    });
}

void epilogue_grad2(const EpilogueGrad2& g, index_t begin, index_t end) {
    with_type(g.s.dtype, [&](auto* type) {
        for (index_t i = begin; i < end; i++) grad2<std::remove_pointer_t<decltype(type)>>(g, i);
    });
}

STYLEGAN_END
