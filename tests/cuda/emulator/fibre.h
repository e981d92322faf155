// Fibres: stacks of their own that one operating system thread switches between. One fibre runs one CUDA thread.
//
// The switch saves the callee-saved registers only (System V ABI, x86-64), which is ten times cheaper than swapcontext;
// other processors use swapcontext. AddressSanitizer and ThreadSanitizer are told of every switch: to TSan each fibre is
// a thread, so that two CUDA threads that touch the same word without a barrier between them are a reported race.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" void AnnotateIgnoreReadsBegin(const char*, int);
extern "C" void AnnotateIgnoreReadsEnd(const char*, int);
extern "C" void AnnotateIgnoreWritesBegin(const char*, int);
extern "C" void AnnotateIgnoreWritesEnd(const char*, int);
#endif

// Code that moves between stacks must not be instrumented: the sanitizers' shadow of the old stack would be wrong.
#define EMULATION_RUNTIME __attribute__((noinline, no_sanitize("thread"), no_sanitize("address"), no_sanitize("undefined")))

namespace emulation {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;  // redzones make frames larger
#else
constexpr size_t kStackBytes = 128 << 10;
#endif

struct Fibre {
  char* stack = nullptr;
  void* stack_pointer = nullptr;     // where a suspended fibre goes on
  void* tsan = nullptr;              // TSan's handle
  void* fake_stack = nullptr;        // ASan's handle
  const void* stack_bottom = nullptr;  // bounds for ASan; of the host's stack where this is the host
  size_t stack_bytes = 0;
#if !defined(__x86_64__)
  ucontext_t context;
#endif
};

// What the emulator itself reads and writes is no access of a kernel.
struct Quiet {
#if defined(__SANITIZE_THREAD__)
  Quiet() { AnnotateIgnoreReadsBegin("", 0); AnnotateIgnoreWritesBegin("", 0); }
  ~Quiet() { AnnotateIgnoreWritesEnd("", 0); AnnotateIgnoreReadsEnd("", 0); }
#else
  Quiet() {}
  ~Quiet() {}
#endif
};

#if defined(__x86_64__)
extern "C" void emulation_switch(void** save, void* to);
__asm__(R"(
.weak emulation_switch
.type emulation_switch,@function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch,.-emulation_switch
)");
#endif

inline void happens_before(void* mark) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(mark);
#else
  (void)mark;
#endif
}
inline void happens_after(void* mark) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(mark);
#else
  (void)mark;
#endif
}

// The host's own stack as a fibre.
inline void adopt_host(Fibre& host) {
#if defined(__SANITIZE_THREAD__)
  host.tsan = __tsan_get_current_fiber();
#else
  (void)host;
#endif
}

inline Fibre* make_fibre(Fibre* fibre) {
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  fibre->stack = static_cast<char*>(memory);
  fibre->stack_bottom = memory;
  fibre->stack_bytes = kStackBytes;
#if defined(__SANITIZE_THREAD__)
  fibre->tsan = __tsan_create_fiber(0);
#endif
  return fibre;
}

// Let `fibre` begin with `entry` at its next turn, on an empty stack.
inline void rewind(Fibre* fibre, void (*entry)()) {
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>((reinterpret_cast<uintptr_t>(fibre->stack) + kStackBytes) & ~uintptr_t(63));
  *--top = nullptr;                            // entry's return address: it never returns
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--top = nullptr;  // the registers that emulation_switch pops
  fibre->stack_pointer = top;
#else
  getcontext(&fibre->context);
  fibre->context.uc_stack.ss_sp = fibre->stack;
  fibre->context.uc_stack.ss_size = kStackBytes;
  fibre->context.uc_link = nullptr;
  makecontext(&fibre->context, entry, 0);
#endif
}

EMULATION_RUNTIME inline void switch_fibre(Fibre* from, Fibre* to, Fibre* host, bool ends = false) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(ends ? nullptr : &from->fake_stack, to->stack_bottom, to->stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to->tsan, __tsan_switch_to_fiber_no_sync);
#endif
#if defined(__x86_64__)
  emulation_switch(&from->stack_pointer, to->stack_pointer);
#else
  swapcontext(&from->context, &to->context);
#endif
#if defined(__SANITIZE_ADDRESS__)
  if (from == host) __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
  else __sanitizer_finish_switch_fiber(from->fake_stack, &host->stack_bottom, &host->stack_bytes);
#endif
  (void)ends;
  (void)host;
}

// To be called first on a fresh fibre: ASan learns where the host's stack is.
EMULATION_RUNTIME inline void arrived(Fibre* host) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &host->stack_bottom, &host->stack_bytes);
#else
  (void)host;
#endif
}

}  // namespace emulation
