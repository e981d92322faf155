// stylegan::filtered_lrelu and filtered_lrelu_masked on the CPU. As many planes as a vector has lanes are done at once, in both
// memory formats: they are turned on the way in and out. The grid between the filters is never held as a whole: in strips
// that fit into the first cache, its rows are made from top to bottom, and the last fd_h of them are kept, filtered along
// the row already where fd is separable.
#include <type_traits>

#include "codes_cpu.h"
#include "cpu_kernels.h"
#include "filtered_lrelu_cpu.h"
#include "layout_cpu.h"

STYLEGAN_BEGIN

// The filter of the up-sampling, its taps parted by phase, so that those which meet pixels lie side by side. Along the row:
// [row of taps][phase][length]; a separable filter has one row.
template <class A>
struct PhaseTaps {
    const index_t up, length;
    Buffer<A> taps;

    PhaseTaps(const FirPlan& plan, index_t factor)
        : up(factor), length(divide_up(plan.w, up)), taps((plan.separable ? 1 : plan.h) * up * length) {
        const double* from = plan.separable ? plan.horizontal : plan.taps;
        for (index_t ky = 0; ky < (plan.separable ? 1 : plan.h); ky++) {
            for (index_t kx = 0; kx < plan.w; kx++) {
                taps.data[(ky * up + kx % up) * length + kx / up] = static_cast<A>(from[ky * plan.w + kx]);
            }
        }
    }

    const A* row(index_t ky, index_t phase) const { return taps.data + (ky * up + phase) * length; }
};

// Taps in the type that is computed in.
template <class A>
struct Taps : Buffer<A> {
    Taps(const double* from, index_t count) : Buffer<A>(count) {
        for (index_t i = 0; i < count; i++) this->data[i] = static_cast<A>(from[i]);
    }
};

template <class A>
STYLEGAN_INLINE vector_t<A> all_lanes(A value) { return vector_t<A>{} + value; }

// Leaky ReLU and clamp of a chunk of `count` pixels; their codes.
template <bool Record, class A>
STYLEGAN_INLINE integers_t<A> activate_chunk(vector_t<A>* u, index_t count, A slope, A clamp) {
    using V = vector_t<A>;
    using I = integers_t<A>;
    using Bit = typename Bits<A>::type;
    const V high = all_lanes(clamp), low = -high;
    const I last_negative = I{} + (static_cast<Bit>(code_negative) << 30), last_stopped = I{} + (static_cast<Bit>(code_stopped) << 30);
    I codes = {};
#pragma GCC unroll 4
    for (index_t i = 0; i < count; i++) {
        const auto below = u[i] < A(0);
        const V v = below ? u[i] * slope : u[i];
        const V capped = high < v ? high : v, bounded = capped < low ? low : capped;
        u[i] = bounded;
        if constexpr (Record) {  // the last pixel's code is the highest
            const V magnitude = bounded < A(0) ? -bounded : bounded;
            codes = codes >> static_cast<Bit>(2) | (magnitude >= high ? last_stopped : below ? last_negative : I{});
        }
    }
    return codes >> static_cast<Bit>(2 * (chunk_pixels - count));
}

// Instead of the activation, its derivative as the codes say.
template <class A>
STYLEGAN_INLINE void mask_chunk(vector_t<A>* u, index_t count, integers_t<A> codes, A slope) {
    using Bit = typename Bits<A>::type;
#pragma GCC unroll 4
    for (index_t i = 0; i < count; i++) {
        const vector_t<A> v = (codes & static_cast<Bit>(code_negative)) != 0 ? u[i] * slope : u[i];
        u[i] = (codes & static_cast<Bit>(code_stopped)) != 0 ? vector_t<A>{} : v;
        codes >>= static_cast<Bit>(2);
    }
}

template <class T>
class Strip {
    using A = compute_t<T>;
    using V = vector_t<A>;
    static constexpr int n = Lanes<A>::count;

public:
    Strip(const FilteredLreluParams& p, const FirPlan& up, const FirPlan& down)
        : p_(p), up_(up), down_(down), width_(filtered_lrelu_strip(p)), grid_width_(width_ * p.down + down.w), up_taps_(up, p.up),
          up_column_(up.vertical, up.separable ? up.h : 0), column_taps_(up.h),
          down_taps_(down.separable ? down.horizontal : down.taps, down.separable ? down.w : down.w * down.h),
          down_column_(down.vertical, down.separable ? down.h : 0), mirrored_(is_mirrored(down, p.down)), input_rows_(divide_up(up.h, p.up)),
          input_width_(PlaneRows<T>::padded(grid_width_ / p.up + 2 + up_taps_.length)), input_(input_rows_ * input_width_),
          column_(input_width_), grid_(grid_width_), kept_width_(down.separable ? width_ : grid_width_), kept_(down.h * kept_width_),
          result_(PlaneRows<T>::padded(width_)), rows_(larger(up.h, down.h)), planes_(larger(input_width_, width_)), codes_(grid_width_) {}

