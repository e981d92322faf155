// What follows the convolution of a modulated layer (modulated_epilogue.h), in three orders.
//
// The forward pass is elementwise. The others also add up: over pixels, a sum per image and channel (dd, db, d_d), and over
// channels, a sum per pixel (dnoise). A block of them owns the pixels of one chunk of one image and all channels, so that no
// two blocks add to one number and the order of every sum is fixed. `lanes` threads, a power of two, stand along memory:
// along pixels of a planar image, along channels of a channels_last one. What runs along the lanes is added up by shuffles,
// what runs along the groups of lanes through shared memory.
#include "cuda_ops.h"
#include "device.cuh"

namespace stylegan {

constexpr int kEpilogueThreads = 256, kPixelsPerChunk = 64;  // the latter for channels_last

template <class T> struct EpilogueArguments {
    using A = Compute<T>;
    const T *x, *dy, *y, *dlink, *ddx;
    T *y_out, *dx, *product, *d_dy, *d_x;
    const A *d, *noise, *b, *ddd, *ddnoise, *ddb;
    A *dd, *dnoise, *db, *d_d;
    index_t c, pixels, noise_image;  // the last: distance between the noises of two images
    index_t chunks;
    int chunk_pixels, lanes;
    uint32_t numel;  // forward only
    Divider channels, pixels_of_image;
    A below, gain, below_inverse, gain_inverse, clamp;  // below: factor where the argument is negative
    bool y_is_x;
};

// Values that belong to the V elements of a vector.
template <class A, int V> struct EpilogueSides { A d[V], d_inverse[V], noise[V], b[V], ddd[V], ddnoise[V], ddb[V]; };

// V values from `p`, all the same one where the vector does not run along them; `missing` where there is none.
template <int V, bool ALONG, class A> __device__ __forceinline__ void side(const A* p, index_t i, A missing, A* out) {
    if (p && ALONG) {
        load<V>(p + i, out);
    } else {
        const A v = p ? p[i] : missing;
#pragma unroll
        for (int k = 0; k < V; k++) out[k] = v;
    }
}

template <class T, int V, bool PLANAR, bool SECOND>
__device__ __forceinline__ void channel_sides(const EpilogueArguments<T>& p, index_t image, index_t channel, EpilogueSides<Compute<T>, V>& s) {
    using A = Compute<T>;
    side<V, !PLANAR>(p.d, image * p.c + channel, A(1), s.d);
    side<V, !PLANAR>(p.b, channel, A(0), s.b);
#pragma unroll
    for (int k = 0; k < V; k++) s.d_inverse[k] = 1 / (p.y_is_x ? A(1) : s.d[k]);
    if (SECOND) side<V, !PLANAR>(p.ddd, image * p.c + channel, A(0), s.ddd);
    if (SECOND) side<V, !PLANAR>(p.ddb, channel, A(0), s.ddb);
}

template <class T, int V, bool PLANAR, bool SECOND>
__device__ __forceinline__ void pixel_sides(const EpilogueArguments<T>& p, index_t image, index_t pixel, EpilogueSides<Compute<T>, V>& s) {
    using A = Compute<T>;
    side<V, PLANAR>(p.noise, image * p.noise_image + pixel, A(0), s.noise);
    if (SECOND) side<V, PLANAR>(p.ddnoise, image * p.noise_image + pixel, A(0), s.ddnoise);
}

template <class T, int V, bool PLANAR> __global__ void __launch_bounds__(kEpilogueThreads) modulated_epilogue_kernel(const EpilogueArguments<T> p) {
    using A = Compute<T>;
    const unsigned i = (blockIdx.x * kEpilogueThreads + threadIdx.x) * V;
    if (i >= p.numel) return;
    unsigned rest = i;
    const unsigned inner = (PLANAR ? p.pixels_of_image : p.channels).split(rest), outer = (PLANAR ? p.channels : p.pixels_of_image).split(rest);
    EpilogueSides<A, V> s;
    channel_sides<T, V, PLANAR, false>(p, rest, PLANAR ? outer : inner, s);
    pixel_sides<T, V, PLANAR, false>(p, rest, PLANAR ? inner : outer, s);
    A v[V];
    load<V>(p.x + i, v);
#pragma unroll
    for (int k = 0; k < V; k++) {
        const A t = v[k] * s.d[k] + s.noise[k] + s.b[k];
        v[k] = t * (t < 0 ? p.below : p.gain);
    }
    store_clamped<V>(p.y_out + i, v, p.clamp);
}

// What one vector adds to the sums: over pixels (dd or d_d, and db) and over channels (dnoise).
template <class A, int V> struct EpilogueTerms { A scale[V], bias[V]; };

// The elements i .. i + V of order 1 or 2.
template <class T, int V, int ORDER>
__device__ __forceinline__ void epilogue_vector(const EpilogueArguments<T>& p, index_t i, const EpilogueSides<Compute<T>, V>& s, EpilogueTerms<Compute<T>, V>& terms) {
    using A = Compute<T>;
    A y[V], dy[V], other[V] = {}, first[V], second[V];  // other: dlink in order 1, ddx in order 2
    load<V>(p.y + i, y);
    load<V>(p.dy + i, dy);
    if (const T* q = ORDER == 1 ? p.dlink : p.ddx) load<V>(q + i, other);
    if (ORDER == 1 && p.product) {  // here, where few values are alive
#pragma unroll
        for (int k = 0; k < V; k++) first[k] = y[k] * s.d[k];
        store<V>(p.product + i, first);
    }
#pragma unroll
    for (int k = 0; k < V; k++) {
        const bool positive = y[k] > 0;
        const A m = fabs(y[k]) >= p.clamp ? A(0) : positive ? p.gain : p.below;
        const A x = (y[k] * (positive ? p.gain_inverse : p.below_inverse) - s.noise[k] - s.b[k]) * s.d_inverse[k];
        const A dt = dy[k] * m;
        if constexpr (ORDER == 1) {
            first[k] = dt * s.d[k] + other[k];
            terms.scale[k] = dt * x;
            terms.bias[k] = dt;
        } else {
            first[k] = m * (other[k] * s.d[k] + s.ddd[k] * x + s.ddnoise[k] + s.ddb[k]);
            second[k] = dt * s.ddd[k];
            terms.scale[k] = dt * other[k];
        }
    }
    if constexpr (ORDER == 1) store<V>(p.dx + i, first);
    if (ORDER == 2 && p.d_dy) store<V>(p.d_dy + i, first);
    if (ORDER == 2 && p.d_x) store<V>(p.d_x + i, second);
}

// Sum the V values of every lane over the groups of a block: to out[lane * V + k] for those below `count`.
template <int V, class A> __device__ __forceinline__ void sum_over_groups(A* shared, const A* values, int lanes, A* out, index_t count) {
    __syncthreads();  // the sums before have been read
#pragma unroll
    for (int k = 0; k < V; k++) shared[k * kEpilogueThreads + threadIdx.x] = values[k];
    __syncthreads();
    for (int i = threadIdx.x; i < lanes * V && i < count; i += kEpilogueThreads) {
        A sum = 0;
        for (int j = i / V; j < kEpilogueThreads; j += lanes) sum += shared[i % V * kEpilogueThreads + j];
        out[i] = sum;
    }
}

// Planar images: lanes run along the chunk's pixels, groups of lanes along channels.
template <class T, int V, int ORDER>
__global__ void __launch_bounds__(kEpilogueThreads) modulated_epilogue_planar_kernel(const EpilogueArguments<T> p) {
    using A = Compute<T>;
    SHARED_ARRAY(A, shared, [ORDER == 1 ? kEpilogueThreads * V : 1]);
    const index_t image = blockIdx.x / p.chunks, chunk = blockIdx.x % p.chunks;
    const int lane = threadIdx.x % p.lanes, groups = kEpilogueThreads / p.lanes;
    const index_t pixel = chunk * p.chunk_pixels + lane * V;
    A* const by_scale = ORDER == 1 ? p.dd : p.d_d;
    A noise[V] = {};
    EpilogueSides<A, V> s;
    if (pixel < p.pixels) pixel_sides<T, V, true, ORDER == 2>(p, image, pixel, s);
    // All threads go round equally often, since shuffles want whole warps.
    for (index_t first = 0; first < p.c; first += groups) {
        const index_t channel = first + threadIdx.x / p.lanes;
        A scale = 0, bias = 0;
        if (channel < p.c && pixel < p.pixels) {
            channel_sides<T, V, true, ORDER == 2>(p, image, channel, s);
            EpilogueTerms<A, V> terms;
            epilogue_vector<T, V, ORDER>(p, (image * p.c + channel) * p.pixels + pixel, s, terms);
#pragma unroll
            for (int k = 0; k < V; k++) {
                scale += terms.scale[k];
                if (ORDER == 1) bias += terms.bias[k], noise[k] += terms.bias[k];
            }
        }
        const index_t at = (image * p.chunks + chunk) * p.c + channel;
        if (by_scale) scale = sum_over_lanes(scale, p.lanes);
        if (by_scale && lane == 0 && channel < p.c) by_scale[at] = scale;
        if (ORDER == 1 && p.db) bias = sum_over_lanes(bias, p.lanes);
        if (ORDER == 1 && p.db && lane == 0 && channel < p.c) p.db[at] = bias;
    }
    if constexpr (ORDER == 1) {
        const index_t start = chunk * p.chunk_pixels;
        if (p.dnoise) sum_over_groups<V>(shared, noise, p.lanes, p.dnoise + image * p.pixels + start, p.pixels - start);
    }
}

// channels_last images: lanes run along channels, groups of lanes along the chunk's pixels.
template <class T, int V, int ORDER>
__global__ void __launch_bounds__(kEpilogueThreads) modulated_epilogue_channels_last_kernel(const EpilogueArguments<T> p) {
    using A = Compute<T>;
    SHARED_ARRAY(A, shared, [kEpilogueThreads * V]);
    SHARED_ARRAY(A, noise, [kPixelsPerChunk]);
    const index_t image = blockIdx.x / p.chunks, chunk = blockIdx.x % p.chunks;
    const int lane = threadIdx.x % p.lanes, group = threadIdx.x / p.lanes, groups = kEpilogueThreads / p.lanes;
    A* const by_scale = ORDER == 1 ? p.dd : p.d_d;
    EpilogueSides<A, V> s;
    for (index_t first = 0; first < p.c; first += p.lanes * V) {
        const index_t channel = first + lane * V;
        A scale[V] = {}, bias[V] = {};
        if (channel < p.c) channel_sides<T, V, false, ORDER == 2>(p, image, channel, s);
        for (int start = 0; start < kPixelsPerChunk; start += groups) {
            const int in_chunk = start + group;
            const index_t pixel = chunk * kPixelsPerChunk + in_chunk;
            A over_channels = 0;
            if (channel < p.c && in_chunk < kPixelsPerChunk && pixel < p.pixels) {
                pixel_sides<T, V, false, ORDER == 2>(p, image, pixel, s);
                EpilogueTerms<A, V> terms;
                epilogue_vector<T, V, ORDER>(p, (image * p.pixels + pixel) * p.c + channel, s, terms);
#pragma unroll
                for (int k = 0; k < V; k++) {
                    scale[k] += terms.scale[k];
                    if (ORDER == 1) bias[k] += terms.bias[k], over_channels += terms.bias[k];
                }
            }
            if (ORDER == 1 && p.dnoise) {
                over_channels = sum_over_lanes(over_channels, p.lanes);
                // Always the same thread for a pixel: no barrier.
                if (lane == 0 && in_chunk < kPixelsPerChunk) noise[in_chunk] = (first ? noise[in_chunk] : A(0)) + over_channels;
            }
        }
        const index_t at = (image * p.chunks + chunk) * p.c + first;
        if (by_scale) sum_over_groups<V>(shared, scale, p.lanes, by_scale + at, p.c - first);
        if (ORDER == 1 && p.db) sum_over_groups<V>(shared, bias, p.lanes, p.db + at, p.c - first);
    }
    if (ORDER == 1 && p.dnoise) {
        __syncthreads();
        const index_t pixel = chunk * kPixelsPerChunk + threadIdx.x;
        if (threadIdx.x < kPixelsPerChunk && pixel < p.pixels) p.dnoise[image * p.pixels + pixel] = noise[threadIdx.x];
    }
}

// ---------------------------------------------------------------------------------------------------------------------

// Elements along memory that belong to a vector, of a type and an image.
index_t epilogue_vector_length(const EpilogueShape& s) {
    const index_t along = s.channels_last ? s.c : s.pixels, full = 16 / static_cast<index_t>(element_bytes(s.dtype));
    return along % full == 0 ? full : 1;
}

int epilogue_lanes(const EpilogueShape& s) {
    const index_t wanted = ceil_div(s.channels_last ? s.c : s.pixels, epilogue_vector_length(s));
    int lanes = 1;
    while (lanes < 32 && lanes < wanted) lanes *= 2;
    return lanes;
}

index_t epilogue_chunks_cuda(const EpilogueShape& s) {
    return ceil_div(s.pixels, s.channels_last ? kPixelsPerChunk : epilogue_lanes(s) * epilogue_vector_length(s));
}

template <class T> EpilogueArguments<T> epilogue_arguments(const EpilogueShape& s) {
    using A = Compute<T>;
    EpilogueArguments<T> a{};
    a.d = static_cast<const A*>(s.d);
    a.noise = static_cast<const A*>(s.noise);
    a.b = static_cast<const A*>(s.b);
    a.c = s.c;
    a.pixels = s.pixels;
    a.noise_image = s.noise_per_image ? s.pixels : 0;
    a.chunks = epilogue_chunks_cuda(s);
    a.lanes = epilogue_lanes(s);
    a.chunk_pixels = s.channels_last ? kPixelsPerChunk : static_cast<int>(a.lanes * epilogue_vector_length(s));
    a.gain = static_cast<A>(s.gain);
    a.below = static_cast<A>(s.leaky ? s.gain * s.alpha : s.gain);
    a.gain_inverse = 1 / a.gain;
    a.below_inverse = a.below == 0 ? A(0) : 1 / a.below;  // where it is 0, nothing depends on x
    a.clamp = static_cast<A>(s.clamp);
    a.y_is_x = s.y_is_x;
    return a;
}

// Call f with the element type and the length of the vectors: full ones where shape and addresses allow.
template <class F> int epilogue_dispatch(const EpilogueShape& s, std::initializer_list<const void*> pointers, F f) {
    bool vectors = epilogue_vector_length(s) > 1;
    for (const void* p : pointers) vectors = vectors && aligned(p, 16);
    for (const void* p : {s.d, s.noise, s.b}) vectors = vectors && aligned(p, 16);
    return dispatch(s.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        if (vectors) return f(type, std::integral_constant<int, kVector<T>>());
        return f(type, std::integral_constant<int, 1>());
    });
}

