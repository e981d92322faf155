// bias_act and its two gradients: 16 bytes per thread and tensor at a time where shape and addresses allow, else one element.
//
// A thread takes four vectors that meet the same entries of the bias, so that finding these costs a quarter: one of each
// quarter of a plane of [planes, inner] where the bias is constant along `inner`, else of each quarter of the whole tensor.
#include "bias_act.h"
#include "cuda_ops.h"
#include "device.cuh"

namespace stylegan {

constexpr int kBiasActThreads = 256, kBiasActVectors = 4;

template <class T> struct BiasActArguments {
    const T *x, *y, *dy, *ddx, *b;
    T* out;
    uint32_t threads;
    uint32_t plane, distance, last;  // elements of a plane, from one vector of a thread to the next, and to the fourth
    Divider threads_of_plane, channels;
    bool along;  // the bias runs along memory
    Activation act;
    Compute<T> below, gain, clamp;  // below: factor where a leaky ReLU's argument is negative
};

// The elements of a thread: vectors begin at first + j * distance, for j < 4 and j * distance < left.
struct BiasActPlace { unsigned first, left, channel; };

template <int V, class T> __device__ __forceinline__ BiasActPlace bias_act_place(const BiasActArguments<T>& p, unsigned thread, bool biased) {
    if (!biased) return {thread * V, p.plane - thread * V, 0};
    const unsigned plane = p.threads_of_plane.quotient(thread), within = (thread - plane * p.threads_of_plane.divisor) * V;
    return {plane * p.plane + within, p.plane - within, p.channels.remainder(p.along ? within : plane)};
}

// Calls f(first element, how many vectors): once for all four, or for one after the other where the plane ends before.
template <class T, class F> __device__ __forceinline__ void for_vectors(const BiasActArguments<T>& p, const BiasActPlace& place, F f) {
    if (place.left > p.last) return f(place.first, std::integral_constant<int, kBiasActVectors>());
    for (unsigned j = 0; j < place.left; j += p.distance) f(place.first + j, std::integral_constant<int, 1>());
}

// ---------------------------------------------------------------------------------------------------------------------
// linear, relu and lrelu

template <class T, int V, bool RELU, class Bias>
__device__ __forceinline__ void piecewise_forward(const BiasActArguments<T>& p, const BiasActPlace& place, Bias bias) {
    using A = Compute<T>;
    for_vectors(p, place, [&](unsigned i, auto count) {
        constexpr int N = decltype(count)::value;
        Vector<T, V> x[N];
#pragma unroll
        for (int j = 0; j < N; j++) x[j] = load_raw<V>(p.x + i + j * p.distance);
#pragma unroll
        for (int j = 0; j < N; j++) {
            A v[V];
            unpack(x[j], v);
#pragma unroll
            for (int k = 0; k < V; k++) {
                const A t = v[k] + bias(k);
                v[k] = RELU ? (t < 0 ? A(0) : t * p.gain) : t * (t < 0 ? p.below : p.gain);
            }
            store_clamped<V>(p.out + i + j * p.distance, v, p.clamp);
        }
    });
}

template <class T, int V> __global__ void __launch_bounds__(kBiasActThreads) bias_act_piecewise_kernel(const BiasActArguments<T> p) {
    using A = Compute<T>;
    const unsigned thread = blockIdx.x * kBiasActThreads + threadIdx.x;
    if (thread >= p.threads) return;
    const BiasActPlace place = bias_act_place<V>(p, thread, true);
    if (V > 1 && p.along) {
        A b[V];
        load<V>(p.b + place.channel, b);
        const auto bias = [&](int k) { return b[k]; };
        if (p.act == Activation::relu)
            piecewise_forward<T, V, true>(p, place, bias);
        else
            piecewise_forward<T, V, false>(p, place, bias);
    } else {
        const A b = p.b ? Number<T>::widen(p.b[place.channel]) : A(0);
        const auto bias = [&](int) { return b; };
        if (p.act == Activation::relu)
            piecewise_forward<T, V, true>(p, place, bias);
        else
            piecewise_forward<T, V, false>(p, place, bias);
    }
}

// dx = dy * gain, dy * below or 0. The result y has the sign of the activation's argument if the gain is positive.
template <class T, int V, bool POSITIVE>
__device__ __forceinline__ void piecewise_backward(const BiasActArguments<T>& p, const BiasActPlace& place) {
    using A = Compute<T>;
    for_vectors(p, place, [&](unsigned i, auto count) {
        constexpr int N = decltype(count)::value;
        Vector<T, V> y[N], dy[N];
#pragma unroll
        for (int j = 0; j < N; j++) y[j] = load_raw<V>(p.y + i + j * p.distance), dy[j] = load_raw<V>(p.dy + i + j * p.distance);
#pragma unroll
        for (int j = 0; j < N; j++) {
            A v[V], slope[V];
            slopes<POSITIVE>(y[j], p.gain, p.below, p.clamp, slope);
            unpack(dy[j], v);
#pragma unroll
            for (int k = 0; k < V; k++) v[k] *= slope[k];
            store<V>(p.out + i + j * p.distance, v);
        }
    });
}

template <class T, int V> __global__ void __launch_bounds__(kBiasActThreads) bias_act_piecewise_grad_kernel(const BiasActArguments<T> p) {
    const unsigned thread = blockIdx.x * kBiasActThreads + threadIdx.x;
    if (thread >= p.threads) return;
    const BiasActPlace place = bias_act_place<V>(p, thread, false);
    if (p.gain > 0)
        piecewise_backward<T, V, true>(p, place);
    else
        piecewise_backward<T, V, false>(p, place);
}

// ---------------------------------------------------------------------------------------------------------------------

// A smooth activation at t. What a caller does not use is not computed.
template <class A> struct Derivatives { A value, first, second; };

template <Activation act, class A> __device__ __forceinline__ Derivatives<A> smooth(A t) {
    if constexpr (act == Activation::tanh) {
        const A y = tanh(t), first = 1 - y * y;
        return {y, first, -2 * y * first};
    } else if constexpr (act == Activation::sigmoid) {
        const A y = 1 / (1 + exp(-t)), first = y * (1 - y);
        return {y, first, first * (1 - 2 * y)};
    } else if constexpr (act == Activation::softplus) {  // log(1 + e^t) without overflow
        const A s = 1 / (1 + exp(-t));
        return {(t > 0 ? t : 0) + log1p(exp(-fabs(t))), s, s * (1 - s)};
    } else if constexpr (act == Activation::swish) {
        const A s = 1 / (1 + exp(-t)), y = t * s;
        return {y, s + y * (1 - s), s * (1 - s) * (2 + t * (1 - 2 * s))};
    } else {  // elu, selu (Klambauer et al. 2017, section 2)
        const A scale = act == Activation::selu ? A(1.0507009873554805) : A(1);
        const A below = act == Activation::selu ? A(1.0507009873554805 * 1.6732632423543772) : A(1);
        if (!(t < 0)) return {scale * t, scale, 0};
        const A grown = expm1(t);
        return {below * grown, below * (grown + 1), below * (grown + 1)};
    }
}

// The activation is a compile-time constant here, so that its choice costs once per thread.
template <Activation act, class T, int ORDER, int V>
__device__ __forceinline__ void smooth_vectors(const BiasActArguments<T>& p, const BiasActPlace& place, const Compute<T> (&b)[V]) {
    using A = Compute<T>;
    for (unsigned j = 0; j < place.left && j <= p.last; j += p.distance) {
        const unsigned i = place.first + j;
        A x[V], dy[V], ddx[V], out[V];
        load<V>(p.x + i, x);
        if constexpr (ORDER >= 1) load<V>(p.dy + i, dy);
        if constexpr (ORDER == 2) load<V>(p.ddx + i, ddx);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const Derivatives<A> d = smooth<act>(x[k] + b[k]);
            if constexpr (ORDER == 0) out[k] = clamped(d.value * p.gain, p.clamp);
            if constexpr (ORDER == 1) out[k] = dy[k] * p.gain * d.first;
            if constexpr (ORDER == 2) out[k] = ddx[k] * dy[k] * p.gain * d.second;
            if (ORDER > 0 && fabs(d.value * p.gain) >= p.clamp) out[k] = 0;
        }
        store<V>(p.out + i, out);
    }
}

