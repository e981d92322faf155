// stylegan::adam_, lerp_ and square_sum (stylegan/ops/update.py) on the CPU: one parallel loop over all tensors of a list.
#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_dispatch.h"
#include "update.h"

namespace stylegan {
namespace {

using at::Tensor;
using at::TensorList;

constexpr int64_t kGrain = 1 << 15;  // floats that are worth a thread

// Call body(tensor, begin, end) for all elements of all tensors; each call's range lies in one tensor.
template <class Body>
void parallel_over(TensorList tensors, const Body& body) {
    std::vector<int64_t> starts = {0};
    for (const Tensor& t : tensors) starts.push_back(starts.back() + t.numel());
    at::parallel_for(0, starts.back(), kGrain, [&](int64_t begin, int64_t end) {
        size_t i = std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin() - 1;
        for (; begin < end; i++) {
            const int64_t stop = std::min(end, starts[i + 1]);
            if (begin < stop) body(i, begin - starts[i], stop - starts[i]);
            begin = std::max(begin, stop);
        }
    });
}

bool all_float(TensorList tensors) {
    return std::all_of(tensors.begin(), tensors.end(), [](const Tensor& t) { return t.scalar_type() == at::kFloat; });
}

// Whether both are dense and lie in memory in the same order, so that one can go over them side by side.
bool side_by_side(const Tensor& a, const Tensor& b) {
    return a.is_non_overlapping_and_dense() && a.sizes() == b.sizes() && a.strides() == b.strides();
}

void adam_(TensorList params, TensorList grads, TensorList firsts, TensorList seconds, TensorList steps,
           TensorList averages, double lr, double beta1, double beta2, double eps, double weight) {
    for (size_t i = 0; i < params.size(); i++)
        for (const Tensor& t : {grads[i], firsts[i], seconds[i], averages.empty() ? grads[i] : averages[i]})
            TORCH_CHECK_VALUE(side_by_side(params[i], t), "adam_: parameter ", i, " ", params[i].sizes(), " with strides ",
                              params[i].strides(), " does not go with ", t.sizes(), ", ", t.strides());
    if (!all_float(params) || !all_float(grads)) {
        at::_foreach_add_(steps, 1);
        at::_fused_adam_(params, grads, firsts, seconds, {}, steps, lr, beta1, beta2, 0, eps, false, false);
        if (!averages.empty()) at::_foreach_lerp_(averages, params, weight);
        return;
    }
    std::vector<AdamRun> runs;
    for (size_t i = 0; i < params.size(); i++) {
        float& step = *steps[i].mutable_data_ptr<float>();
        step += 1;
        const double root = std::sqrt(1 - std::pow(beta2, step)), size = lr * root / (1 - std::pow(beta1, step));
        runs.push_back({params[i].mutable_data_ptr<float>(), firsts[i].data_ptr<float>(), seconds[i].mutable_data_ptr<float>(),
                        averages.empty() ? nullptr : averages[i].mutable_data_ptr<float>(), grads[i].const_data_ptr<float>(), 0, static_cast<float>(beta1), static_cast<float>(beta2),
                        static_cast<float>(1 - beta2), static_cast<float>(size), static_cast<float>(eps * root),
                        static_cast<float>(weight)});
    }
    parallel_over(params, [&](size_t i, int64_t begin, int64_t end) {
        AdamRun run = runs[i];
        run.param += begin, run.first += begin, run.second += begin, run.grad += begin;
        if (run.average != nullptr) run.average += begin;
        run.count = end - begin;
        STYLEGAN_RUN(adam, run);
    });
}

void lerp_(TensorList averages, TensorList targets, double weight) {
    bool simple = all_float(averages) && all_float(targets);
    for (size_t i = 0; i < averages.size() && simple; i++) simple = side_by_side(averages[i], targets[i]);
    if (!simple) return at::_foreach_lerp_(averages, targets, weight);
    parallel_over(averages, [&](size_t i, int64_t begin, int64_t end) {
        float* average = averages[i].mutable_data_ptr<float>() + begin;
        const float* target = targets[i].const_data_ptr<float>() + begin;
        STYLEGAN_RUN(lerp, average, target, end - begin, static_cast<float>(weight));
    });
}

Tensor square_sum(TensorList tensors) {
    std::vector<Tensor> dense;
    for (const Tensor& t : tensors) {
        const Tensor values = t.is_non_overlapping_and_dense() ? t : t.contiguous();
        dense.push_back(values.to(at::kFloat));
    }
    // The sums of pieces of a fixed size, added up in order: nothing depends on the number of threads.
    std::vector<std::pair<size_t, int64_t>> pieces;
    for (size_t i = 0; i < dense.size(); i++)
        for (int64_t begin = 0; begin < dense[i].numel(); begin += kGrain) pieces.emplace_back(i, begin);
    std::vector<double> sums(pieces.size());
    at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; p++) {
            const auto [i, begin] = pieces[p];
            const float* values = dense[i].const_data_ptr<float>() + begin;
            const int64_t count = std::min(kGrain, dense[i].numel() - begin);
            STYLEGAN_RUN(square_sum, values, count, &sums[p]);
        }
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return at::empty({}, at::dtype(at::kDouble)).fill_(total);
}

}  // namespace

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("adam_", adam_);
    m.impl("lerp_", lerp_);
    m.impl("square_sum", square_sum);
}

}  // namespace stylegan