template <int ORDER, class T, int V> int launch_epilogue_order(const EpilogueShape& s, const EpilogueArguments<T>& a, void* stream) {
    const index_t blocks = s.n * a.chunks;
    if (blocks >= kIndexLimit) return cudaErrorInvalidValue;
    if (s.channels_last) {
        LAUNCH((modulated_epilogue_channels_last_kernel<T, V, ORDER>), dim3(blocks), dim3(kEpilogueThreads), stream, a);
    } else {
        LAUNCH((modulated_epilogue_planar_kernel<T, V, ORDER>), dim3(blocks), dim3(kEpilogueThreads), stream, a);
    }
    return cudaGetLastError();
}

#ifndef STYLEGAN_LAUNCH_LIMIT  // elements; a test sets it low, to see small tensors cut into parts
#define STYLEGAN_LAUNCH_LIMIT (kIndexLimit - 16 * kEpilogueThreads)
#endif

int modulated_epilogue_cuda(const EpilogueForward& p, void* stream) {
    const EpilogueShape& s = p.s;
    if (s.n * s.c * s.pixels == 0) return cudaSuccess;
    // The kernel counts in 32 bits: as many images at a time as that allows.
    const index_t image = s.c * s.pixels, at_once = STYLEGAN_LAUNCH_LIMIT / image;
    if (at_once == 0) return cudaErrorInvalidValue;
    return epilogue_dispatch(s, {p.x, p.y}, [&](auto* type, auto length) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int V = decltype(length)::value;
        for (index_t n = 0; n < s.n; n += at_once) {
            EpilogueArguments<T> a = epilogue_arguments<T>(s);
            a.x = static_cast<const T*>(p.x) + n * image;
            a.y_out = static_cast<T*>(p.y) + n * image;
            if (a.d) a.d += n * s.c;
            if (a.noise) a.noise += n * a.noise_image;
            a.numel = static_cast<uint32_t>((s.n - n < at_once ? s.n - n : at_once) * image);
            a.channels = Divider(s.c);
            a.pixels_of_image = Divider(s.pixels);
            const dim3 grid(ceil_div(a.numel / V, kEpilogueThreads));
            if (s.channels_last) {
                LAUNCH((modulated_epilogue_kernel<T, V, false>), grid, dim3(kEpilogueThreads), stream, a);
            } else {
                LAUNCH((modulated_epilogue_kernel<T, V, true>), grid, dim3(kEpilogueThreads), stream, a);
            }
            if (const int error = cudaGetLastError()) return error;
        }
        return static_cast<int>(cudaSuccess);
    });
}

