// What the bindings of stylegan::adam_ and lerp_ (stylegan/ops/update.py) share: whether tensors go together.
#pragma once
#include <algorithm>
#include <initializer_list>

#include "bind.h"

namespace stylegan {

inline bool all_of_type(at::TensorList tensors, at::ScalarType type) {
    return std::all_of(tensors.begin(), tensors.end(), [=](const at::Tensor& t) { return t.scalar_type() == type; });
}

// Whether both are dense and lie in memory in the same order, so that one can go over them side by side.
inline bool side_by_side(const at::Tensor& a, const at::Tensor& b) {
    return a.is_non_overlapping_and_dense() && a.sizes() == b.sizes() && a.strides() == b.strides();
}

inline bool alike(const at::Tensor& a, const at::Tensor& b) {
    return side_by_side(a, b) && a.dtype() == b.dtype() && a.device() == b.device();
}

// The arguments of adam_ are looked at here, since in Python it takes as long as the step of a small network. No list is empty
// but that of the first moments.
inline void check_adam(at::TensorList params, at::TensorList grads, at::TensorList firsts, at::TensorList seconds,
                       at::TensorList steps, const at::Tensor& rates, at::TensorList nonfinite) {
    const size_t n = params.size();
    const at::Device device = params[0].device();
    for (const at::TensorList& list : {grads, firsts.empty() ? grads : firsts, seconds}) {
        TORCH_CHECK_VALUE(list.size() == n && steps.size() == n && nonfinite.size() == n, "adam_ needs lists of one length, got ",
                          n, ", ", list.size(), ", ", steps.size(), " and ", nonfinite.size());
        for (size_t i = 0; i < n; i++)
            TORCH_CHECK_VALUE(alike(params[i], list[i]) && params[i].device() == device,
                              "adam_ needs lists of alike tensors, but number ", i, " is ", params[i].sizes(), " with strides ",
                              params[i].strides(), ", ", params[i].dtype(), " on ", params[i].device(), " in one and ",
                              list[i].sizes(), ", ", list[i].strides(), ", ", list[i].dtype(), " on ", list[i].device(),
                              " in another");
    }
    const auto scalars = [=](at::TensorList tensors, at::ScalarType type) {
        return std::all_of(tensors.begin(), tensors.end(), [=](const at::Tensor& t) {
            return t.scalar_type() == type && t.numel() == 1 && t.device() == device;
        });
    };
    TORCH_CHECK_VALUE(scalars(steps, at::kFloat), "adam_ counts steps in float32 scalars on the device of the parameters");
    TORCH_CHECK_VALUE(scalars(nonfinite, at::kLong), "adam_ counts what is not finite in int64 scalars on the device of the parameters");
    TORCH_CHECK_VALUE(rates.scalar_type() == at::kDouble && rates.is_contiguous() && rates.dim() == 1 && rates.numel() == 4 && rates.device() == device,
                      "adam_ needs its rates as float64 [4] on ", device, ", got ", rates.sizes(), ", ", rates.dtype(), " on ", rates.device());
}

}  // namespace stylegan
