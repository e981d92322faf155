// Adam over a list of tensors, and the step of a moving average (update.h).
//
// A block works on one piece of one tensor. Pointers and sizes of some tensors travel as arguments of a launch, at most 4 KB:
// a CUDA graph keeps them. A step of Adam is three kernels, each launched for all tensors before the next: the first one leaves
// what every block has seen of its gradients; the second, of one block, adds that up in a fixed order, and counts steps; the
// third one steps. Rates, counts and whether to step are read on the device.
#include <vector>

#include "cuda_ops.h"
#include "device.cuh"

namespace stylegan {

constexpr int kUpdateThreads = 256, kUpdateWarps = kUpdateThreads / 32;
constexpr index_t kPiece = 8192;  // elements of a block
constexpr size_t kArgumentBytes = 4096;

// Some tensors of a list, and the blocks of a launch that are theirs: those of number i begin with first[i].
template <class Entry, int N> struct Tensors {
    Entry entries[N];
    unsigned first[N + 1];
    int n;

    __device__ __forceinline__ int of_block(unsigned block) const {  // the last one that begins there or before
        int low = 0, high = n;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            (first[middle] <= block ? low : high) = middle;
        }
        return low;
    }
};

struct AdamArguments {
    Tensors<AdamTensor, 64> tensors;
    bool skip;
    unsigned blocks_before, blocks;  // of the launches before this one, and of all
    const double* rates;
    double* square_sum;
    Seen* seen;                   // of all launches
    AdamCorrection* corrections;  // of this one
};

struct LerpArguments {
    Tensors<LerpTensor, 128> tensors;
    const double* weight;
};

static_assert(sizeof(AdamArguments) <= kArgumentBytes && sizeof(LerpArguments) <= kArgumentBytes);

// body(width, at) for the elements of a piece, `width` of them at a time: as many as 16 bytes hold, or one.
template <int V> struct Width { static constexpr int value = V; };
template <class T, class Body> __device__ __forceinline__ void over_piece(int count, bool vectors, const Body& body) {
    constexpr int V = kVector<T>;
    const int whole = vectors ? count / V * V : 0;
    for (int at = threadIdx.x * V; at < whole; at += kUpdateThreads * V) body(Width<V>{}, at);
    for (int at = whole + threadIdx.x; at < count; at += kUpdateThreads) body(Width<1>{}, at);
}

__device__ __forceinline__ index_t piece_begin(unsigned first) { return static_cast<index_t>(blockIdx.x - first) * kPiece; }
__device__ __forceinline__ int piece_count(index_t left) { return static_cast<int>(left < kPiece ? left : kPiece); }

// Pieces begin at multiples of vectors: the tensors' alignment is theirs.
template <class... P> __device__ __forceinline__ bool in_vectors(P... pointers) { return ((reinterpret_cast<uintptr_t>(pointers) | ...) % 16) == 0; }

template <class T> __device__ __forceinline__ bool is_finite(T v) { return v - v == 0; }

// What is summed over the block, in the thread that is its first, and in a fixed order.
template <class A> __device__ __forceinline__ A sum_over_block(A v, A* of_warps) {
    v = sum_over_lanes(v, 32);
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = v;
    __syncthreads();
    A sum = 0;
    for (int warp = 0; threadIdx.x == 0 && warp < kUpdateWarps; warp++) sum += of_warps[warp];
    return sum;
}

template <class T> __global__ void __launch_bounds__(kUpdateThreads) update_look_kernel(const AdamArguments p) {
    SHARED_ARRAY(double, squares, [kUpdateWarps]);
    SHARED_ARRAY(int, counts, [kUpdateWarps]);
    const int i = p.tensors.of_block(blockIdx.x);
    const AdamTensor& tensor = p.tensors.entries[i];
    const index_t begin = piece_begin(p.tensors.first[i]);
    const T* const grad = static_cast<const T*>(tensor.grad) + begin;
    double square_sum = 0;
    int nonfinite = 0;
    over_piece<T>(piece_count(tensor.count - begin), in_vectors(tensor.grad), [&](auto width, int at) {
        constexpr int V = decltype(width)::value;
        T g[V];
        load<V>(grad + at, g);
#pragma unroll
        for (int k = 0; k < V; k++) {
            square_sum += static_cast<double>(g[k]) * static_cast<double>(g[k]);  // exact for floats
            nonfinite += !is_finite(g[k]);
        }
    });
    square_sum = sum_over_block<double>(square_sum, squares);
    nonfinite = sum_over_block<int>(nonfinite, counts);
    if (threadIdx.x == 0) p.seen[p.blocks_before + blockIdx.x] = {square_sum, nonfinite};
}