int modulated_epilogue_grad_cuda(const EpilogueGrad& p, void* stream) {
    if (p.s.n * p.s.c * p.s.pixels == 0) return cudaSuccess;
    return epilogue_dispatch(p.s, {p.dy, p.y, p.dlink, p.dx, p.product}, [&](auto* type, auto length) {
        using T = std::remove_pointer_t<decltype(type)>;
        using A = Compute<T>;
        EpilogueArguments<T> a = epilogue_arguments<T>(p.s);
        a.dy = static_cast<const T*>(p.dy);
        a.y = static_cast<const T*>(p.y);
        a.dlink = static_cast<const T*>(p.dlink);
        a.dx = static_cast<T*>(p.dx);
        a.product = static_cast<T*>(p.product);
        a.dd = static_cast<A*>(p.dd);
        a.dnoise = static_cast<A*>(p.dnoise);
        a.db = static_cast<A*>(p.db);
        return launch_epilogue_order<1, T, decltype(length)::value>(p.s, a, stream);
    });
}

int modulated_epilogue_grad2_cuda(const EpilogueGrad2& p, void* stream) {
    if (p.s.n * p.s.c * p.s.pixels == 0) return cudaSuccess;
    return epilogue_dispatch(p.s, {p.dy, p.y, p.ddx, p.ddd, p.ddnoise, p.ddb, p.d_dy, p.d_x}, [&](auto* type, auto length) {
        using T = std::remove_pointer_t<decltype(type)>;
        using A = Compute<T>;
        EpilogueArguments<T> a = epilogue_arguments<T>(p.s);
        a.dy = static_cast<const T*>(p.dy);
        a.y = static_cast<const T*>(p.y);
        a.ddx = static_cast<const T*>(p.ddx);
        a.ddd = static_cast<const A*>(p.ddd);
        a.ddnoise = static_cast<const A*>(p.ddnoise);
        a.ddb = static_cast<const A*>(p.ddb);
        a.d_dy = static_cast<T*>(p.d_dy);
        a.d_x = static_cast<T*>(p.d_x);
        a.d_d = static_cast<A*>(p.d_d);
        return launch_epilogue_order<2, T, decltype(length)::value>(p.s, a, stream);
    });
}

}  // namespace stylegan
