// One file of kernels for a host compiler: -DSTYLEGAN_KERNEL="bias_act.cu" and so on.
#include "cuda_emulation.h"
#define STYLEGAN_LAUNCH_LIMIT emulation::launch_limit()
#include STYLEGAN_KERNEL
