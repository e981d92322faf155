// Element types that every op supports, and the index type.
#pragma once
#include <cstdint>

namespace stylegan {

// All sizes, strides and positions are 64-bit: tensors may hold more than 2^31 elements.
using index_t = int64_t;

// Half types are computed in float, the others in themselves. Parameters that an op takes "in the compute type"
// are float for f16, bf16 and f32, and double for f64.
enum class Dtype : int32_t { f32 = 0, f64 = 1, f16 = 2, bf16 = 3 };

}  // namespace stylegan
