// stylegan::bias_act, bias_act_grad and bias_act_grad2 (stylegan/ops/bias_act.py): one pass over memory each.
#pragma once
#include "dtype.h"

namespace stylegan {

// The order is that of ACTIVATIONS in bias_act.py.
enum class Activation : int32_t { linear = 0, relu, lrelu, tanh, sigmoid, elu, selu, softplus, swish };

// All tensors are dense and lie in memory in the same order, whichever it is. Element i of that order belongs to entry
// (i / inner) % channels of the bias: for a bias along C, inner is H * W in a contiguous tensor and 1 in a channels_last one.
struct BiasActParams {
    const void* x;    // order 0, and the smooth activations' argument (ref) in orders 1 and 2; else null
    const void* y;    // order 1 of a piecewise linear activation: the result of order 0 (ref); else null
    const void* dy;   // orders 1 and 2
    const void* ddx;  // order 2
    const void* b;    // [channels] of the same type as x, or null
    void* out;        // order 0: y; 1: dx = dy * y'; 2: ddx * dy * y''
    index_t numel, channels, inner;
    int32_t order;
    Dtype dtype;
    Activation act;
    double alpha, gain, clamp;  // clamp is infinity for none
};

}  // namespace stylegan
