// Filtering of rows on the CPU. A row is `width` pixels of `unit` numbers, all channels of a channels_last image.
#pragma once
#include <cstdlib>

#include "cpu.h"
#include "fir.h"

STYLEGAN_BEGIN

// Memory for the length of a call, in whole cache lines: vectors that lie across two take twice the time.
template <class A>
struct Buffer {
    static constexpr size_t kLine = 64;
    A* data;
    explicit Buffer(index_t size)
        : data(static_cast<A*>(std::aligned_alloc(kLine, (sizeof(A) * static_cast<size_t>(size) / kLine + 1) * kLine))) {
        if (data == nullptr) std::abort();
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() { std::free(data); }
};

// The taps that meet pixels: output o reads the inputs first, first + 1, ... with the taps tap, tap + up, ...
struct Window {
    index_t first, tap, count;
};

STYLEGAN_INLINE Window window(index_t o, index_t in, index_t taps, index_t up, index_t down, index_t pad) {
    const index_t base = o * down - pad;
    const index_t tap = base < 0 ? -base : (up - base % up) % up;
    const index_t first = (base + tap) / up;
    const index_t count = tap < taps ? smaller((taps - tap + up - 1) / up, in - first) : 0;
    return {first, tap, larger(count, 0)};
}

constexpr int most = 6;  // inputs that one pass over memory combines

template <int N, bool Add, class In, class Out, class A>
STYLEGAN_INLINE void combine_n(const In* const* in, const A* w, index_t length, const A* add, Out* out) {
    const In* rows[N > 0 ? N : 1];
    A weights[N > 0 ? N : 1];
    for (int j = 0; j < N; j++) rows[j] = in[j], weights[j] = w[j];
#pragma GCC ivdep
    for (index_t i = 0; i < length; i++) {
        A sum = Add ? add[i] : A(0);
#pragma GCC unroll 8
        for (int j = 0; j < N; j++) sum += weights[j] * load(rows[j] + i);
        store(out + i, sum);
    }
}

template <bool Add, class In, class Out, class A>
STYLEGAN_INLINE void combine_up_to_most(
    const In* const* in, const A* w, index_t count, index_t length, const A* add, Out* out) {
    switch (count) {
        case 0: return combine_n<0, Add>(in, w, length, add, out);
        case 1: return combine_n<1, Add>(in, w, length, add, out);
        case 2: return combine_n<2, Add>(in, w, length, add, out);
        case 3: return combine_n<3, Add>(in, w, length, add, out);
        case 4: return combine_n<4, Add>(in, w, length, add, out);
        case 5: return combine_n<5, Add>(in, w, length, add, out);
        default: return combine_n<most, Add>(in, w, length, add, out);
    }
}

// out[i] = sum over j < count of w[j] * in[j][i] for i < length. `scratch` [length] is needed for more than `most` inputs.
template <class In, class Out, class A>
__attribute__((noinline)) void combine(const In* const* in, const A* w, index_t count, index_t length, Out* out, A* scratch) {
    if (count <= most) return combine_up_to_most<false>(in, w, count, length, static_cast<const A*>(nullptr), out);
    combine_up_to_most<false>(in, w, most, length, static_cast<const A*>(nullptr), scratch);
    index_t done = most;
    for (; count - done > most; done += most) {
        combine_up_to_most<true>(in + done, w + done, most, length, scratch, scratch);
    }
    combine_up_to_most<true>(in + done, w + done, count - done, length, scratch, out);
}

// One axis of a filter, over rows of any unit.
template <class A>
class RowFilter {
public:
    RowFilter(
        index_t in_width, index_t out_width, index_t unit, const double* taps, index_t count, index_t up, index_t down, index_t pad)
        : in_width_(in_width), out_width_(out_width), unit_(unit), count_(count), up_(up), down_(down), pad_(pad),
          taps_(count), weights_(count), inputs_(count), scratch_(larger(larger(in_width, out_width), 1) * unit),
          phases_(unit < small_unit && up == 1 && down > 1 ? (in_width + down) * unit : 0) {
        set_taps(taps);
    }

    void set_taps(const double* taps) {
        for (index_t k = 0; k < count_; k++) taps_.data[k] = static_cast<A>(taps[k]);
    }

    template <class Out>
    void operator()(const A* row, Out* out) {
        if (up_ == 1 && down_ == 1) {
            shifted(row, out);
        } else if (unit_ >= small_unit || (up_ > 1 && down_ > 1)) {
            pixels(row, out, 0, out_width_, 1);
        } else if (up_ > 1) {
            enlarged(row, out);
        } else {
            reduced(row, out);
        }
    }

private:
    static constexpr index_t small_unit = 8;

