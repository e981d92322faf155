// stylegan::normal and uniform (stylegan/ops/normal.py) on CUDA; part of bindings_cuda.cpp.
#include "normal.h"

namespace stylegan {
namespace {

Tensor drawn(int64_t key, const Tensor& indices, int64_t size, bool normal) {
    const c10::cuda::CUDAGuard guard(indices.device());
    const Tensor rows = indices.contiguous(), out = at::empty({rows.numel(), size}, rows.options().dtype(at::kFloat));
    const Draws draws{static_cast<uint64_t>(key), rows.const_data_ptr<int64_t>(), rows.numel(), size, (size + 3) / 4, static_cast<float*>(writable(out))};
    check(normal_cuda(draws, normal, current_stream()), "normal");
    return out;
}

Tensor normal(int64_t key, const Tensor& indices, int64_t size) { return drawn(key, indices, size, true); }
Tensor uniform(int64_t key, const Tensor& indices, int64_t size) { return drawn(key, indices, size, false); }

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(STYLEGAN_NAMESPACE, STYLEGAN_KEY, m) {
    m.impl("normal", stylegan::normal);
    m.impl("uniform", stylegan::uniform);
}
