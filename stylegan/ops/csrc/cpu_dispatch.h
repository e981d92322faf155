// The choice of the instruction set at run time.
#pragma once
#include <cstdlib>
#include <cstring>

#include "cpu_kernels.h"

namespace stylegan {

enum class InstructionSet { plain, avx2, avx512 };

// The best that this machine has, or a lesser one that $STYLEGAN_INSTRUCTION_SET names, for tests.
inline InstructionSet instruction_set() {
    static const InstructionSet chosen = [] {
        InstructionSet best = InstructionSet::plain;
        const char* named = std::getenv("STYLEGAN_INSTRUCTION_SET");
        [[maybe_unused]] auto allows = [&](const char* name) { return named == nullptr || std::strcmp(named, name) == 0; };
#ifdef STYLEGAN_AVX2
        const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
        if (avx2 && allows("avx2")) best = InstructionSet::avx2;
#endif
#ifdef STYLEGAN_AVX512
        const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        if (avx512 && allows("avx512")) best = InstructionSet::avx512;
#endif
        return best;
    }();
    return chosen;
}

inline const char* instruction_set_name() {
    switch (instruction_set()) {
        case InstructionSet::avx512: return "avx512";
        case InstructionSet::avx2: return "avx2";
        default: return "plain";
    }
}

#ifdef STYLEGAN_AVX2
#define STYLEGAN_CASE_AVX2(kernel, ...) \
    case ::stylegan::InstructionSet::avx2: ::stylegan::avx2::kernel(__VA_ARGS__); break;
#else
#define STYLEGAN_CASE_AVX2(kernel, ...)
#endif
#ifdef STYLEGAN_AVX512
#define STYLEGAN_CASE_AVX512(kernel, ...) \
    case ::stylegan::InstructionSet::avx512: ::stylegan::avx512::kernel(__VA_ARGS__); break;
#else
#define STYLEGAN_CASE_AVX512(kernel, ...)
#endif

// Call stylegan::SET::kernel(...) for the chosen instruction set.
#define STYLEGAN_RUN(kernel, ...)                                  \
    switch (::stylegan::instruction_set()) {                       \
        STYLEGAN_CASE_AVX512(kernel, __VA_ARGS__)                  \
        STYLEGAN_CASE_AVX2(kernel, __VA_ARGS__)                    \
        default: ::stylegan::plain::kernel(__VA_ARGS__);           \
    }

}  // namespace stylegan
