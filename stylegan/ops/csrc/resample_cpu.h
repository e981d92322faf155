// Zero insertion, padding, filtering and decimation of a group of planes (upfirdn2d.h), row by row: a whole op for upfirdn2d, the
// first half of one for filtered_lrelu.
#pragma once
#include "planes_cpu.h"

STYLEGAN_BEGIN

// An image [n, c, h, w] in memory, and how it is resampled.
struct Resampling {
    const void* x;
    const void* b;  // [c], added first, or null
    const index_t* stride;
    index_t n, c, in_h, in_w, up_x, up_y, down_x, down_y, pad_x, pad_y;
};

// Taps in the type that is computed in.
template <class A>
struct Taps : Buffer<A> {
    Taps(const double* from, index_t count) : Buffer<A>(count) {
        for (index_t i = 0; i < count; i++) this->data[i] = static_cast<A>(from[i]);
    }
};

// Taps along the row, parted by phase, so that those which meet pixels lie side by side: [row of taps][phase][length]. A separable
// filter has one row.
template <class A>
class PhaseTaps {
public:
    PhaseTaps(const FirPlan& plan, index_t up)
        : width_(plan.w), up_(up), length_((plan.w + up - 1) / up), taps_((plan.separable ? 1 : plan.h) * up * length_) {
        const double* from = plan.separable ? plan.horizontal : plan.taps;
        for (index_t ky = 0; ky < (plan.separable ? 1 : plan.h); ky++) {
            for (index_t kx = 0; kx < plan.w; kx++) {
                taps_.data[(ky * up + kx % up) * length_ + kx / up] = static_cast<A>(from[ky * plan.w + kx]);
            }
        }
    }

    index_t length() const { return length_; }
    index_t row_size() const { return up_ * length_; }
    index_t count(index_t phase) const { return phase < width_ ? (width_ - phase + up_ - 1) / up_ : 0; }
    const A* at(index_t ky, index_t phase) const { return taps_.data + ky * row_size() + phase * length_; }

private:
    const index_t width_, up_, length_;
    Buffer<A> taps_;
};

// Makes rows of the result from top to bottom, of columns [left, left + columns). The rows of x that one of them needs are kept.
template <class T>
class Resampler {
    using A = compute_t<T>;
    using V = vector_t<A>;
    static constexpr int n = Lanes<A>::count;

public:
    Resampler(const Resampling& r, const FirPlan& plan, index_t most_columns)
        : r_(r), plan_(plan), taps_(plan, r.up_x), column_taps_(plan.vertical, plan.separable ? plan.h : 0), met_taps_(plan.h),
          period_(r.up_x / common_factor(r.up_x, r.down_x)), kept_rows_((plan.h + r.up_y - 1) / r.up_y),
          row_size_(PlaneRows<T>::padded(most_columns * r.down_x / r.up_x + 2 + taps_.length())), kept_(kept_rows_ * row_size_),
          column_(row_size_), rows_(kept_rows_), planes_(row_size_) {}

    void enter_columns(index_t left, index_t columns) {
        left_ = left, columns_ = columns;
        in_left_ = div_up(left * r_.down_x - r_.pad_x, r_.up_x);
        in_columns_ = div_up((left + columns - 1) * r_.down_x - r_.pad_x, r_.up_x) + taps_.length() - in_left_;
    }

    void enter_planes(const PlaneGroup<n>* group) {
        group_ = group, next_ = 0, bias_ = V{};
        for (index_t l = 0; l < group->lanes && r_.b != nullptr; l++) bias_[l] = load(static_cast<const T*>(r_.b) + group->channel[l]);
    }

    // Row y; rows after another only.
    void make_row(index_t y, V* out) {
        const Window met = window(y, r_.in_h, plan_.h, r_.up_y, r_.down_y, r_.pad_y);
        for (index_t iy = larger(met.first, next_); iy < met.first + met.count; iy++) {
            planes_.read(static_cast<const T*>(r_.x), r_.stride, *group_, iy, in_left_, larger(-in_left_, 0),
                smaller(in_columns_, r_.in_w - in_left_), bias_, kept(iy), in_columns_);
            next_ = iy + 1;
        }
        for (index_t j = 0; j < met.count; j++) rows_.data[j] = kept(met.first + j);
        if (!plan_.separable) return along_rows(met.count, met.tap, out);
        for (index_t j = 0; j < met.count; j++) met_taps_.data[j] = column_taps_.data[met.tap + j * r_.up_y];
        filter<A>({rows_.data, met.count, met_taps_.data, 1, 1}, 0, 1, column_.data, 1, in_columns_);
        rows_.data[0] = column_.data;
        along_rows(1, 0, out);
    }

private:
    static index_t common_factor(index_t a, index_t b) { return b == 0 ? a : common_factor(b, a % b); }

    V* kept(index_t iy) { return kept_.data + iy % kept_rows_ * row_size_; }

    // Every period_-th pixel has the same taps, and starts a whole number of input pixels after the one before.
    void along_rows(index_t row_count, index_t first_tap, V* out) {
        const index_t step = period_ * r_.down_x / r_.up_x;
        for (index_t i = 0; i < smaller(period_, columns_); i++) {
            const index_t base = (left_ + i) * r_.down_x - r_.pad_x, first = div_up(base, r_.up_x), phase = first * r_.up_x - base;
            filter<A>({rows_.data, row_count, taps_.at(first_tap, phase), r_.up_y * taps_.row_size(), taps_.count(phase)},
                first - in_left_, step, out + i, period_, (columns_ - i + period_ - 1) / period_);
        }
    }

    const Resampling r_;
    const FirPlan& plan_;
    const PhaseTaps<A> taps_;
    const Taps<A> column_taps_;
    Buffer<A> met_taps_;
    const index_t period_, kept_rows_, row_size_;
    Buffer<V> kept_, column_;
    Buffer<const V*> rows_;
    PlaneRows<T> planes_;
    const PlaneGroup<n>* group_ = nullptr;
    V bias_ = {};
    index_t left_ = 0, columns_ = 0, in_left_ = 0, in_columns_ = 0, next_ = 0;
};

}  // namespace
STYLEGAN_END
