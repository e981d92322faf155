// The loops of update.h; the compiler turns them into vectors of each instruction set.
#include "cpu.h"
#include "update.h"

STYLEGAN_BEGIN

constexpr int64_t kLine = 16;    // floats of a cache line
constexpr int64_t kAhead = 512;  // floats: so far before its use memory is asked for, which processors do less far by themselves
constexpr int64_t kBlock = 256;  // floats of a gradient that are first summed, then stepped with: by then the nearest cache has them

// body(i, lane) for i below count; the lane is the place of i in its line. The arrays are those that it goes over.
template <class Body, class... Arrays>
STYLEGAN_INLINE void over(int64_t count, const Body& body, Arrays... arrays) {
    int64_t i = 0;
    for (; i + kLine <= count; i += kLine) {
        (__builtin_prefetch(arrays + i + kAhead), ...);
#pragma omp simd
        for (int64_t lane = 0; lane < kLine; lane++) body(i + lane, lane);
    }
    for (int64_t lane = 0; i + lane < count; lane++) body(i + lane, lane);
}

// A fixed number of sums side by side, so that the order does not depend on the width of vectors.
struct SquareSum {
    double lanes[kLine] = {};

    STYLEGAN_INLINE void add(const float* values, int64_t count) {
        over(count, [=](int64_t i, int64_t lane) STYLEGAN_INLINED { lanes[lane] += static_cast<double>(values[i]) * values[i]; }, values);
    }
    STYLEGAN_INLINE double total() const {
        double sum = 0;
        for (int64_t lane = 0; lane < kLine; lane++) sum += lanes[lane];
        return sum;
    }
};

// torch.nan_to_num as the gradients' guard uses it (`clamp_nonfinite_`).
STYLEGAN_INLINE float finite(float g) { return g != g ? 0 : __builtin_isinf(g) ? __builtin_copysignf(1e5f, g) : g; }

STYLEGAN_INLINE int64_t nonfinite(const float* values, int64_t count) {
    int64_t found = 0;
    for (int64_t i = 0; i < count; i++) found += !__builtin_isfinite(values[i]);
    return found;
}

// The way from a to b by the share `weight`, begun at the nearer end as in torch.lerp: exact at the weights 0 and 1.
STYLEGAN_INLINE float between(float a, float b, float weight) {
    const float way = b - a;
    return weight < 0.5f ? a + weight * way : b - way * (1 - weight);
}

template <bool MOMENT>
void step(const AdamRun& run) {
    const AdamRun r = run;
    over(r.count, [=](int64_t i, int64_t) STYLEGAN_INLINED {
        const float g = r.grad[i], v = r.second[i] * r.beta2 + r.rest2 * (g * g);
        const float m = MOMENT ? g + r.beta1 * (r.first[i] - g) : g;
        if (MOMENT) r.first[i] = m;
        r.second[i] = v;
        r.param[i] -= r.step_size * (m / (__builtin_sqrtf(v) + r.eps_root));
    }, r.grad, r.second, r.param, MOMENT ? r.first : r.param);
}

STYLEGAN_EXPORT

void adam(AdamRun run, Seen* seen) {
    const bool moment = run.first != nullptr;
    const auto stepped = moment ? step<true> : step<false>;
    SquareSum squares;
    float clean[kBlock];
    for (int64_t left = run.count; left > 0; left -= kBlock) {
        run.count = smaller(left, kBlock);
        const float* grad = run.grad;
        squares.add(grad, run.count);
        if (!__builtin_isfinite(squares.total())) {
            seen->nonfinite += nonfinite(grad, run.count);
            for (int64_t i = 0; i < run.count; i++) clean[i] = finite(grad[i]);
            run.grad = clean;
        }
        stepped(run);
        run.grad = grad + run.count;
        run.param += run.count, run.second += run.count;
        if (moment) run.first += run.count;
    }
    seen->square_sum = squares.total();
}

void lerp(float* average, const float* target, int64_t count, float weight) {
    over(count, [=](int64_t i, int64_t) STYLEGAN_INLINED { average[i] = between(average[i], target[i], weight); }, average, target);
}

void look(const float* values, int64_t count, Seen* seen) {
    SquareSum squares;
    squares.add(values, count);
    seen->square_sum = squares.total();
    if (!__builtin_isfinite(seen->square_sum)) seen->nonfinite = nonfinite(values, count);
}

STYLEGAN_END
