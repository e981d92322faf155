// stylegan::filtered_lrelu and filtered_lrelu_masked on the CPU. As many planes as a vector has lanes are done at once, in both
// memory formats: they are turned on the way in and out. The grid between the filters is never held as a whole: in strips
// that fit into the first cache, its rows are made from top to bottom, and the last fd_h of them are kept, filtered along
// the row already where fd is separable.
#include <type_traits>

#include "codes_cpu.h"
#include "cpu_kernels.h"
#include "filtered_lrelu_cpu.h"
#include "resample_cpu.h"

STYLEGAN_BEGIN

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
        : p_(p), down_(down), division_(filtered_lrelu_division(p)), grid_width_(division_.width * p.down + down.w),
          enlarger_({p.x, p.b, p.x_stride, p.n, p.c, p.in_h, p.in_w, p.up, p.up, 1, 1, p.pad_x, p.pad_y}, up, grid_width_),
          taps_(down.separable ? down.horizontal : down.taps, down.separable ? down.w : down.w * down.h),
          column_taps_(down.vertical, down.separable ? down.h : 0), mirrored_(is_mirrored(down, p.down)), grid_(grid_width_),
          kept_width_(down.separable ? division_.width : grid_width_), kept_(down.h * kept_width_),
          result_(PlaneRows<T>::padded(division_.width)), rows_(down.h), planes_(division_.width), codes_(grid_width_) {}

    void run(index_t i) {
        const WorkItem item = division_.item(i);
        enter_columns(item.left, item.columns);
        for (index_t plane = item.first_plane; plane < item.end_plane; plane += n) {
            const PlaneGroup<n> group(plane, p_.n, p_.c);
            enlarger_.enter_planes(&group);
            run_band(group, item.top, item.end_row);
        }
    }

private:
    // Whether the filter of the down-sampling is like StyleGAN3's radial one, which is its own mirror image.
    static bool is_mirrored(const FirPlan& plan, index_t factor) {
        if (plan.separable || factor != 2 || plan.w != 12 || plan.h % 2 != 0) return false;
        for (index_t y = 0; y < plan.h / 2; y++) {
            for (index_t x = 0; x < plan.w; x++) {
                if (plan.taps[y * plan.w + x] != plan.taps[(plan.h - 1 - y) * plan.w + x]) return false;
            }
        }
        return true;
    }

    void enter_columns(index_t left, index_t columns) {
        left_ = left, columns_ = columns, grid_left_ = left * p_.down;
        const bool last = left + columns == p_.out_w;
        const index_t own = last ? p_.up_w : grid_left_ + columns * p_.down;  // whose codes this strip writes
        const index_t needed = (left + columns - 1) * p_.down + down_.w;
        grid_columns_ = (p_.mode == CodeMode::write ? larger(own, needed) : needed) - grid_left_;
        first_byte_ = grid_left_ / 4, own_bytes_ = divide_up(own, 4) - first_byte_;
        enlarger_.enter_columns(grid_left_, grid_columns_);
    }

    void run_band(const PlaneGroup<n>& group, index_t begin, index_t end) {
        const bool last = end == p_.out_h, records = p_.mode == CodeMode::write;
        const index_t needed = (end - 1) * p_.down + down_.h;
        for (index_t uy = begin * p_.down; uy < (last && records ? larger(p_.up_h, needed) : needed); uy++) {
            V* kept = kept_row(uy);
            V* grid = down_.separable ? grid_.data : kept;
            make_row(group, uy, grid, records && (last || uy < end * p_.down));
            if (down_.separable) {
                const V* row = grid;
                filter<A>({&row, 1, taps_.data, 0, down_.w}, 0, p_.down, kept, 1, columns_);
            }
            const index_t top = uy - (down_.h - 1);
            if (top >= begin * p_.down && top % p_.down == 0 && top / p_.down < end) reduce(group, top);
        }
    }

    // Row uy of the grid.
    void make_row(const PlaneGroup<n>& group, index_t uy, V* grid, bool record) {
        if (p_.mode == CodeMode::read) {
            const index_t row = uy + p_.code_y;
            if (row < 0 || row >= p_.codes_h) {
                for (index_t i = 0; i < grid_columns_; i++) grid[i] = V{};
                return;
            }
            codes_.read(p_, group, row, grid_left_ + p_.code_x, grid_columns_);
        }
        enlarger_.make_row(uy, grid);
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

    V* kept_row(index_t uy) { return kept_.data + uy % down_.h * kept_width_; }

    // The row of the result that starts at row `top` of the grid.
    void reduce(const PlaneGroup<n>& group, index_t top) {
        for (index_t k = 0; k < down_.h; k++) rows_.data[k] = kept_row(top + k);
        const Window2d<A> square{rows_.data, down_.h, taps_.data, down_.w, down_.w};
        if (down_.separable) {
            filter<A>({rows_.data, down_.h, column_taps_.data, 1, 1}, 0, 1, result_.data, 1, columns_);
        } else if (mirrored_) {
            filter_mirrored<2, 12>(square, result_.data, columns_);
        } else {
            filter(square, 0, p_.down, result_.data, 1, columns_);
        }
        planes_.write(result_.data, columns_, static_cast<T*>(p_.y), p_.y_stride, group, top / p_.down, left_);
    }

    const FilteredLreluParams& p_;
    const FirPlan& down_;
    const Division division_;
    const index_t grid_width_;
    Resampler<T> enlarger_;
    const Taps<A> taps_, column_taps_;
    const bool mirrored_;
    Buffer<V> grid_;
    const index_t kept_width_;
    Buffer<V> kept_, result_;
    Buffer<const V*> rows_;
    PlaneRows<T> planes_;
    CodeRow<A> codes_;
    index_t left_ = 0, columns_ = 0, grid_left_ = 0, grid_columns_ = 0, first_byte_ = 0, own_bytes_ = 0;
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
