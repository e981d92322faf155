// stylegan::adam_ and lerp_ (stylegan/ops/update.py).
#pragma once
#include "dtype.h"

namespace stylegan {

// What a pass over a gradient sees of it as it came: the sum of its squares, and how many values are not finite.
struct Seen {
    double square_sum;
    int64_t nonfinite;
};

// On the CPU the kernels go over runs of floats that lie one behind the other.
//
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
    void adam(AdamRun, Seen*);                                                                 \
    void lerp(float* average, const float* target, int64_t count, float weight);               \
    void look(const float* values, int64_t count, Seen*);                                      \
    }

STYLEGAN_DECLARE_UPDATES(plain)
STYLEGAN_DECLARE_UPDATES(avx2)
STYLEGAN_DECLARE_UPDATES(avx512)

// On CUDA they go over whole lists. One tensor of adam_: all dense, in one order, and of one type, f32 or f64. Steps and counts
// are on the device as the rates are: the host reads nothing.
struct AdamTensor {
    void *param, *first, *second;  // first may be null, as above
    const void* grad;
    float* step;
    int64_t *nonfinite, count;  // count: the number of its elements
};

// What follows for one tensor from the number of its steps; see above.
struct AdamCorrection {
    double step_size, eps_root;
};

struct AdamLists {
    const AdamTensor* tensors;  // in memory of the host
    index_t n;
    Dtype dtype;
    bool skip;            // where the square sum is not finite, nothing is stepped
    const double* rates;  // lr, beta1, beta2, eps
    double* square_sum;
    Seen* seen;                   // [adam_blocks_cuda], from kernel to kernel
    AdamCorrection* corrections;  // [n], from kernel to kernel
};

struct LerpTensor {
    void* average;
    const void* target;
    index_t count;
};

}  // namespace stylegan
