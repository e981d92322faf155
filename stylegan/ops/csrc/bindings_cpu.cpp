// All bindings to the CPU in one: torch's headers take several times as long to compile as what includes them.
#include "bind_conv2d_cpu.cpp"
#include "bind_cpu.cpp"
#include "bind_demodulation_cpu.cpp"
#include "bind_fir_cpu.cpp"
#include "bind_normal_cpu.cpp"
#include "bind_update_cpu.cpp"