template <class T, int ORDER, int V>
__global__ void __launch_bounds__(kBiasActThreads) bias_act_smooth_kernel(const BiasActArguments<T> p) {
    const unsigned thread = blockIdx.x * kBiasActThreads + threadIdx.x;
    if (thread >= p.threads) return;
    const BiasActPlace place = bias_act_place<V>(p, thread, true);
    Compute<T> b[V] = {};
    if (p.b) {
        if (V > 1 && p.along) {
            load<V>(p.b + place.channel, b);
        } else {
            b[0] = Number<T>::widen(p.b[place.channel]);
#pragma unroll
            for (int k = 1; k < V; k++) b[k] = b[0];
        }
    }
    switch (p.act) {
        case Activation::tanh: return smooth_vectors<Activation::tanh, T, ORDER, V>(p, place, b);
        case Activation::sigmoid: return smooth_vectors<Activation::sigmoid, T, ORDER, V>(p, place, b);
        case Activation::elu: return smooth_vectors<Activation::elu, T, ORDER, V>(p, place, b);
        case Activation::selu: return smooth_vectors<Activation::selu, T, ORDER, V>(p, place, b);
        case Activation::softplus: return smooth_vectors<Activation::softplus, T, ORDER, V>(p, place, b);
        case Activation::swish: return smooth_vectors<Activation::swish, T, ORDER, V>(p, place, b);
        default: break;
    }
}

// ---------------------------------------------------------------------------------------------------------------------

