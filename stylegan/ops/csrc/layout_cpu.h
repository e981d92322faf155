// Whether the CPU kernels go along the channels (channels_last) or along the pixels of a plane (contiguous).
#pragma once
#include "dtype.h"
#include "inline.h"

namespace stylegan {

STYLEGAN_INLINE bool channels_neighbour(const index_t* x_stride, const index_t* y_stride) {
    return x_stride[1] == 1 && y_stride[1] == 1;
}

}  // namespace stylegan
