// What the bindings of the ops to torch share. The kernels themselves see no torch headers: these take seconds to compile.
#pragma once
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "dtype.h"

namespace stylegan {

constexpr index_t grain = 32768;  // elements that are worth a thread

inline Dtype dtype_of(const at::Tensor& x, const char* op) {
    switch (x.scalar_type()) {
        case at::kFloat: return Dtype::f32;
        case at::kDouble: return Dtype::f64;
        case at::kHalf: return Dtype::f16;
        case at::kBFloat16: return Dtype::bf16;
        default: TORCH_CHECK_VALUE(false, op, " knows float16, bfloat16, float32 and float64, not ", x.scalar_type());
    }
}

inline at::ScalarType compute_type(const at::Tensor& x) {
    return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// The format that results are given: channels_last where x lies in memory so, else contiguous.
inline at::MemoryFormat format_of(const at::Tensor& x) {
    const bool nhwc = x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
    return nhwc ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

// Strides of a dense [N, C, H, W]: torch leaves those of dimensions of size one to chance.
inline void dense_strides(at::IntArrayRef sizes, at::MemoryFormat format, index_t* strides) {
    const index_t c = sizes[1], h = sizes[2], w = sizes[3];
    strides[0] = c * h * w;
    const bool nhwc = format == at::MemoryFormat::ChannelsLast;
    strides[1] = nhwc ? 1 : h * w;
    strides[2] = nhwc ? w * c : w;
    strides[3] = nhwc ? c : 1;
}

// x, copied only where its elements do not lie side by side.
inline at::Tensor dense(const at::Tensor& x) {
    return x.is_non_overlapping_and_dense() ? x : at::empty_like(x).copy_(x);
}

// `t` with the strides of the dense tensor `like`; a copy only where it has others.
inline at::Tensor laid_out_as(const at::Tensor& t, const at::Tensor& like) {
    TORCH_CHECK_VALUE(t.sizes() == like.sizes() && t.scalar_type() == like.scalar_type() && t.device() == like.device(),
        "expected a tensor ", like.sizes(), ", ", like.scalar_type(), ", got ", t.sizes(), ", ", t.scalar_type());
    return t.strides() == like.strides() ? t : at::empty_like(like).copy_(t);
}

inline const void* data_or_null(const std::optional<at::Tensor>& t) {
    return t.has_value() && t->defined() ? t->const_data_ptr() : nullptr;
}

}  // namespace stylegan