    // Output pixels begin, begin + step, ...
    template <class Out>
    __attribute__((noinline)) void pixels(const A* row, Out* out, index_t begin, index_t end, index_t step) {
        for (index_t o = begin; o < end; o += step) {
            const Window window_ = window(o, in_width_, count_, up_, down_, pad_);
            for (index_t j = 0; j < window_.count; j++) {
                inputs_.data[j] = row + (window_.first + j) * unit_;
                weights_.data[j] = taps_.data[window_.tap + j * up_];
            }
            combine(inputs_.data, weights_.data, window_.count, unit_, out + o * unit_, scratch_.data);
        }
    }

    // Equal resolutions: inside, all pixels of the row at once, from inputs that are the row moved by a pixel each.
    template <class Out>
    void shifted(const A* row, Out* out) {
        const index_t begin = smaller(larger(pad_, 0), out_width_);
        const index_t end = larger(smaller(in_width_ + pad_ - count_ + 1, out_width_), begin);
        pixels(row, out, 0, begin, 1);
        if (end > begin) {
            for (index_t k = 0; k < count_; k++) inputs_.data[k] = row + (begin - pad_ + k) * unit_;
            combine(inputs_.data, taps_.data, count_, (end - begin) * unit_, out + begin * unit_, scratch_.data);
        }
        pixels(row, out, end, out_width_, 1);
    }

    // Every up-th output has the same taps: one phase at a time, then into its places.
    template <class Out>
    void enlarged(const A* row, Out* out) {
        for (index_t phase = 0; phase < smaller(up_, out_width_); phase++) {
            const index_t tap = ((pad_ - phase) % up_ + up_) % up_;
            const index_t taps = tap < count_ ? (count_ - tap + up_ - 1) / up_ : 0;
            const index_t shift = (phase - pad_ + tap) / up_;  // output phase + up * j reads from input shift + j on
            const index_t pixels_here = (out_width_ - phase + up_ - 1) / up_;
            const index_t begin = smaller(larger(-shift, 0), pixels_here);
            const index_t end = larger(smaller(in_width_ - shift - taps + 1, pixels_here), begin);
            pixels(row, out, phase, phase + begin * up_, up_);
            for (index_t j = 0; j < taps; j++) {
                inputs_.data[j] = row + (shift + begin + j) * unit_;
                weights_.data[j] = taps_.data[tap + j * up_];
            }
            if (end > begin) {
                combine(inputs_.data, weights_.data, taps, (end - begin) * unit_, scratch_.data, scratch_.data);
                for (index_t j = begin; j < end; j++) {
                    for (index_t u = 0; u < unit_; u++) {
                        store(out + (phase + j * up_) * unit_ + u, scratch_.data[(j - begin) * unit_ + u]);
                    }
                }
            }
            pixels(row, out, phase + end * up_, out_width_, up_);
        }
    }

    // Every down-th input meets the same tap: the inputs are parted by phase, so that each tap reads neighbours.
    template <class Out>
    void reduced(const A* row, Out* out) {
        const index_t per_phase = (in_width_ + down_ - 1) / down_;
        for (index_t phase = 0, at = 0; phase < down_; phase++) {
            for (index_t i = phase; i < in_width_; i += down_, at++) {
                for (index_t u = 0; u < unit_; u++) phases_.data[at * unit_ + u] = row[i * unit_ + u];
            }
        }
        // Inside: o * down - pad >= 0 and o * down - pad + count <= in_width.
        const index_t begin = smaller(larger(div_up(pad_, down_), 0), out_width_);
        const index_t limit = in_width_ + pad_ - count_;
        const index_t end = limit < 0 ? begin : larger(smaller(limit / down_ + 1, out_width_), begin);
        pixels(row, out, 0, begin, 1);
        if (end > begin) {
            for (index_t k = 0; k < count_; k++) {
                const index_t i = begin * down_ - pad_ + k, phase = i % down_;
                const index_t longer = smaller(phase, in_width_ - (per_phase - 1) * down_);
                const index_t start = phase * per_phase - (phase - longer);  // phases past the row's end are one shorter
                inputs_.data[k] = phases_.data + (start + i / down_) * unit_;
            }
            combine(inputs_.data, taps_.data, count_, (end - begin) * unit_, out + begin * unit_, scratch_.data);
        }
        pixels(row, out, end, out_width_, 1);
    }

    index_t in_width_, out_width_, unit_, count_, up_, down_, pad_;
    Buffer<A> taps_, weights_;
    Buffer<const A*> inputs_;
    Buffer<A> scratch_, phases_;
};

}  // namespace
STYLEGAN_END
