// The loops of update.h; the compiler turns them into vectors of each instruction set.
#include "update.h"

namespace stylegan {
namespace STYLEGAN_ISA {

void adam(const AdamRun& run) {
    float *__restrict__ param = run.param, *__restrict__ first = run.first, *__restrict__ second = run.second;
    const float* __restrict__ grad = run.grad;
    const float beta2 = run.beta2, rest2 = run.rest2, eps = run.eps_root, step = run.step_size;
    if (run.beta1 == 0) {  // as style-based GANs are trained: the first moment is the gradient
        for (int64_t i = 0; i < run.count; i++) {
            const float g = grad[i], v = second[i] * beta2 + rest2 * (g * g);
            second[i] = v;
            param[i] -= step * (g / (__builtin_sqrtf(v) + eps));
        }
        return;
    }
    for (int64_t i = 0; i < run.count; i++) {
        const float g = grad[i], m = g + run.beta1 * (first[i] - g), v = second[i] * beta2 + rest2 * (g * g);
        first[i] = m;
        second[i] = v;
        param[i] -= step * (m / (__builtin_sqrtf(v) + eps));
    }
}

void lerp(float* __restrict__ average, const float* __restrict__ target, int64_t count, float weight) {
    // From the nearer end, as torch.lerp: exact at weights 0 and 1.
    if (weight < 0.5f)
        for (int64_t i = 0; i < count; i++) average[i] += weight * (target[i] - average[i]);
    else
        for (int64_t i = 0; i < count; i++) average[i] = target[i] - (target[i] - average[i]) * (1 - weight);
}

void square_sum(const float* values, int64_t count, double* sum) {
    // A fixed number of sums side by side, so that the order does not depend on the width of vectors.
    constexpr int64_t kSums = 32;
    double sums[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= count; i += kSums)
        for (int64_t j = 0; j < kSums; j++) {
            const double value = values[i + j];
            sums[j] += value * value;
        }
    double total = 0;
    for (int64_t j = 0; j < kSums; j++) total += sums[j];
    for (; i < count; i++) total += static_cast<double>(values[i]) * values[i];
    *sum = total;
}

}  // namespace STYLEGAN_ISA
}  // namespace stylegan
