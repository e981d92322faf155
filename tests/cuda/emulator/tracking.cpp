// Lets Python start and end a recording, and hands out memory whose ends the recording knows.
#include <c10/core/CPUAllocator.h>
#include <cstdlib>
#include "cuda_emulation.h"

namespace {

// Exactly as many bytes as asked for, filled with NaN: what a kernel does not write is seen in its result.
struct TrackingAllocator final : c10::Allocator {
  static void release(void* p) {
    emulation::allocations().remove(p);
    std::free(p);
  }
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, c10::Device(c10::DeviceType::CPU)};
    void* p = nullptr;
    if (posix_memalign(&p, 64, bytes) != 0) throw std::bad_alloc();
    std::memset(p, 0xff, bytes);
    emulation::allocations().add(p, bytes);
    return {p, p, &release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};

}  // namespace

// Takes the place of torch's CPU allocator for the rest of the process.
extern "C" void emulation_track_allocations() {
  static TrackingAllocator allocator;
  c10::SetCPUAllocator(&allocator, 200);
}

// Record to `path` from here on; null ends the recording. Returns whether the file could be opened.
extern "C" bool emulation_record(const char* path) {
  std::FILE*& file = emulation::recording_file();
  if (file) std::fclose(file);
  file = path ? std::fopen(path, "wb") : nullptr;
  return !path || file;
}