template <class T, int ORDER, int V> int launch_vectors(const BiasActParams& p, BiasActArguments<T> a, void* stream) {
    // A bias along memory, or none: the tensor is one plane, cut where the channels begin anew.
    a.along = p.inner == 1 && p.channels > 1;
    const bool one = a.along || !p.b;
    const index_t plane = one ? p.numel : p.inner, period = a.along ? p.channels : V;
    const index_t distance = ceil_div(ceil_div(plane, kBiasActVectors), period) * period, threads = p.numel / plane * (distance / V);
    a.plane = static_cast<uint32_t>(plane);
    a.distance = static_cast<uint32_t>(distance);
    a.last = static_cast<uint32_t>((kBiasActVectors - 1) * distance);
    a.threads = static_cast<uint32_t>(threads);
    a.threads_of_plane = Divider(distance / V);
    a.channels = Divider(p.channels);
    const dim3 grid(ceil_div(threads, kBiasActThreads)), block(kBiasActThreads);
    if (p.act > Activation::lrelu) {
        LAUNCH((bias_act_smooth_kernel<T, ORDER, V>), grid, block, stream, a);
    } else if constexpr (ORDER == 0) {
        LAUNCH((bias_act_piecewise_kernel<T, V>), grid, block, stream, a);
    } else if constexpr (ORDER == 1) {
        LAUNCH((bias_act_piecewise_grad_kernel<T, V>), grid, block, stream, a);
    }
    return cudaGetLastError();
}

template <class T, int ORDER> int launch_bias_act(const BiasActParams& p, void* stream) {
    constexpr int V = kVector<T>;
    const auto typed = [](const void* q) { return static_cast<const T*>(q); };
    BiasActArguments<T> a{typed(p.x), typed(p.y), typed(p.dy), typed(p.ddx), typed(p.b), static_cast<T*>(p.out)};
    a.act = p.act;
    a.gain = static_cast<Compute<T>>(p.gain);
    a.below = p.act == Activation::linear ? a.gain : p.act == Activation::lrelu ? static_cast<Compute<T>>(p.alpha) * a.gain : Compute<T>(0);
    a.clamp = static_cast<Compute<T>>(p.clamp);
    const bool fits = !p.b || p.inner % V == 0 || (p.inner == 1 && p.channels % V == 0 && aligned(p.b, 16));
    bool vectors = fits && p.numel % V == 0;
    for (const void* q : {p.x, p.y, p.dy, p.ddx, static_cast<const void*>(p.out)}) vectors = vectors && aligned(q, 16);
    return vectors ? launch_vectors<T, ORDER, V>(p, a, stream) : launch_vectors<T, ORDER, 1>(p, a, stream);
}

// Elements first .. first + numel of p; the bias begins at entry `channel`.
BiasActParams bias_act_part(const BiasActParams& p, index_t first, index_t numel, index_t channel) {
    const index_t size = static_cast<index_t>(element_bytes(p.dtype));
    const auto at = [&](const void* q, index_t i) { return q ? static_cast<const char*>(q) + i * size : nullptr; };
    BiasActParams part = p;
    part.x = at(p.x, first);
    part.y = at(p.y, first);
    part.dy = at(p.dy, first);
    part.ddx = at(p.ddx, first);
    part.b = at(p.b, channel);
    part.out = static_cast<char*>(p.out) + first * size;
    part.numel = numel;
    return part;
}

// Kernels count elements in 32 bits: larger tensors, [outer, channels, inner], are halved until their parts fit.
int bias_act_in_parts(const BiasActParams& p, index_t limit, void* stream) {
    if (p.numel == 0) return cudaSuccess;
    if (p.numel <= limit) {
        return dispatch(p.dtype, [&](auto* type) {
            using T = std::remove_pointer_t<decltype(type)>;
            switch (p.order) {
                case 0: return launch_bias_act<T, 0>(p, stream);
                case 1: return launch_bias_act<T, 1>(p, stream);
                default: return launch_bias_act<T, 2>(p, stream);
            }
        });
    }
    const index_t outer = p.numel / (p.channels * p.inner);
    index_t half;
    BiasActParams a, b;
    if (outer > 1) {
        half = outer / 2 * p.channels * p.inner;
        a = bias_act_part(p, 0, half, 0);
        b = bias_act_part(p, half, p.numel - half, 0);
    } else if (p.channels > 1) {
        half = p.channels / 2 * p.inner;
        a = bias_act_part(p, 0, half, 0);
        b = bias_act_part(p, half, p.numel - half, p.channels / 2);
        a.channels = p.channels / 2;
        b.channels = p.channels - a.channels;
    } else {
        half = (p.inner / 2 + 15) / 16 * 16;  // the second part is aligned like the first
        a = bias_act_part(p, 0, half, 0);
        b = bias_act_part(p, half, p.numel - half, 0);
        a.inner = half;
        b.inner = p.inner - half;
    }
    const int error = bias_act_in_parts(a, limit, stream);
    return error ? error : bias_act_in_parts(b, limit, stream);
}

#ifndef STYLEGAN_LAUNCH_LIMIT  // elements; a test sets it low, to see small tensors cut into parts
#define STYLEGAN_LAUNCH_LIMIT (kIndexLimit - 16 * kBiasActThreads)
#endif

int bias_act_cuda(const BiasActParams& p, void* stream) { return bias_act_in_parts(p, STYLEGAN_LAUNCH_LIMIT, stream); }

}  // namespace stylegan