// base^n for a whole number n > 0
__device__ __forceinline__ double power(double base, float n) {
    double result = 1;
    for (unsigned left = static_cast<unsigned>(n); left > 0; left /= 2, base *= base)
        if (left % 2 == 1) result *= base;
    return result;
}

// Every launch adds up the square sums of all: whether to step has to be known before steps are counted.
__global__ void __launch_bounds__(kUpdateThreads) update_prepare_kernel(const AdamArguments p) {
    SHARED_ARRAY(double, squares, [kUpdateWarps]);
    double square_sum = 0;
    for (unsigned block = threadIdx.x; block < p.blocks; block += kUpdateThreads) square_sum += p.seen[block].square_sum;
    square_sum = sum_over_block<double>(square_sum, squares);
    if (threadIdx.x == 0) *p.square_sum = squares[0] = square_sum;
    __syncthreads();
    const bool steps = !p.skip || is_finite(squares[0]);
    for (int i = threadIdx.x / 32; i < p.tensors.n; i += kUpdateWarps) {
        int64_t nonfinite = 0;
        for (unsigned block = p.tensors.first[i] + threadIdx.x % 32; block < p.tensors.first[i + 1]; block += 32)
            nonfinite += p.seen[p.blocks_before + block].nonfinite;
        nonfinite = sum_over_lanes(nonfinite, 32);
        if (threadIdx.x % 32 != 0) continue;
        const AdamTensor& tensor = p.tensors.entries[i];
        if (nonfinite > 0) *tensor.nonfinite += nonfinite;
        if (!steps) continue;
        const float step = *tensor.step + 1;
        const double beta1 = tensor.first ? p.rates[1] : 0, root = sqrt(1 - power(p.rates[2], step));
        *tensor.step = step;
        p.corrections[i] = {p.rates[0] * root / (1 - power(beta1, step)), p.rates[3] * root};
    }
}

// torch.nan_to_num as the gradients' guard uses it (`clamp_nonfinite_`).
template <class T> __device__ __forceinline__ T clamped_nonfinite(T g) {
    return is_finite(g) ? g : g > 0 ? T(1e5) : g < 0 ? T(-1e5) : T(0);
}

template <class T> __global__ void __launch_bounds__(kUpdateThreads) update_adam_kernel(const AdamArguments p) {
    if (p.skip && !is_finite(*p.square_sum)) return;
    const int i = p.tensors.of_block(blockIdx.x);
    const AdamTensor& tensor = p.tensors.entries[i];
    const index_t begin = piece_begin(p.tensors.first[i]);
    const T* const grad = static_cast<const T*>(tensor.grad) + begin;
    T *const param = static_cast<T*>(tensor.param) + begin, *const second = static_cast<T*>(tensor.second) + begin;
    T* const first = tensor.first ? static_cast<T*>(tensor.first) + begin : nullptr;
    const double decay = p.rates[2];
    const T beta1 = first ? static_cast<T>(p.rates[1]) : T(0), beta2 = static_cast<T>(decay), rest2 = static_cast<T>(1 - decay);
    const T step_size = static_cast<T>(p.corrections[i].step_size), eps_root = static_cast<T>(p.corrections[i].eps_root);
    const bool vectors = in_vectors(tensor.grad, tensor.param, tensor.second, tensor.first);
    over_piece<T>(piece_count(tensor.count - begin), vectors, [&](auto width, int at) {
        constexpr int V = decltype(width)::value;
        T g[V], m[V] = {}, v[V], x[V];
        load<V>(grad + at, g);
        load<V>(second + at, v);
        load<V>(param + at, x);
        if (beta1 != 0) load<V>(first + at, m);
#pragma unroll
        for (int k = 0; k < V; k++) {
            g[k] = clamped_nonfinite(g[k]);
            v[k] = v[k] * beta2 + rest2 * (g[k] * g[k]);
            m[k] = beta1 != 0 ? g[k] + beta1 * (m[k] - g[k]) : g[k];
            x[k] -= step_size * (m[k] / (sqrt(v[k]) + eps_root));
        }
        store<V>(second + at, v);
        store<V>(param + at, x);
        if (first) store<V>(first + at, m);
    });
}