    // Work item: group of planes, strip of columns, band of rows of the result.
    void run(index_t item) {
        const index_t bands = divide_up(p_.out_h, band_rows), strips = divide_up(p_.out_w, width_);
        const index_t groups = divide_up(p_.n * p_.c, group_planes);
        // Neighbours in memory one after the other: channels of the same pixels, or columns of the same rows.
        const bool nhwc = channels_neighbour(p_.x_stride, p_.y_stride);
        const index_t group = nhwc ? item % groups : item / strips / bands, part = nhwc ? item / groups : item;
        const index_t strip = part % strips, band = part / strips % bands, first = group * group_planes;
        enter_strip(strip * width_);
        const index_t end = smaller(first + group_planes, p_.n * p_.c);
        for (index_t plane = first; plane < end; plane += n) {
            run_band(PlaneGroup<n>(plane, p_.n, p_.c), band * band_rows, smaller((band + 1) * band_rows, p_.out_h));
        }
    }

private:
    // Whether the filter of the down-sampling is StyleGAN3's radial one, which is its own mirror image.
    static bool is_mirrored(const FirPlan& plan, index_t factor) {
        if (plan.separable || factor != 2 || plan.w != 12 || plan.h % 2 != 0) return false;
        for (index_t y = 0; y < plan.h / 2; y++) {
            for (index_t x = 0; x < plan.w; x++) {
                if (plan.taps[y * plan.w + x] != plan.taps[(plan.h - 1 - y) * plan.w + x]) return false;
            }
        }
        return true;
    }

    // What the columns of a strip have in common: result `left_` and on, the grid from left_ * down on, x from `input_left_` on.
    void enter_strip(index_t left) {
        left_ = left, columns_ = smaller(width_, p_.out_w - left), grid_left_ = left * p_.down;
        const bool last = left + columns_ == p_.out_w, records = p_.mode == CodeMode::write;
        const index_t own = last ? p_.up_w : grid_left_ + columns_ * p_.down;  // whose codes this strip writes
        const index_t needed = (left + columns_ - 1) * p_.down + down_.w;
        grid_columns_ = (records ? larger(own, needed) : needed) - grid_left_;
        first_byte_ = grid_left_ / 4, own_bytes_ = divide_up(own, 4) - first_byte_;
        input_left_ = div_up(grid_left_ - p_.pad_x, p_.up);
        input_columns_ = div_up(grid_left_ + grid_columns_ - 1 - p_.pad_x, p_.up) + up_taps_.length - input_left_;
    }

    void run_band(const PlaneGroup<n>& group, index_t begin, index_t end) {
        const bool last = end == p_.out_h, records = p_.mode == CodeMode::write;
        const index_t needed = (end - 1) * p_.down + down_.h;
        V bias = {};
        for (index_t l = 0; l < group.lanes && p_.b != nullptr; l++) bias[l] = load(static_cast<const T*>(p_.b) + group.channel[l]);
        next_input_ = 0;
        for (index_t uy = begin * p_.down; uy < (last && records ? larger(p_.up_h, needed) : needed); uy++) {
            V* kept = kept_.data + uy % down_.h * kept_width_;
            V* grid = down_.separable ? grid_.data : kept;
            make_row(group, uy, bias, grid, records && (last || uy < end * p_.down));
            if (down_.separable) {
                const V* row = grid;
                filter<A>({&row, 1, down_taps_.data, 0, down_.w}, 0, p_.down, kept, 1, columns_);
            }
            const index_t top = uy - (down_.h - 1);
            if (top >= begin * p_.down && top % p_.down == 0 && top / p_.down < end) reduce(group, top);
        }
    }

