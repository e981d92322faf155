// The loops of update.h; the compiler turns them into vectors of each instruction set.
#include "cpu.h"
#include "update.h"

STYLEGAN_BEGIN

constexpr int64_t kLine = 16;    // floats of a cache line
constexpr int64_t kAhead = 512;  // floats: so far before its use memory is asked for, which processors do less far by themselves

// body(i) for i below count. The arrays are those that it goes over.
template <class Body, class... Arrays>
STYLEGAN_INLINE void over(int64_t count, const Body& body, Arrays... arrays) {
    int64_t i = 0;
    for (; i + kLine <= count; i += kLine) {
        (__builtin_prefetch(arrays + i + kAhead), ...);
#pragma omp simd
        for (int64_t j = i; j < i + kLine; j++) body(j);
    }
    for (; i < count; i++) body(i);
}

// The way from a to b by the share `weight`, begun at the nearer end as in torch.lerp: exact at the weights 0 and 1.
STYLEGAN_INLINE float between(float a, float b, float weight) {
    const float way = b - a;
    return weight < 0.5f ? a + weight * way : b - way * (1 - weight);
}

template <bool MOMENT, bool AVERAGE>
void step(const AdamRun& run) {
    const AdamRun r = run;
    over(r.count, [=](int64_t i) STYLEGAN_INLINED {
        const float g = r.grad[i], v = r.second[i] * r.beta2 + r.rest2 * (g * g);
        const float m = MOMENT ? g + r.beta1 * (r.first[i] - g) : g, p = r.param[i] - r.step_size * (m / (__builtin_sqrtf(v) + r.eps_root));
        if (MOMENT) r.first[i] = m;
        r.second[i] = v;
        r.param[i] = p;
        if (AVERAGE) r.average[i] = between(r.average[i], p, r.weight);
    }, r.grad, r.second, r.param, MOMENT ? r.first : r.param, AVERAGE ? r.average : r.param);
}

STYLEGAN_EXPORT

void adam(const AdamRun& run) {
    const bool moment = run.beta1 != 0, average = run.average != nullptr;  // style-based GANs are trained with beta1 = 0
    (moment ? average ? step<true, true> : step<true, false> : average ? step<false, true> : step<false, false>)(run);
}

void lerp(float* average, const float* target, int64_t count, float weight) {
    over(count, [=](int64_t i) STYLEGAN_INLINED { average[i] = between(average[i], target[i], weight); }, average, target);
}

void square_sum(const float* values, int64_t count, double* sum) {
    // A fixed number of sums side by side, so that the order does not depend on the width of vectors; over both halves at
    // once, since a processor asks for more memory at a time where it sees two runs.
    constexpr int64_t kSums = 16;
    const int64_t half = count / 2 / kSums * kSums;
    const float* other = values + half;
    double sums[2 * kSums] = {};
    for (int64_t i = 0; i < half; i += kSums) {
        __builtin_prefetch(values + i + kAhead);
        __builtin_prefetch(other + i + kAhead);
        for (int64_t j = 0; j < kSums; j++) {
            const double a = values[i + j], b = other[i + j];
            sums[j] += a * a;
            sums[kSums + j] += b * b;
        }
    }
    double total = 0;
    for (int64_t j = 0; j < 2 * kSums; j++) total += sums[j];
    for (int64_t i = 2 * half; i < count; i++) total += static_cast<double>(values[i]) * values[i];
    *sum = total;
}

STYLEGAN_END
