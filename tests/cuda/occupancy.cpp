// Theoretical occupancy by NVIDIA's header, on the host: lines "ARCHITECTURE REGISTERS SHARED_BYTES THREADS" to percent.
#include <cuda_runtime_api.h>
#include <cuda_occupancy.h>
#include <iostream>
#include <map>

namespace {

// Per multiprocessor (CUDA C++ Programming Guide, table "Technical specifications per compute capability").
struct Limits { int threads, shared, shared_of_block; };
const std::map<int, Limits> kLimits = {
    {75, {1024, 65536, 65536}},    {80, {2048, 167936, 166912}}, {86, {1536, 102400, 101376}}, {89, {1536, 102400, 101376}},
    {90, {2048, 233472, 232448}}, {100, {2048, 233472, 232448}}, {120, {1536, 102400, 101376}},
};

}  // namespace

int main() {
  int architecture, registers, shared, threads;
  while (std::cin >> architecture >> registers >> shared >> threads) {
    const Limits limits = kLimits.at(architecture);
    cudaOccDeviceProp device;
    device.computeMajor = architecture / 10;
    device.computeMinor = architecture % 10;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = limits.threads;
    device.regsPerBlock = 65536;
    device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 49152;
    device.sharedMemPerMultiprocessor = limits.shared;
    device.sharedMemPerBlockOptin = limits.shared_of_block;
    device.reservedSharedMemPerBlock = architecture >= 80 ? 1024 : 0;
    device.numSms = 1;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = shared;
    kernel.partitionedGCConfig = PARTITIONED_GC_OFF;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_DEFAULT;
    kernel.maxDynamicSharedSizeBytes = 0;
    kernel.numBlockBarriers = 1;
    cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, 0) != CUDA_OCC_SUCCESS) return 1;
    std::cout << 100.0 * result.activeBlocksPerMultiprocessor * threads / limits.threads << "\n";
  }
}
