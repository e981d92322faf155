// The part of CUDA C++ that our kernels use, for a host compiler: included by csrc/device.cuh where nvcc is not.
#pragma once
#include <dlfcn.h>
#include <math.h>  // with the overloads for float, as in CUDA
#include <cstdint>
#include <cstring>
#include "recording.h"
#include "scheduler.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
using cudaStream_t = void*;
using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0, cudaErrorInvalidValue = 1;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

// binary16 and bfloat16 are storage; conversions round to nearest even.
struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };
struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };

inline float __half2float(__half h) {
  _Float16 v;
  std::memcpy(&v, &h.bits, 2);
  return static_cast<float>(v);
}
inline __half __float2half_rn(float f) {
  const _Float16 v = static_cast<_Float16>(f);
  __half h;
  std::memcpy(&h.bits, &v, 2);
  return h;
}
inline float __bfloat162float(__nv_bfloat16 h) {
  const uint32_t u = static_cast<uint32_t>(h.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  uint32_t u;
  std::memcpy(&u, &f, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}
inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }
inline __half2 __float22half2_rn(float2 f) { return {__float2half_rn(f.x), __float2half_rn(f.y)}; }
inline float2 __bfloat1622float2(__nv_bfloat162 h) { return {__bfloat162float(h.x), __bfloat162float(h.y)}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 f) { return {__float2bfloat16_rn(f.x), __float2bfloat16_rn(f.y)}; }

inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t(a) * b) >> 32); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }

inline float atomicAdd(float* p, float v) {
  uint32_t* word = reinterpret_cast<uint32_t*>(p);
  uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED), sum;
  float f;
  do {
    std::memcpy(&f, &old, 4);
    f += v;
    std::memcpy(&sum, &f, 4);
  } while (!__atomic_compare_exchange_n(word, &old, sum, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  std::memcpy(&f, &old, 4);
  return f;
}

namespace emulation {

// Elements that a launch may have, in place of the 2^31 that no test can afford: $EMULATION_LAUNCH_LIMIT.
inline int64_t launch_limit() {
  const char* text = std::getenv("EMULATION_LAUNCH_LIMIT");
  return text ? std::atoll(text) : int64_t(1) << 30;
}

using ErasedKernel = void (*)(const void* parameters);

// Kernels by mangled name, which is also the name of nvcc's PTX entry.
inline std::map<std::string, ErasedKernel>& kernels() {
  static auto* all = new std::map<std::string, ErasedKernel>;
  return *all;
}

template <auto kernel> struct Entry;
template <class P, void (*kernel)(P)> struct Entry<kernel> {
  static void run(const void* parameters) { kernel(*static_cast<const P*>(parameters)); }
  static std::string name() {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void*>(kernel), &info) || !info.dli_sname) throw Error("a kernel's symbol is hidden");
    return info.dli_sname;
  }
  static inline const bool listed = (kernels()[name()] = &run, true);
};

template <auto kernel, class P> void launch(dim3 grid, dim3 block, size_t dynamic_shared, const P& parameters) {
  (void)Entry<kernel>::listed;
  const std::function<void()> body = [&] { kernel(parameters); };
  auto run = [&] { run_grid(body, grid, block, dynamic_shared); };
  if (!recording_file()) return run();
  record({Entry<kernel>::name(), grid, block, dynamic_shared, &parameters, sizeof(P)}, run);
}

}  // namespace emulation

#define threadIdx (emulation::runtime().current->index)
#define blockIdx (emulation::runtime().block->index)
#define blockDim (emulation::runtime().block->dim)
#define gridDim (emulation::runtime().block->grid)
#define __syncthreads() emulation::wait(emulation::State::at_block_barrier, __LINE__, 0)
#define __syncwarp() emulation::wait(emulation::State::at_warp_barrier, __LINE__, 0xffffffffu)
#define EMULATION_LANE (static_cast<int>(emulation::runtime().current->linear & 31))
#define __shfl_down_sync(mask, v, d) emulation::shuffle(mask, v, EMULATION_LANE + static_cast<int>(d), __LINE__)
#define __shfl_xor_sync(mask, v, d) emulation::shuffle(mask, v, EMULATION_LANE ^ static_cast<int>(d), __LINE__)

#define __all_sync(mask, v) emulation::all_lanes(mask, v, __LINE__)

#define SHARED_ARRAY(T, name, dims)        \
  static const char name##_key = 0;        \
  using name##_type = T dims;              \
  auto& name = *static_cast<name##_type*>(emulation::runtime().block->shared->array(&name##_key, sizeof(name##_type)))
#define LAUNCH(kernel, grid, block, stream, parameters) \
  ((void)(stream), emulation::launch<kernel>(grid, block, 0, parameters))
