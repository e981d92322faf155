// stylegan::adam_, lerp_ and square_sum (stylegan/ops/update.py) on the CPU: one parallel loop over all tensors of a list.
#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numeric>
#include <vector>

#include "cpu_dispatch.h"
#include "update.h"

namespace stylegan {
namespace {

using at::Tensor;
using at::TensorList;

constexpr int64_t kGrain = 1 << 15;  // floats of a piece, which is worth a thread

// A part of a tensor of a list; `start` is the number of floats of the list before it.
struct Piece {
    size_t tensor;
    int64_t begin, count, start;
};

// Call body(tensor, begin, count, sum) for pieces that make up all tensors, and return the sum of the sums. Neither the pieces
// nor the order in which they are added up depend on the number of threads.
template <class Body>
double over_pieces(TensorList tensors, const Body& body) {
    std::vector<Piece> pieces;
    int64_t all = 0;
    for (size_t i = 0; i < tensors.size(); i++)
        for (int64_t begin = 0, left = tensors[i].numel(); left > 0; begin += kGrain, left -= kGrain) {
            pieces.push_back({i, begin, std::min(left, kGrain), all});
            all += pieces.back().count;
        }
    std::vector<double> sums(pieces.size());
    at::parallel_for(0, all, kGrain, [&](int64_t first, int64_t last) {  // a thread takes the pieces that start in its share
        auto before = [](const Piece& piece, int64_t start) { return piece.start < start; };
        for (auto p = std::lower_bound(pieces.begin(), pieces.end(), first, before); p != pieces.end() && p->start < last; ++p)
            body(p->tensor, p->begin, p->count, sums[p - pieces.begin()]);
    });
    return std::accumulate(sums.begin(), sums.end(), 0.0);
}

Tensor scalar(double value) { return at::empty({}, at::dtype(at::kDouble)).fill_(value); }

bool all_float(TensorList tensors) {
    return std::all_of(tensors.begin(), tensors.end(), [](const Tensor& t) { return t.scalar_type() == at::kFloat; });
}

// Whether both are dense and lie in memory in the same order, so that one can go over them side by side.
bool side_by_side(const Tensor& a, const Tensor& b) {
    return a.is_non_overlapping_and_dense() && a.sizes() == b.sizes() && a.strides() == b.strides();
}

Tensor square_sum(TensorList tensors) {
    std::vector<Tensor> dense;
    for (const Tensor& t : tensors) {
        const Tensor values = t.is_non_overlapping_and_dense() ? t : t.contiguous();
        dense.push_back(values.to(at::kFloat));
    }
    return scalar(over_pieces(dense, [&](size_t i, int64_t begin, int64_t count, double& sum) {
        STYLEGAN_RUN(square_sum, dense[i].const_data_ptr<float>() + begin, count, &sum);
    }));
}

// Whether the lists of adam_ go together: looked at here, since in Python it takes as long as the step of a small network.
void check(TensorList params, TensorList steps, std::initializer_list<TensorList> others) {
    for (const TensorList& list : others) {
        TORCH_CHECK_VALUE(list.size() == params.size() && steps.size() == params.size(), "adam_ needs lists of one length, got ",
                          params.size(), ", ", list.size(), " and ", steps.size());
        for (size_t i = 0; i < params.size(); i++)
            TORCH_CHECK_VALUE(side_by_side(params[i], list[i]) && params[i].dtype() == list[i].dtype(),
                              "adam_ needs lists of alike tensors, but number ", i, " is ", params[i].sizes(), " with strides ",
                              params[i].strides(), ", ", params[i].dtype(), " in one and ", list[i].sizes(), ", ",
                              list[i].strides(), ", ", list[i].dtype(), " in another");
    }
    for (const Tensor& step : steps)
        TORCH_CHECK_VALUE(step.scalar_type() == at::kFloat && step.numel() == 1, "adam_ counts steps in float32 scalars");
}

// Types other than float32: torch's step, after a look at the gradients.
Tensor adam_of_any_type(TensorList params, TensorList grads, TensorList firsts, TensorList seconds, TensorList steps,
                        double lr, double beta1, double beta2, double eps) {
    const Tensor sum = square_sum(grads);
    std::vector<Tensor> finite = grads.vec();
    if (!std::isfinite(*sum.const_data_ptr<double>()))
        for (Tensor& grad : finite) grad = grad.nan_to_num(0, 1e5, -1e5);
    if (firsts.empty()) firsts = finite;
    at::_foreach_add_(steps, 1);
    at::_fused_adam_(params, finite, firsts, seconds, {}, steps, lr, beta1, beta2, 0, eps, false, false);
    return sum;
}

Tensor adam_(TensorList params, TensorList grads, TensorList firsts, TensorList seconds, TensorList steps, double lr,
             double beta1, double beta2, double eps) {
    TORCH_CHECK_VALUE(firsts.empty() == (beta1 == 0), "adam_ takes first moments where beta1 is not 0, and only there");
    check(params, steps, {grads, firsts.empty() ? grads : firsts, seconds});
    if (!all_float(params)) return adam_of_any_type(params, grads, firsts, seconds, steps, lr, beta1, beta2, eps);
    std::vector<AdamRun> runs;
    for (size_t i = 0; i < params.size(); i++) {
        float& step = *steps[i].mutable_data_ptr<float>();
        step += 1;
        const double root = std::sqrt(1 - std::pow(beta2, step)), size = lr * root / (1 - std::pow(beta1, step));
        runs.push_back({params[i].mutable_data_ptr<float>(), firsts.empty() ? nullptr : firsts[i].mutable_data_ptr<float>(),
                        seconds[i].mutable_data_ptr<float>(), grads[i].const_data_ptr<float>(), 0, static_cast<float>(beta1),
                        static_cast<float>(beta2), static_cast<float>(1 - beta2), static_cast<float>(size),
                        static_cast<float>(eps * root)});
    }
    return scalar(over_pieces(params, [&](size_t i, int64_t begin, int64_t count, double& sum) {
        AdamRun run = runs[i];
        run.param += begin, run.second += begin, run.grad += begin, run.count = count;
        if (run.first != nullptr) run.first += begin;
        STYLEGAN_RUN(adam, run, &sum);
    }));
}

void lerp_(TensorList averages, TensorList targets, double weight) {
    bool simple = all_float(averages) && all_float(targets);
    for (size_t i = 0; i < averages.size() && simple; i++) simple = side_by_side(averages[i], targets[i]);
    if (!simple) return at::_foreach_lerp_(averages, targets, weight);
    over_pieces(averages, [&](size_t i, int64_t begin, int64_t count, double&) {
        float* average = averages[i].mutable_data_ptr<float>() + begin;
        STYLEGAN_RUN(lerp, average, targets[i].const_data_ptr<float>() + begin, count, static_cast<float>(weight));
    });
}

}  // namespace

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("adam_", adam_);
    m.impl("lerp_", lerp_);
    m.impl("square_sum", square_sum);
}

}  // namespace stylegan
