// stylegan::bias_act and its gradients on the CPU.
#include <cmath>
#include <type_traits>

#include "cpu.h"
#include "cpu_kernels.h"

STYLEGAN_BEGIN

constexpr double selu_scale = 1.0507009873554805, selu_alpha = 1.6732632423543772;  // Klambauer et al. 2017, section 2

// A smooth activation at t: value, first and second derivative.
template <class A>
STYLEGAN_INLINE void smooth(Activation act, A t, A& value, A& first, A& second) {
    switch (act) {
        case Activation::tanh: {
            value = std::tanh(t), first = 1 - value * value, second = -2 * value * first;
            return;
        }
        case Activation::sigmoid: {
            value = 1 / (1 + std::exp(-t)), first = value * (1 - value), second = first * (1 - 2 * value);
            return;
        }
        case Activation::elu:
        case Activation::selu: {
            const bool selu = act == Activation::selu;
            const A scale = selu ? selu_scale : 1.0, a = selu ? selu_alpha : 1.0;
            const A less = scale * a * std::expm1(t < 0 ? t : A(0));
            value = t < 0 ? less : scale * t;
            first = t < 0 ? less + scale * a : scale;
            second = t < 0 ? less + scale * a : A(0);
            value = t != t ? t : value;
            return;
        }
        case Activation::softplus: {
            const A small = std::exp(t > 0 ? -t : t);
            value = (t > 0 ? t : A(0)) + std::log1p(small);
            first = t > 0 ? 1 / (1 + small) : small / (1 + small), second = first * (1 - first);
            value = t != t ? t : value;
            return;
        }
        default: {  // swish
            const A s = 1 / (1 + std::exp(-t));
            value = t * s, first = s + value * (1 - s), second = s * (1 - s) * (2 + t * (1 - 2 * s));
            return;
        }
    }
}

// A NaN passes through.
template <class A>
STYLEGAN_INLINE A clamped(A v, A clamp) {
    v = v > clamp ? clamp : v;
    return v < -clamp ? -clamp : v;
}

// `length` elements at `i`; they share one bias or, `along`, lie along the channels.
template <class T>
struct Run {
    using A = compute_t<T>;
    const BiasActParams& p;
    index_t i, length;
    const T* b;
    bool along;

    STYLEGAN_INLINE A bias(index_t k) const { return b == nullptr ? A(0) : load(b + (along ? k : 0)); }

    template <class F>
    STYLEGAN_INLINE void each(F function) const {
        T* out = static_cast<T*>(p.out) + i;
        if (along) {
#pragma omp simd
            for (index_t k = 0; k < length; k++) store(out + k, function(k, load(b + k)));
        } else {
            const A bias = b == nullptr ? A(0) : load(b);
#pragma omp simd
            for (index_t k = 0; k < length; k++) store(out + k, function(k, bias));
        }
    }

    STYLEGAN_INLINE const T* at(const void* tensor) const { return static_cast<const T*>(tensor) + i; }
};

template <class T>
STYLEGAN_INLINE void piecewise(const Run<T>& run) {
    using A = compute_t<T>;
    const BiasActParams& p = run.p;
    const bool relu = p.act == Activation::relu;
    const A slope = p.act == Activation::linear ? 1.0 : relu ? 0.0 : p.alpha, gain = p.gain, clamp = p.clamp;
    const A above = gain, below = gain * slope;
    if (p.order == 0) {
        const T* x = run.at(p.x);
        if (relu) {
            run.each([=](index_t k, A b) {
                const A t = load(x + k) + b;
                return clamped(t < 0 ? A(0) : t * gain, clamp);
            });
        } else {
            run.each([=](index_t k, A b) {
                const A t = load(x + k) + b;
                return clamped(t * (t > 0 ? above : below), clamp);
            });
        }
        return;
    }
    const T *dy = run.at(p.dy), *y = run.at(p.y);
    const A sign = gain < 0 ? -1 : 1;  // y has the sign of the activation's argument if the gain is positive
    run.each([=](index_t k, A) {
        const A v = load(y + k), m = sign * v > 0 ? above : below;
        return v >= clamp || v <= -clamp ? A(0) : load(dy + k) * m;
    });
}

template <class T>
STYLEGAN_INLINE void smooth_run(const Run<T>& run) {
    using A = compute_t<T>;
    const BiasActParams& p = run.p;
    const Activation act = p.act;
    const A gain = p.gain, clamp = p.clamp;
    const T* x = run.at(p.x);
    A value, first, second;
    for (index_t k = 0; k < run.length; k++) {
        smooth(act, load(x + k) + run.bias(k), value, first, second);
        value *= gain;
        A v;
        if (p.order == 0) {
            v = clamped(value, clamp);
        } else {
            const bool stopped = value >= clamp || value <= -clamp;
            const A dy = load(run.at(p.dy) + k);
            v = p.order == 1 ? dy * first * gain : load(run.at(p.ddx) + k) * dy * second * gain;
            v = stopped ? A(0) : v;
        }
        store(static_cast<T*>(p.out) + run.i + k, v);
    }
}

STYLEGAN_EXPORT

void bias_act(const BiasActParams& p, index_t begin, index_t end) {
    const bool linear_pieces = p.act <= Activation::lrelu;
    with_type(p.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        const T* b = static_cast<const T*>(p.b);
        for (index_t i = begin; i < end;) {
            const index_t channel = i / p.inner % p.channels;
            const bool along = b != nullptr && p.inner == 1;
            const index_t left = b == nullptr ? end - i : along ? p.channels - channel : p.inner - i % p.inner;
            const Run<T> run{p, i, smaller(left, end - i), b == nullptr ? nullptr : b + channel, along};
            if (linear_pieces) {
                piecewise(run);
            } else {
                smooth_run(run);
            }
            i += run.length;
        }
    });
}

STYLEGAN_END
