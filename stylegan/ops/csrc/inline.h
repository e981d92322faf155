// A function, or a lambda, that is never emitted on its own, so that the linker cannot choose between copies of it.
#pragma once
#define STYLEGAN_INLINED __attribute__((always_inline))
#define STYLEGAN_INLINE inline STYLEGAN_INLINED
