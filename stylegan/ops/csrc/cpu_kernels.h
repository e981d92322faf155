// The CPU kernels, declared for every instruction set that they are compiled for, and the choice at run time.
#pragma once
#include "bias_act.h"
#include "filtered_lrelu.h"
#include "fir.h"
#include "modulated_epilogue.h"
#include "upfirdn2d.h"

// Every kernel does the work items [begin, end) of a tensor; items depend on nothing but the shape, so that results do
// not depend on how many threads share them.
#define STYLEGAN_DECLARE_KERNELS(isa)                                                                         \
    namespace stylegan::isa {                                                                                 \
    void bias_act(const BiasActParams&, index_t begin, index_t end);                  /* elements */          \
    void upfirdn2d(const Upfirdn2dParams&, const FirPlan&, index_t begin, index_t end); /* items of y */      \
    void filtered_lrelu(                                                              /* items of y */        \
        const FilteredLreluParams&, const FirPlan& up, const FirPlan& down, index_t begin, index_t end);      \
    void epilogue(const EpilogueForward&, index_t chunks, index_t begin, index_t end); /* chunks of pixels */ \
    void epilogue_grad(const EpilogueGrad&, index_t begin, index_t end);              /* chunks of pixels */  \
    void epilogue_grad2(const EpilogueGrad2&, index_t begin, index_t end);            /* chunks of pixels */  \
    }

STYLEGAN_DECLARE_KERNELS(plain)
#ifdef STYLEGAN_AVX2
STYLEGAN_DECLARE_KERNELS(avx2)
#endif
#ifdef STYLEGAN_AVX512
STYLEGAN_DECLARE_KERNELS(avx512)
#endif
