// The CUDA kernels as bind_cuda.cpp calls them. Each launches on `stream` and returns a cudaError_t, 0 for success.
#pragma once
#include "bias_act.h"
#include "demodulation.h"
#include "filtered_lrelu.h"
#include "modulated_epilogue.h"
#include "normal.h"
#include "update.h"
#include "upfirdn2d.h"

namespace stylegan {

int bias_act_cuda(const BiasActParams& p, void* stream);
int upfirdn2d_cuda(const Upfirdn2dParams& p, void* stream);
int filtered_lrelu_cuda(const FilteredLreluParams& p, void* stream);
// The number of partial sums that the kernels of orders 1 and 2 make of each sum over pixels.
index_t epilogue_chunks_cuda(const EpilogueShape& s);
int modulated_epilogue_cuda(const EpilogueForward& p, void* stream);
int modulated_epilogue_grad_cuda(const EpilogueGrad& p, void* stream);
int modulated_epilogue_grad2_cuda(const EpilogueGrad2& p, void* stream);
int demodulation_cuda(const Demodulation& p, const DemodulationSums& sums, int order, void* stream);
int normal_cuda(const Draws& draws, bool normal, void* stream);
// The number of blocks that look at gradients.
index_t adam_blocks_cuda(const AdamTensor* tensors, index_t n);
int adam_cuda(const AdamLists& lists, void* stream);
int lerp_cuda(const LerpTensor* tensors, index_t n, Dtype dtype, const double* weight, void* stream);

}  // namespace stylegan
