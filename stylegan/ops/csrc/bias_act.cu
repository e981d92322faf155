// bias_act and its two gradients: 16 bytes per thread and tensor where shape and addresses allow, else one element.
#include "bias_act.h"
#include "cuda_ops.h"
#include "device.cuh"

namespace stylegan {

constexpr int kBiasActThreads = 256;

template <class T> struct BiasActArguments {
    const T *x, *y, *dy, *ddx, *b;
    T* out;
    uint32_t numel;
    Divider channels, inner;
    Activation act;
    Compute<T> alpha, gain, clamp;
};

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
__device__ __forceinline__ void bias_act_vector(const BiasActArguments<T>& p, unsigned i, const Compute<T> (&b)[V]) {
    using A = Compute<T>;
    constexpr bool piecewise = act == Activation::linear || act == Activation::relu || act == Activation::lrelu;
    A ref[V], dy[V], ddx[V], out[V];
    load<V>((ORDER == 1 && piecewise ? p.y : p.x) + i, ref);
    if constexpr (ORDER >= 1) load<V>(p.dy + i, dy);
    if constexpr (ORDER == 2) load<V>(p.ddx + i, ddx);
    const A below = act == Activation::lrelu ? p.alpha * p.gain : A(0);  // factor where the argument is negative
#pragma unroll
    for (int k = 0; k < V; k++) {
        if constexpr (ORDER == 0 && piecewise) {
            const A t = ref[k] + b[k];
            if constexpr (act == Activation::linear) out[k] = t * p.gain;
            if constexpr (act == Activation::relu) out[k] = t < 0 ? A(0) : t * p.gain;
            if constexpr (act == Activation::lrelu) out[k] = t * (t < 0 ? below : p.gain);
            out[k] = clamped(out[k], p.clamp);
        } else if constexpr (piecewise) {
            // The result has the sign of the activation's argument if the gain is positive.
            const A signed_ref = p.gain > 0 ? ref[k] : -ref[k];
            const A slope = act == Activation::linear || signed_ref > 0 ? p.gain : below;
            out[k] = fabs(ref[k]) >= p.clamp ? A(0) : dy[k] * slope;
        } else {
            const Derivatives<A> d = smooth<act>(ref[k] + b[k]);
            if constexpr (ORDER == 0) out[k] = clamped(d.value * p.gain, p.clamp);
            if constexpr (ORDER == 1) out[k] = dy[k] * p.gain * d.first;
            if constexpr (ORDER == 2) out[k] = ddx[k] * dy[k] * p.gain * d.second;
            if (ORDER > 0 && fabs(d.value * p.gain) >= p.clamp) out[k] = 0;
        }
    }
    store<V>(p.out + i, out);
}

template <class T, int ORDER, int V>
__global__ void __launch_bounds__(kBiasActThreads) bias_act_kernel(const BiasActArguments<T> p) {
    const unsigned i = (blockIdx.x * kBiasActThreads + threadIdx.x) * V;
    if (i >= p.numel) return;
    Compute<T> b[V] = {};
    if (p.b) {
        const unsigned channel = p.channels.remainder(p.inner.quotient(i));
        if (V > 1 && p.inner.divisor == 1) {
            load<V>(p.b + channel, b);
        } else {  // all elements of the vector lie in one channel
            b[0] = Number<T>::widen(p.b[channel]);
#pragma unroll
            for (int k = 1; k < V; k++) b[k] = b[0];
        }
    }
    if constexpr (ORDER <= 1) {
        switch (p.act) {
            case Activation::linear: return bias_act_vector<Activation::linear, T, ORDER, V>(p, i, b);
            case Activation::relu: return bias_act_vector<Activation::relu, T, ORDER, V>(p, i, b);
            case Activation::lrelu: return bias_act_vector<Activation::lrelu, T, ORDER, V>(p, i, b);
            default: break;
        }
    }
    switch (p.act) {
        case Activation::tanh: return bias_act_vector<Activation::tanh, T, ORDER, V>(p, i, b);
        case Activation::sigmoid: return bias_act_vector<Activation::sigmoid, T, ORDER, V>(p, i, b);
        case Activation::elu: return bias_act_vector<Activation::elu, T, ORDER, V>(p, i, b);
        case Activation::selu: return bias_act_vector<Activation::selu, T, ORDER, V>(p, i, b);
        case Activation::softplus: return bias_act_vector<Activation::softplus, T, ORDER, V>(p, i, b);
        case Activation::swish: return bias_act_vector<Activation::swish, T, ORDER, V>(p, i, b);
        default: break;
    }
}

template <class T, int ORDER> int launch_bias_act(const BiasActParams& p, void* stream) {
    constexpr int V = kVector<T>;
    const auto typed = [](const void* q) { return static_cast<const T*>(q); };
    const auto number = [](double v) { return static_cast<Compute<T>>(v); };
    const BiasActArguments<T> a{typed(p.x), typed(p.y), typed(p.dy), typed(p.ddx), typed(p.b), static_cast<T*>(p.out),
                                static_cast<uint32_t>(p.numel), Divider(p.channels), Divider(p.inner), p.act,
                                number(p.alpha), number(p.gain), number(p.clamp)};
    const bool fits = !p.b || p.inner % V == 0 || (p.inner == 1 && p.channels % V == 0 && aligned(p.b, 16));
    bool vectors = fits && p.numel % V == 0;
    for (const void* q : {p.x, p.y, p.dy, p.ddx, static_cast<const void*>(p.out)}) vectors = vectors && aligned(q, 16);
    if (vectors) {
        LAUNCH((bias_act_kernel<T, ORDER, V>), dim3(ceil_div(p.numel / V, kBiasActThreads)), dim3(kBiasActThreads), stream, a);
    } else {
        LAUNCH((bias_act_kernel<T, ORDER, 1>), dim3(ceil_div(p.numel, kBiasActThreads)), dim3(kBiasActThreads), stream, a);
    }
    return cudaGetLastError();
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