// As between() of update_cpu.cpp: exact at the weights 0 and 1.
template <class T> __global__ void __launch_bounds__(kUpdateThreads) update_lerp_kernel(const LerpArguments p) {
    const int i = p.tensors.of_block(blockIdx.x);
    const LerpTensor& tensor = p.tensors.entries[i];
    const index_t begin = piece_begin(p.tensors.first[i]);
    T* const average = static_cast<T*>(tensor.average) + begin;
    const T *const target = static_cast<const T*>(tensor.target) + begin, weight = static_cast<T>(*p.weight), rest = 1 - weight;
    over_piece<T>(piece_count(tensor.count - begin), in_vectors(tensor.average, tensor.target), [&](auto width, int at) {
        constexpr int V = decltype(width)::value;
        T a[V], b[V];
        load<V>(average + at, a);
        load<V>(target + at, b);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const T way = b[k] - a[k];
            a[k] = weight < T(0.5) ? a[k] + weight * way : b[k] - way * rest;
        }
        store<V>(average + at, a);
    });
}

// ---------------------------------------------------------------------------------------------------------------------

template <class Entry> index_t blocks_of(const Entry* entries, index_t n) {
    index_t blocks = 0;
    for (index_t i = 0; i < n; i++) blocks += ceil_div(entries[i].count, kPiece);
    return blocks;
}

// As many entries as there is room for; returns the number of their blocks.
template <class Entry, int N> unsigned fill(Tensors<Entry, N>& tensors, const Entry* entries, index_t n) {
    tensors.n = static_cast<int>(n < N ? n : N);
    for (int i = 0; i < tensors.n; i++) {
        tensors.entries[i] = entries[i];
        tensors.first[i + 1] = tensors.first[i] + static_cast<unsigned>(ceil_div(entries[i].count, kPiece));
    }
    return tensors.first[tensors.n];
}

index_t adam_blocks_cuda(const AdamTensor* tensors, index_t n) { return blocks_of(tensors, n); }

template <class T> int launch_adam(const AdamLists& lists, void* stream) {
    const index_t blocks = blocks_of(lists.tensors, lists.n);
    if (blocks >= kIndexLimit) return cudaErrorInvalidValue;
    std::vector<AdamArguments> parts;
    unsigned before = 0;
    for (index_t done = 0; done < lists.n; done += parts.back().tensors.n) {
        AdamArguments a{};
        a.blocks_before = before;
        before += fill(a.tensors, lists.tensors + done, lists.n - done);
        a.skip = lists.skip, a.blocks = static_cast<unsigned>(blocks), a.rates = lists.rates, a.square_sum = lists.square_sum;
        a.seen = lists.seen, a.corrections = lists.corrections + done;
        parts.push_back(a);
    }
    const dim3 block(kUpdateThreads);
    const auto grid = [](const AdamArguments& a) { return dim3(a.tensors.first[a.tensors.n]); };
    for (const AdamArguments& a : parts)
        if (grid(a).x > 0) LAUNCH((update_look_kernel<T>), grid(a), block, stream, a);
    for (const AdamArguments& a : parts) LAUNCH(update_prepare_kernel, dim3(1), block, stream, a);
    for (const AdamArguments& a : parts)
        if (grid(a).x > 0) LAUNCH((update_adam_kernel<T>), grid(a), block, stream, a);
    return cudaGetLastError();
}

template <class T> int launch_lerp(const LerpTensor* tensors, index_t n, const double* weight, void* stream) {
    if (blocks_of(tensors, n) >= kIndexLimit) return cudaErrorInvalidValue;
    for (index_t done = 0; done < n;) {
        LerpArguments a{};
        a.weight = weight;
        const unsigned blocks = fill(a.tensors, tensors + done, n - done);
        if (blocks > 0) LAUNCH((update_lerp_kernel<T>), dim3(blocks), dim3(kUpdateThreads), stream, a);
        done += a.tensors.n;
    }
    return cudaGetLastError();
}

int adam_cuda(const AdamLists& lists, void* stream) {
#ifndef STYLEGAN_HALF_ONLY  // see dispatch; there are no updates in half types
    if (lists.dtype == Dtype::f64) return launch_adam<double>(lists, stream);
#endif
    return lists.dtype == Dtype::f32 ? launch_adam<float>(lists, stream) : static_cast<int>(cudaErrorInvalidValue);
}

int lerp_cuda(const LerpTensor* tensors, index_t n, Dtype dtype, const double* weight, void* stream) {
#ifndef STYLEGAN_HALF_ONLY
    if (dtype == Dtype::f64) return launch_lerp<double>(tensors, n, weight, stream);
#endif
    return dtype == Dtype::f32 ? launch_lerp<float>(tensors, n, weight, stream) : static_cast<int>(cudaErrorInvalidValue);
}

}  // namespace stylegan
