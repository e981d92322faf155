// stylegan::adam_ and lerp_ (stylegan/ops/update.py) on the CPU: one parallel loop over all tensors of a list.
#include <ATen/Parallel.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_lerp.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "bind_update.h"
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
    Seen seen{};  // of a gradient
};

// Call body(piece) for pieces that make up all tensors, and return them. They do not depend on the number of threads.
template <class Body>
std::vector<Piece> over_pieces(TensorList tensors, const Body& body) {
    std::vector<Piece> pieces;
    int64_t all = 0;
    for (size_t i = 0; i < tensors.size(); i++)
        for (int64_t begin = 0, left = tensors[i].numel(); left > 0; begin += kGrain, left -= kGrain) {
            pieces.push_back({i, begin, std::min(left, kGrain), all});
            all += pieces.back().count;
        }
    at::parallel_for(0, all, kGrain, [&](int64_t first, int64_t last) {  // a thread takes the pieces that start in its share
        auto before = [](const Piece& piece, int64_t start) { return piece.start < start; };
        for (auto p = std::lower_bound(pieces.begin(), pieces.end(), first, before); p != pieces.end() && p->start < last; ++p)
            body(*p);
    });
    return pieces;
}

Tensor scalar(double value) { return at::empty({}, at::dtype(at::kDouble)).fill_(value); }

bool is_finite(const Tensor& square_sum) { return std::isfinite(*square_sum.const_data_ptr<double>()); }

// The square sum over all pieces, always in one order; counts of what is not finite go to `nonfinite`.
Tensor added_up(const std::vector<Piece>& pieces, TensorList nonfinite) {
    double square_sum = 0;
    for (const Piece& piece : pieces) {
        square_sum += piece.seen.square_sum;
        if (piece.seen.nonfinite) *nonfinite[piece.tensor].mutable_data_ptr<int64_t>() += piece.seen.nonfinite;
    }
    return scalar(square_sum);
}

// Types other than float32: torch's step, after a look at the gradients.
Tensor adam_of_any_type(TensorList params, TensorList grads, TensorList firsts, TensorList seconds, TensorList steps, double lr,
                        double beta1, double beta2, double eps, TensorList nonfinite, bool skip) {
    const Tensor square_sum = at::zeros({}, at::dtype(at::kDouble));
    for (const Tensor& grad : grads) square_sum.add_(grad.to(at::kDouble).square().sum());
    std::vector<Tensor> finite = grads.vec();
    if (!is_finite(square_sum)) {
        for (size_t i = 0; i < grads.size(); i++) nonfinite[i].add_(grads[i].isfinite().logical_not().sum());
        if (skip) return square_sum;
        for (Tensor& grad : finite) grad = grad.nan_to_num(0, 1e5, -1e5);
    }
    if (firsts.empty()) firsts = finite;
    at::_foreach_add_(steps, 1);
    at::_fused_adam_(params, finite, firsts, seconds, {}, steps, lr, beta1, beta2, 0, eps, false, false);
    return square_sum;
}

Tensor adam_(TensorList params, TensorList grads, TensorList firsts, TensorList seconds, TensorList steps, const Tensor& rates,
             TensorList nonfinite, bool skip) {
    check_adam(params, grads, firsts, seconds, steps, rates, nonfinite);
    const double* const rate = rates.const_data_ptr<double>();
    const double lr = rate[0], beta1 = firsts.empty() ? 0 : rate[1], beta2 = rate[2], eps = rate[3];
    if (!all_of_type(params, at::kFloat))
        return adam_of_any_type(params, grads, firsts, seconds, steps, lr, beta1, beta2, eps, nonfinite, skip);
    if (skip) {
        const Tensor square_sum = added_up(over_pieces(grads, [&](Piece& piece) {
            STYLEGAN_RUN(look, grads[piece.tensor].const_data_ptr<float>() + piece.begin, piece.count, &piece.seen);
        }), nonfinite);
        if (!is_finite(square_sum)) return square_sum;
    }
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
    return added_up(over_pieces(params, [&](Piece& piece) {
        AdamRun run = runs[piece.tensor];
        run.param += piece.begin, run.second += piece.begin, run.grad += piece.begin, run.count = piece.count;
        if (run.first != nullptr) run.first += piece.begin;
        STYLEGAN_RUN(adam, run, &piece.seen);
    }), nonfinite);
}

void lerp_(TensorList averages, TensorList targets, const Tensor& weight) {
    const double share = *weight.const_data_ptr<double>();
    bool simple = all_of_type(averages, at::kFloat) && all_of_type(targets, at::kFloat);
    for (size_t i = 0; i < averages.size() && simple; i++) simple = side_by_side(averages[i], targets[i]);
    if (!simple) return at::_foreach_lerp_(averages, targets, share);
    over_pieces(averages, [&](const Piece& piece) {
        float* average = averages[piece.tensor].mutable_data_ptr<float>() + piece.begin;
        STYLEGAN_RUN(lerp, average, targets[piece.tensor].const_data_ptr<float>() + piece.begin, piece.count, static_cast<float>(share));
    });
}

}  // namespace

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("adam_", adam_);
    m.impl("lerp_", lerp_);
}

}  // namespace stylegan
