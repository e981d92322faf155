// stylegan::adam_, lerp_ and square_sum (stylegan/ops/update.py) on runs of floats that lie one behind the other.
#pragma once
#include <cstdint>

namespace stylegan {

// Adam (Kingma and Ba 2015, algorithm 1), with the bias corrections of step t taken out of the loop (section 2, end):
//   root = sqrt(1 - beta2^t), step_size = lr root / (1 - beta1^t), eps_root = eps root.
struct AdamRun {
    float *param, *first, *second;  // parameter, first and second moment; first is null where beta1 = 0: it is the gradient
    const float* grad;              // what is not finite in it is stepped with as 0 or +-1e5
    int64_t count;
    float beta1, beta2, rest2, step_size, eps_root;  // rest2 = 1 - beta2, rounded from double
};

#define STYLEGAN_DECLARE_UPDATES(isa)                                                          \
    namespace isa {                                                                            \
    void adam(AdamRun, double* square_sum); /* of the gradient as it came */                   \
    void lerp(float* average, const float* target, int64_t count, float weight);               \
    void square_sum(const float* values, int64_t count, double* sum);                           \
    }

STYLEGAN_DECLARE_UPDATES(plain)
STYLEGAN_DECLARE_UPDATES(avx2)
STYLEGAN_DECLARE_UPDATES(avx512)

}  // namespace stylegan
