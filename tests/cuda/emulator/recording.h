// Writing every launch to a file, with what its buffers held before and after.
//
// The file is replayed under sanitizers by replay.cpp and, for the PTX that nvcc made of the same kernel, by the
// interpreter in tests/cuda/ptx. Buffers are found by looking through the kernel's parameters for addresses that the
// tracking allocator handed out. Format, one launch after another:
//
//   launch NAME GRID_X GRID_Y GRID_Z BLOCK_X BLOCK_Y BLOCK_Z DYNAMIC_SHARED PARAMETER_BYTES BUFFERS\n
//   PARAMETER_BYTES bytes
//   then per pointer: buffer OFFSET_IN_PARAMETERS ALLOCATION OFFSET_IN_ALLOCATION BYTES\n, bytes before, bytes after
//
// ALLOCATION numbers the distinct allocations of a launch: two pointers into one have the same number.
#pragma once
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>
#include "scheduler.h"

namespace emulation {

// Live allocations: address -> bytes.
class Allocations {
 public:
  void add(void* p, size_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    live_[reinterpret_cast<uintptr_t>(p)] = bytes;
  }
  void remove(void* p) {
    std::lock_guard<std::mutex> lock(mutex_);
    live_.erase(reinterpret_cast<uintptr_t>(p));
  }
  // The allocation that holds `address`, {0, 0} if none does. An empty tensor may point at the end.
  std::pair<uintptr_t, size_t> find(uintptr_t address) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto next = live_.upper_bound(address);
    if (next == live_.begin()) return {0, 0};
    --next;
    return address < next->first + next->second ? *next : std::pair<const uintptr_t, size_t>{0, 0};
  }

 private:
  std::mutex mutex_;
  std::map<uintptr_t, size_t> live_;
};
inline Allocations& allocations() {
  static Allocations* a = new Allocations;
  return *a;
}

// The file that launches are appended to; null while none are recorded.
inline std::FILE*& recording_file() {
  static std::FILE* file = nullptr;
  return file;
}

struct Launch {
  std::string kernel;
  dim3 grid, block;
  size_t dynamic_shared;
  const void* parameters;
  size_t parameter_bytes;
};

inline void record(const Launch& launch, const std::function<void()>& run) {
  struct Buffer { size_t offset; uintptr_t address, base; size_t bytes; std::string before; };
  std::vector<Buffer> buffers;
  for (size_t offset = 0; offset + 8 <= launch.parameter_bytes; offset += 8) {
    uintptr_t word;
    std::memcpy(&word, static_cast<const char*>(launch.parameters) + offset, 8);
    auto [base, bytes] = allocations().find(word);
    if (base) buffers.push_back({offset, word, base, bytes, std::string(reinterpret_cast<char*>(base), bytes)});
  }
  run();
  std::FILE* out = recording_file();
  std::fprintf(out, "launch %s %u %u %u %u %u %u %zu %zu %zu\n", launch.kernel.c_str(), launch.grid.x, launch.grid.y,
               launch.grid.z, launch.block.x, launch.block.y, launch.block.z, launch.dynamic_shared,
               launch.parameter_bytes, buffers.size());
  std::fwrite(launch.parameters, 1, launch.parameter_bytes, out);
  std::vector<uintptr_t> known;
  for (const Buffer& b : buffers) {
    size_t number = std::find(known.begin(), known.end(), b.base) - known.begin();
    if (number == known.size()) known.push_back(b.base);
    std::fprintf(out, "buffer %zu %zu %zu %zu\n", b.offset, number, size_t(b.address - b.base), b.bytes);
    std::fwrite(b.before.data(), 1, b.bytes, out);
    std::fwrite(reinterpret_cast<const char*>(b.base), 1, b.bytes, out);
  }
  std::fflush(out);
}

}  // namespace emulation
