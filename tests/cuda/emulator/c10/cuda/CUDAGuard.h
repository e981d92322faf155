// Stands in for torch's header where bind_cuda.cpp is built on kernels that run on the CPU.
#pragma once
#include <c10/core/Device.h>
namespace c10::cuda {
struct CUDAGuard {
  explicit CUDAGuard(c10::Device) {}
};
}  // namespace c10::cuda
