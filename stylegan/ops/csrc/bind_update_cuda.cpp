// stylegan::adam_ and lerp_ (stylegan/ops/update.py) on CUDA; part of bindings_cuda.cpp.
#include <vector>

#include "bind_update.h"
#include "update.h"

namespace stylegan {
namespace {

using at::TensorList;

// float32 or float64 where all tensors are of it.
std::optional<Dtype> one_type(TensorList tensors) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble})
        if (all_of_type(tensors, type)) return dtype_of(tensors[0], "an update");
    return std::nullopt;
}

Tensor adam_(TensorList params, TensorList grads, TensorList firsts, TensorList seconds, TensorList steps, const Tensor& rates,
             TensorList nonfinite, bool skip) {
    check_adam(params, grads, firsts, seconds, steps, rates, nonfinite);
    const c10::cuda::CUDAGuard guard(rates.device());
    const std::optional<Dtype> type = one_type(params);
    TORCH_CHECK_VALUE(type, "adam_ on CUDA takes parameters that are all float32 or all float64");
    std::vector<AdamTensor> tensors;
    for (size_t i = 0; i < params.size(); i++)
        tensors.push_back({writable(params[i]), firsts.empty() ? nullptr : writable(firsts[i]), writable(seconds[i]),
                           grads[i].numel() ? grads[i].const_data_ptr() : nullptr, steps[i].mutable_data_ptr<float>(),
                           nonfinite[i].mutable_data_ptr<int64_t>(), params[i].numel()});
    const index_t n = static_cast<index_t>(tensors.size()), blocks = adam_blocks_cuda(tensors.data(), n);
    static_assert(sizeof(Seen) == 16 && sizeof(AdamCorrection) == 16);
    const Tensor square_sum = at::empty({}, rates.options());
    const Tensor seen = at::empty({blocks, 2}, rates.options()), corrections = at::empty({n, 2}, rates.options());
    const AdamLists lists{tensors.data(), n, *type, skip, rates.const_data_ptr<double>(), square_sum.mutable_data_ptr<double>(),
                          static_cast<Seen*>(writable(seen)), static_cast<AdamCorrection*>(writable(corrections))};
    check(adam_cuda(lists, current_stream()), "adam_");
    return square_sum;
}

void lerp_(TensorList averages, TensorList targets, const Tensor& weight) {
    const c10::cuda::CUDAGuard guard(weight.device());
    const std::optional<Dtype> type = one_type(averages);
    std::vector<LerpTensor> tensors;
    bool simple = type.has_value();
    for (size_t i = 0; i < averages.size() && simple; i++) {
        simple = alike(averages[i], targets[i]);
        tensors.push_back({writable(averages[i]), targets[i].numel() ? targets[i].const_data_ptr() : nullptr, averages[i].numel()});
    }
    if (simple) return check(lerp_cuda(tensors.data(), tensors.size(), *type, weight.const_data_ptr<double>(), current_stream()), "lerp_");
    for (size_t i = 0; i < averages.size(); i++) averages[i].lerp_(targets[i], weight.to(averages[i].scalar_type()));
}

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(STYLEGAN_NAMESPACE, STYLEGAN_KEY, m) {
    m.impl("adam_", stylegan::adam_);
    m.impl("lerp_", stylegan::lerp_);
}
