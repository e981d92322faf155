// stylegan::normal and uniform (stylegan/ops/normal.py) on the CPU.
#include <ATen/Parallel.h>

#include "bind.h"
#include "cpu_dispatch.h"
#include "normal.h"

namespace stylegan {
namespace {

at::Tensor drawn(int64_t key, const at::Tensor& indices, int64_t size, bool normal) {
    TORCH_CHECK_VALUE(indices.dim() == 1 && indices.scalar_type() == at::kLong && indices.is_cpu() && size >= 0,
        "expected indices int64 [n] and a size of 0 or more, got ", indices.scalar_type(), " ", indices.sizes(), " and ", size);
    const at::Tensor rows = indices.contiguous(), out = at::empty({rows.numel(), size}, rows.options().dtype(at::kFloat));
    const Draws draws{static_cast<uint64_t>(key), rows.const_data_ptr<int64_t>(), rows.numel(), size, (size + 3) / 4, out.mutable_data_ptr<float>()};
    const index_t tiles = draws.n * ((draws.blocks + kTileBlocks - 1) / kTileBlocks);
    at::parallel_for(0, tiles, grain / (4 * kTileBlocks), [&](int64_t begin, int64_t end) { STYLEGAN_RUN(draw, draws, normal, begin, end) });
    return out;
}

at::Tensor normal(int64_t key, const at::Tensor& indices, int64_t size) { return drawn(key, indices, size, true); }
at::Tensor uniform(int64_t key, const at::Tensor& indices, int64_t size) { return drawn(key, indices, size, false); }

}  // namespace
}  // namespace stylegan

TORCH_LIBRARY_IMPL(stylegan, CPU, m) {
    m.impl("normal", stylegan::normal);
    m.impl("uniform", stylegan::uniform);
}
