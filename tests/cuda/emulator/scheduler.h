// Runs the blocks of a grid one after another; within a block every CUDA thread is a fibre.
//
// Environment:
//   EMULATION_ORDER   forward | reverse | random:SEED   order of blocks and of runnable threads
//   EMULATION_POISON  byte in hexadecimal that shared memory holds at the start of a block; ff (default) is NaN
//
// Threads run until they meet a barrier or end. Barriers and the borders of a launch are the only edges of TSan's
// happens-before order: a shuffle orders nothing, and blocks are not ordered with one another.
#pragma once
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>
#include "fibre.h"

struct uint3 { unsigned x, y, z; };
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

namespace emulation {

struct Error : std::runtime_error { using std::runtime_error::runtime_error; };

enum class State { ready, at_block_barrier, at_warp_barrier, at_shuffle, done };

struct Thread : Fibre {
  State state = State::ready;
  uint3 index{};
  unsigned linear = 0;
  int line = 0;           // of the barrier it waits at; negative for the second meeting of a shuffle
  unsigned mask = 0;      // lanes that take part
  uint64_t exchanged = 0;  // value published to the other lanes
};

constexpr size_t kSharedLimit = 48 << 10;  // what every architecture gives without asking

// Shared memory of one block. Every array is an allocation of its own, so that ASan sees its ends.
class SharedMemory {
 public:
  SharedMemory(size_t dynamic_bytes, int poison) : poison_(poison) {
    if (dynamic_bytes) dynamic_ = allocate(dynamic_bytes);
  }
  ~SharedMemory() { for (void* p : owned_) ::operator delete(p, std::align_val_t(16)); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  void* dynamic() const { return dynamic_; }
  size_t bytes() const { return bytes_; }
  void* array(const void* key, size_t bytes) {
    Quiet quiet;
    auto found = arrays_.find(key);
    return found != arrays_.end() ? found->second : arrays_[key] = allocate(bytes);
  }

 private:
  void* allocate(size_t bytes) {
    bytes_ += bytes;
    if (bytes_ > kSharedLimit) throw Error("a block wants more than 48 KB of shared memory");
    void* p = ::operator new(bytes, std::align_val_t(16));
    std::memset(p, poison_, bytes);
    owned_.push_back(p);
    return p;
  }
  int poison_;
  size_t bytes_ = 0;
  void* dynamic_ = nullptr;
  std::map<const void*, void*> arrays_;
  std::vector<void*> owned_;
};

// Addresses that TSan knows barriers by. Two in turn per barrier: what a thread does after phase n must not become
// visible to one that has still to be resumed from phase n.
struct Marks { char block[2], warp[32][2]; };

struct Block {
  dim3 grid, dim;
  uint3 index{};
  std::vector<Thread*> threads;
  SharedMemory* shared = nullptr;
  unsigned phase = 0, warp_phase[32] = {};
  Marks* marks = nullptr;
};

// Blocks take turns at sets of fibres and marks: to TSan, what one fibre does in two blocks, or before and after barriers
// of the same mark, would have an order.
#if defined(__SANITIZE_THREAD__)
constexpr unsigned kPools = 3;
#else
constexpr unsigned kPools = 1;
#endif

struct Runtime {
  std::mutex one_launch;
  Fibre host;
  Thread* current = nullptr;
  Block* block = nullptr;
  const std::function<void()>* body = nullptr;
  std::vector<Thread*> pools[kPools];
  Marks marks[kPools];
  unsigned turn = 0;
  std::exception_ptr error;
  char begin_mark, end_mark;
};
// Never destroyed: kernels may run until the process ends.
inline Runtime& runtime() {
  static Runtime* r = new Runtime;
  return *r;
}

EMULATION_RUNTIME inline void resume(Thread* thread) {
  Runtime& r = runtime();
  r.current = thread;
  switch_fibre(&r.host, thread, &r.host);
}

EMULATION_RUNTIME inline void thread_main() {
  Runtime& r = runtime();
  arrived(&r.host);
  happens_after(&r.begin_mark);
  try { (*r.body)(); } catch (...) { if (!r.error) r.error = std::current_exception(); }
  happens_before(&r.end_mark);
  r.current->state = State::done;
  switch_fibre(r.current, &r.host, &r.host, true);
  std::abort();
}

EMULATION_RUNTIME inline void wait(State state, int line, unsigned mask) {
  Runtime& r = runtime();
  Thread* self = r.current;
  Block* b = r.block;
  unsigned warp = self->linear / 32;
  char* mark = state == State::at_block_barrier  ? &b->marks->block[b->phase & 1]
               : state == State::at_warp_barrier ? &b->marks->warp[warp][b->warp_phase[warp] & 1]
                                                 : nullptr;
  if (mark) happens_before(mark);
  self->state = state;
  self->line = line;
  self->mask = mask;
  switch_fibre(self, &r.host, &r.host);
  if (mark) happens_after(mark);
}

// Give `value` to the other lanes and take that of `source`. Meets twice, so that no lane overwrites its value early.
template <class T> EMULATION_RUNTIME T shuffle(unsigned mask, T value, int source, int line) {
  static_assert(sizeof(T) <= 8);
  Runtime& r = runtime();
  Thread* self = r.current;
  self->exchanged = 0;
  std::memcpy(&self->exchanged, &value, sizeof(T));
  wait(State::at_shuffle, line, mask);
  unsigned lane = (self->linear & ~31u) + static_cast<unsigned>(source);
  if (source >= 0 && source < 32 && lane < r.block->threads.size()) {
    if (!((mask >> source) & 1)) throw Error("shuffle reads a lane outside its mask, line " + std::to_string(line));
    std::memcpy(&value, &r.block->threads[lane]->exchanged, sizeof(T));
  }
  wait(State::at_shuffle, -line, mask);
  return value;
}

// Whether `value` holds in every lane of a whole warp.
EMULATION_RUNTIME inline bool all_lanes(unsigned mask, bool value, int line) {
  const int lane = static_cast<int>(runtime().current->linear & 31);
  int all = value;
  for (int d = 16; d > 0; d /= 2) all &= shuffle(mask, all, lane ^ d, line);
  return all;
}

// Release the lanes whose whole mask has arrived at the same place.
inline bool release_warps(Block& b) {
  bool released = false;
  const unsigned n = b.threads.size();
  for (unsigned i = 0; i < n; i++) {
    Thread* t = b.threads[i];
    if (t->state != State::at_warp_barrier && t->state != State::at_shuffle) continue;
    if (!((t->mask >> (i % 32)) & 1)) throw Error("a lane is not in its own mask");
    unsigned base = i & ~31u;
    auto met = [&](unsigned lane) {
      Thread* other = b.threads[base + lane];
      return other->state == t->state && other->line == t->line && other->mask == t->mask;
    };
    bool all = true;
    for (unsigned lane = 0; lane < 32 && base + lane < n; lane++) all &= !((t->mask >> lane) & 1) || met(lane);
    if (!all) continue;
    if (t->state == State::at_warp_barrier) b.warp_phase[i / 32]++;
    unsigned mask = t->mask;
    for (unsigned lane = 0; lane < 32 && base + lane < n; lane++)
      if ((mask >> lane) & 1) b.threads[base + lane]->state = State::ready;
    released = true;
  }
  return released;
}

// Release the block's barrier if all threads are there. A thread that ended, or waits at another line, is an error.
inline bool release_block(Block& b) {
  unsigned waiting = 0, done = 0;
  int line = 0;
  bool same = true;
  for (Thread* t : b.threads) {
    if (t->state == State::done) done++;
    if (t->state != State::at_block_barrier) continue;
    same &= !waiting || t->line == line;
    line = t->line;
    waiting++;
  }
  if (done == b.threads.size()) return false;
  if (waiting != b.threads.size() || !same) {
    char text[200];
    std::snprintf(text, sizeof text,
                  "divergent barrier in block (%u,%u,%u): %u threads wait at line %d%s, %u ended, of %zu", b.index.x,
                  b.index.y, b.index.z, waiting, line, same ? "" : " and others", done, b.threads.size());
    throw Error(text);
  }
  b.phase++;
  for (Thread* t : b.threads) t->state = State::ready;
  return true;
}

struct Order {
  enum { forward, reverse, random } kind = forward;
  std::mt19937 generator{1};
  Order() {
    const char* text = std::getenv("EMULATION_ORDER");
    std::string name = text ? text : "forward";
    if (name == "reverse") kind = reverse;
    if (name.rfind("random:", 0) == 0) {
      kind = random;
      generator.seed(std::atoi(name.c_str() + 7));
    }
  }
};

EMULATION_RUNTIME inline void run_block(Block& b, Order& order) {
  Runtime& r = runtime();
  r.block = &b;
  const unsigned n = b.dim.x * b.dim.y * b.dim.z;
  const unsigned turn = r.turn++ % kPools;
  b.marks = &r.marks[turn];
  std::vector<Thread*>& pool = r.pools[turn];
  while (pool.size() < n) pool.push_back(static_cast<Thread*>(make_fibre(new Thread)));
  b.threads.assign(pool.begin(), pool.begin() + n);
  std::vector<Thread*> turns = b.threads;
  if (order.kind == Order::reverse) std::reverse(turns.begin(), turns.end());
  for (unsigned i = 0; i < n; i++) {
    Thread* t = b.threads[i];
    t->linear = i;
    t->index = {i % b.dim.x, i / b.dim.x % b.dim.y, i / (b.dim.x * b.dim.y)};
    t->state = State::ready;
    rewind(t, &thread_main);
  }
  do {
    if (order.kind == Order::random) std::shuffle(turns.begin(), turns.end(), order.generator);
    for (Thread* t : turns) {
      if (t->state == State::ready) resume(t);
      if (r.error) std::rethrow_exception(r.error);
    }
  } while (release_warps(b) || release_block(b));
}

inline void run_grid(const std::function<void()>& body, dim3 grid, dim3 dim, size_t dynamic_shared) {
  const unsigned n = dim.x * dim.y * dim.z;
  if (n == 0 || n > 1024 || dim.z > 64) throw Error("not a block size: " + std::to_string(n) + " threads");
  if (!grid.x || !grid.y || !grid.z || grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u)
    throw Error("not a grid size: " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " + std::to_string(grid.z));
  Runtime& r = runtime();
  std::lock_guard<std::mutex> lock(r.one_launch);
  Order order;
  const char* text = std::getenv("EMULATION_POISON");
  const int poison = text ? static_cast<int>(std::strtol(text, nullptr, 16)) : 0xff;
  adopt_host(r.host);
  happens_before(&r.begin_mark);
  r.body = &body;
  r.error = nullptr;
  Quiet quiet;
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  for (uint64_t i = 0; i < blocks; i++) {
    const uint64_t k = order.kind == Order::reverse ? blocks - 1 - i : i;
    SharedMemory shared(dynamic_shared, poison);
    Block b;
    b.grid = grid;
    b.dim = dim;
    b.index = {unsigned(k % grid.x), unsigned(k / grid.x % grid.y), unsigned(k / grid.x / grid.y)};
    b.shared = &shared;
    run_block(b, order);
  }
  happens_after(&r.end_mark);
  r.block = nullptr;
}

}  // namespace emulation
