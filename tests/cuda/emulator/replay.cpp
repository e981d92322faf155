// Runs recorded launches again (see recording.h) and compares what the buffers hold afterwards, byte by byte.
// Built plain or with sanitizers, together with the kernels: replay FILE. Exit code 1: a difference; 3: an emulator error.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include "cuda_emulation.h"

namespace {

struct Buffer { size_t offset, allocation, inner, bytes; std::string before, after; };

std::string read_bytes(std::istream& in, size_t n) {
  std::string bytes(n, '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(n));
  return bytes;
}

// Allocations of exactly the recorded size, so that ASan sees the first byte past the end.
class Memory {
 public:
  explicit Memory(const std::vector<Buffer>& buffers) {
    for (const Buffer& b : buffers) {
      if (b.allocation < blocks_.size()) continue;
      void* p = ::operator new(b.bytes, std::align_val_t(64));
      std::memcpy(p, b.before.data(), b.bytes);
      blocks_.push_back(static_cast<char*>(p));
    }
  }
  ~Memory() { for (char* p : blocks_) ::operator delete(p, std::align_val_t(64)); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* block(size_t i) const { return blocks_[i]; }

 private:
  std::vector<char*> blocks_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::cerr << "usage: replay FILE\n", 2;
  std::ifstream in(argv[1], std::ios::binary);
  std::string line;
  size_t launches = 0, different = 0;
  while (std::getline(in, line)) {
    std::istringstream head(line);
    std::string word, name;
    dim3 grid, block;
    size_t dynamic_shared, parameter_bytes, count;
    head >> word >> name >> grid.x >> grid.y >> grid.z >> block.x >> block.y >> block.z >> dynamic_shared >> parameter_bytes >> count;
    // Over-aligned: the parameters may hold 16-byte types.
    std::vector<std::max_align_t> parameters(parameter_bytes / sizeof(std::max_align_t) + 1);
    std::memcpy(parameters.data(), read_bytes(in, parameter_bytes).data(), parameter_bytes);
    std::vector<Buffer> buffers(count);
    for (Buffer& b : buffers) {
      std::getline(in, line);
      std::istringstream(line) >> word >> b.offset >> b.allocation >> b.inner >> b.bytes;
      b.before = read_bytes(in, b.bytes);
      b.after = read_bytes(in, b.bytes);
    }
    Memory memory(buffers);
    for (const Buffer& b : buffers) {
      char* address = memory.block(b.allocation) + b.inner;
      std::memcpy(reinterpret_cast<char*>(parameters.data()) + b.offset, &address, sizeof address);
    }
    auto kernel = emulation::kernels().find(name);
    if (kernel == emulation::kernels().end()) return std::cerr << "unknown kernel " << name << "\n", 2;
    try {
      emulation::run_grid([&] { kernel->second(parameters.data()); }, grid, block, dynamic_shared);
    } catch (const std::exception& error) {
      std::cerr << "EMULATOR: " << error.what() << " in " << name << "\n";
      return 3;
    }
    launches++;
    for (const Buffer& b : buffers)
      if (std::memcmp(memory.block(b.allocation), b.after.data(), b.bytes) != 0) {
        different++;
        std::cerr << "MISMATCH: launch " << launches << " of " << name << "\n";
      }
  }
  std::cout << launches << " launches, " << different << " buffers differ\n";
  return different ? 1 : 0;
}