    // Row uy of the grid, activated.
    void make_row(const PlaneGroup<n>& group, index_t uy, V bias, V* grid, bool record) {
        if (p_.mode == CodeMode::read) {
            const index_t row = uy + p_.code_y;
            if (row < 0 || row >= p_.codes_h) {
                for (index_t i = 0; i < grid_columns_; i++) grid[i] = V{};
                return;
            }
            codes_.read(p_, group, row, grid_left_ + p_.code_x, grid_columns_);
        }
        enlarge(group, uy, bias, grid);
        const A slope = static_cast<A>(p_.slope), clamp = static_cast<A>(p_.clamp);
        for (index_t i = 0, j = 0; i < grid_columns_; i += chunk_pixels, j++) {
            const index_t count = smaller(chunk_pixels, grid_columns_ - i);
            if (p_.mode == CodeMode::read) {
                mask_chunk(grid + i, count, codes_.data()[j], slope);
            } else if (!record) {
                activate_chunk<false>(grid + i, count, slope, clamp);
            } else {
                const uint32_t rest = count < chunk_pixels ? all_stopped << (2 * count) : 0;
                codes_.data()[j] = activate_chunk<true>(grid + i, count, slope, clamp) | static_cast<typename Bits<A>::type>(rest);
            }
        }
        if (record) codes_.write(p_, group, uy, first_byte_, own_bytes_);
    }

    // Row uy of the grid before the activation.
    void enlarge(const PlaneGroup<n>& group, index_t uy, V bias, V* grid) {
        const Window window_ = window(uy, p_.in_h, up_.h, p_.up, 1, p_.pad_y);
        for (index_t iy = larger(window_.first, next_input_); iy < window_.first + window_.count; iy++) {
            planes_.read(static_cast<const T*>(p_.x), p_.x_stride, group, iy, input_left_, larger(-input_left_, 0),
                smaller(input_columns_, p_.in_w - input_left_), bias, input_row(iy), input_columns_);
            next_input_ = iy + 1;
        }
        for (index_t j = 0; j < window_.count; j++) rows_.data[j] = input_row(window_.first + j);
        index_t count = window_.count, first_tap = window_.tap;
        if (up_.separable) {
            for (index_t j = 0; j < count; j++) column_taps_.data[j] = up_column_.data[first_tap + j * p_.up];
            filter<A>({rows_.data, count, column_taps_.data, 1, 1}, 0, 1, column_.data, 1, input_columns_);
            rows_.data[0] = column_.data, count = 1, first_tap = 0;
        }
        for (index_t r = 0; r < smaller(p_.up, grid_columns_); r++) {
            const index_t base = grid_left_ + r - p_.pad_x, first = div_up(base, p_.up), phase = first * p_.up - base;
            const index_t tap_count = phase < up_.w ? divide_up(up_.w - phase, p_.up) : 0;
            filter<A>({rows_.data, count, up_taps_.row(first_tap, phase), p_.up * p_.up * up_taps_.length, tap_count},
                first - input_left_, 1, grid + r, p_.up, divide_up(grid_columns_ - r, p_.up));
        }
    }

    V* input_row(index_t iy) { return input_.data + iy % input_rows_ * input_width_; }

    // The row of the result that starts at row `top` of the grid.
    void reduce(const PlaneGroup<n>& group, index_t top) {
        for (index_t k = 0; k < down_.h; k++) rows_.data[k] = kept_.data + (top + k) % down_.h * kept_width_;
        if (down_.separable) {
            filter<A>({rows_.data, down_.h, down_column_.data, 1, 1}, 0, 1, result_.data, 1, columns_);
        } else if (mirrored_) {
            filter_mirrored<2, 12, A>({rows_.data, down_.h, down_taps_.data, down_.w, down_.w}, result_.data, columns_);
        } else {
            filter<A>({rows_.data, down_.h, down_taps_.data, down_.w, down_.w}, 0, p_.down, result_.data, 1, columns_);
        }
        planes_.write(result_.data, columns_, static_cast<T*>(p_.y), p_.y_stride, group, top / p_.down, left_);
    }

    const FilteredLreluParams& p_;
    const FirPlan &up_, &down_;
    const index_t width_, grid_width_;
    const PhaseTaps<A> up_taps_;
    const Taps<A> up_column_;
    Buffer<A> column_taps_;
    const Taps<A> down_taps_, down_column_;
    const bool mirrored_;
    const index_t input_rows_, input_width_;
    Buffer<V> input_, column_, grid_;
    const index_t kept_width_;
    Buffer<V> kept_, result_;
    Buffer<const V*> rows_;
    PlaneRows<T> planes_;
    CodeRow<A> codes_;
    index_t left_ = 0, columns_ = 0, grid_left_ = 0, grid_columns_ = 0, first_byte_ = 0, own_bytes_ = 0, input_left_ = 0, input_columns_ = 0;
    index_t next_input_ = 0;
};

STYLEGAN_EXPORT

void filtered_lrelu(
    const FilteredLreluParams& p, const FirPlan& up, const FirPlan& down, index_t begin, index_t end) {
    with_type(p.dtype, [&](auto* type) {
        Strip<std::remove_pointer_t<decltype(type)>> strip(p, up, down);
        for (index_t i = begin; i < end; i++) strip.run(i);
    });
}

STYLEGAN_END
