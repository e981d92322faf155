// A function that is never emitted on its own, so that the linker cannot choose between copies of it.
#pragma once
#define STYLEGAN_INLINE inline __attribute__((always_inline))
