// All bindings to CUDA in one, as bindings_cpu.cpp.
#include "bind_cuda.cpp"
#include "bind_demodulation_cuda.cpp"
#include "bind_normal_cuda.cpp"
#include "bind_update_cuda.cpp"
