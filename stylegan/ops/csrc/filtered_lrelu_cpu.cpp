// stylegan::filtered_lrelu and filtered_lrelu_masked on the CPU. The grid between the filters is never held as a whole: its
// rows are made from top to bottom, and the last fd_h of them are kept, filtered along the row already where fd is separable.
#include <type_traits>

#include "cpu_kernels.h"
#include "filtered_lrelu_cpu.h"
#include "fir_cpu.h"

STYLEGAN_BEGIN

template <class T>
class Strip {
    using A = compute_t<T>;

public:
    Strip(const FilteredLreluParams& p, const FirPlan& up, const FirPlan& down)
        : p_(p), up_(up), down_(down), nhwc_(channels_neighbour(p.x_stride, p.y_stride)), unit_(nhwc_ ? smaller(p.c, strip_channels) : 1),
          ring_length_((down.separable ? p.out_w : p.up_w) * unit_),
          x_((up.separable ? 1 : up.h) * p.in_w * unit_), u_(p.up_w * unit_), ring_(down.h * ring_length_),
          y_(p.out_w * unit_), part_(larger(p.up_w, p.out_w) * unit_),
          scratch_(larger(larger(p.in_w, p.up_w), p.out_w) * unit_), weights_(down.h), rows_(down.h),
          codes_((p.up_w + 4) * unit_) {}

    // Work item: image, strip of channels, band of rows of the result.
    void run(index_t item) {
        const index_t bands = filtered_lrelu_bands(p_), strips = (p_.c + unit_ - 1) / unit_;
        const index_t band = item % bands;
        first_channel_ = item / bands % strips * unit_;
        n_ = item / bands / strips;
        const index_t channels = smaller(unit_, p_.c - first_channel_);
        const index_t begin = band * band_rows, end = smaller(begin + band_rows, p_.out_h);
        const bool last = band == bands - 1, records = p_.mode == CodeMode::write;
        const index_t needed = (end - 1) * p_.down + down_.h;
        RowFilter<A> widen(p_.in_w, p_.up_w, channels, first_taps(up_), up_.w, p_.up, 1, p_.pad_x);
        RowFilter<A> narrow(p_.up_w, p_.out_w, channels, first_taps(down_), down_.w, 1, p_.down, 0);
        for (index_t uy = begin * p_.down; uy < (last && records ? larger(p_.up_h, needed) : needed); uy++) {
            enlarge(uy, channels, widen);
            activate(uy, channels, records && (last || uy < end * p_.down));
            A* slot = ring_.data + uy % down_.h * ring_length_;
            if (down_.separable) {
                narrow(u_.data, slot);
            } else {
                for (index_t i = 0; i < p_.up_w * channels; i++) slot[i] = u_.data[i];
            }
            const index_t top = uy - (down_.h - 1);
            if (top >= begin * p_.down && top % p_.down == 0 && top / p_.down < end) reduce(top, channels, narrow);
        }
    }

private:
    static const double* first_taps(const FirPlan& plan) { return plan.separable ? plan.horizontal : plan.taps; }

    // Row iy of x plus the bias, over the channels of this strip.
    void read(index_t iy, index_t channels, A weight, bool add, A* out) const {
        const T* x = static_cast<const T*>(p_.x) + n_ * p_.x_stride[0] + first_channel_ * p_.x_stride[1] + iy * p_.x_stride[2];
        const T* b = p_.b == nullptr ? nullptr : static_cast<const T*>(p_.b) + first_channel_;
        for (index_t ix = 0; ix < p_.in_w; ix++) {
            for (index_t k = 0; k < channels; k++) {
                const A v = load(x + ix * p_.x_stride[3] + k) + (b == nullptr ? A(0) : load(b + k));
                A& to = out[ix * channels + k];
                to = add ? to + weight * v : weight * v;
            }
        }
    }

    // Row uy of the grid, before the activation.
    void enlarge(index_t uy, index_t channels, RowFilter<A>& widen) {
        const Window rows = window(uy, p_.in_h, up_.h, p_.up, 1, p_.pad_y);
        const index_t length = p_.in_w * channels;
        if (up_.separable) {
            for (index_t i = 0; i < length && rows.count == 0; i++) x_.data[i] = 0;
            for (index_t j = 0; j < rows.count; j++) {
                read(rows.first + j, channels, static_cast<A>(up_.vertical[rows.tap + j * p_.up]), j > 0, x_.data);
            }
            return widen(x_.data, u_.data);
        }
        for (index_t i = 0; i < p_.up_w * channels; i++) u_.data[i] = 0;
        for (index_t j = 0; j < rows.count; j++) {
            read(rows.first + j, channels, A(1), false, x_.data);
            widen.set_taps(up_.taps + (rows.tap + j * p_.up) * up_.w);
            widen(x_.data, part_.data);
            for (index_t i = 0; i < p_.up_w * channels; i++) u_.data[i] += part_.data[i];
        }
    }

    void activate(index_t uy, index_t channels, bool record) {
        const index_t length = p_.up_w * channels;
        const A slope = p_.slope, clamp = p_.clamp;
        A* u = u_.data;
        if (p_.mode == CodeMode::read) {
            look_up(uy, channels);
            const uint8_t* codes = codes_.data;
#pragma omp simd
            for (index_t i = 0; i < length; i++) {
                u[i] = codes[i] == code_stopped ? A(0) : codes[i] == code_negative ? u[i] * slope : u[i];
            }
            return;
        }
        uint8_t* codes = codes_.data;
#pragma omp simd
        for (index_t i = 0; i < length; i++) {
            const A v = u[i] < 0 ? u[i] * slope : u[i];
            codes[i] = v >= clamp || v <= -clamp ? code_stopped : u[i] < 0 ? code_negative : code_positive;
            const A below = v > clamp ? clamp : v;
            u[i] = below < -clamp ? -clamp : below;
        }
        if (!record) return;
        for (index_t i = length; i < length + 4 * channels; i++) codes[i] = code_stopped;
        uint8_t* out = p_.codes + n_ * p_.codes_stride[0] + first_channel_ * p_.codes_stride[1] + uy * p_.codes_stride[2];
        for (index_t byte = 0; byte < p_.codes_bytes_w; byte++) {
            const uint8_t* c = codes + 4 * byte * channels;
            for (index_t k = 0; k < channels; k++) {
                const int bits = c[k] | c[k + channels] << 2 | c[k + 2 * channels] << 4 | c[k + 3 * channels] << 6;
                out[byte * p_.codes_stride[3] + k] = static_cast<uint8_t>(bits);
            }
        }
    }

    // The codes that row uy of the grid meets; those outside of the recorded ones stop everything.
    void look_up(index_t uy, index_t channels) {
        uint8_t* codes = codes_.data;
        for (index_t i = 0; i < p_.up_w * channels; i++) codes[i] = code_stopped;
        const index_t row = uy + p_.code_y;
        if (row < 0 || row >= p_.codes_h) return;
        const uint8_t* in = p_.codes + n_ * p_.codes_stride[0] + first_channel_ * p_.codes_stride[1] + row * p_.codes_stride[2];
        const index_t begin = larger(-p_.code_x, 0), end = smaller(p_.codes_bytes_w * 4 - p_.code_x, p_.up_w);
        for (index_t ux = begin; ux < end; ux++) {
            const index_t at = ux + p_.code_x;
            const uint8_t* bits = in + at / 4 * p_.codes_stride[3];
            for (index_t k = 0; k < channels; k++) codes[ux * channels + k] = bits[k] >> (2 * (at % 4)) & 3;
        }
    }

    // The row of the result that starts at row `top` of the grid.
    void reduce(index_t top, index_t channels, RowFilter<A>& narrow) {
        const index_t length = p_.out_w * channels, oy = top / p_.down;
        A* y = y_.data;
        if (down_.separable) {
            for (index_t k = 0; k < down_.h; k++) {
                rows_.data[k] = ring_.data + (top + k) % down_.h * ring_length_;
                weights_.data[k] = static_cast<A>(down_.vertical[k]);
            }
            combine(rows_.data, weights_.data, down_.h, length, y, scratch_.data);
        } else {
            for (index_t i = 0; i < length; i++) y[i] = 0;
            for (index_t k = 0; k < down_.h; k++) {
                narrow.set_taps(down_.taps + k * down_.w);
                narrow(ring_.data + (top + k) % down_.h * ring_length_, part_.data);
                for (index_t i = 0; i < length; i++) y[i] += part_.data[i];
            }
        }
        T* out = static_cast<T*>(p_.y) + n_ * p_.y_stride[0] + first_channel_ * p_.y_stride[1] + oy * p_.y_stride[2];
        for (index_t ox = 0; ox < p_.out_w; ox++) {
            for (index_t k = 0; k < channels; k++) store(out + ox * p_.y_stride[3] + k, y[ox * channels + k]);
        }
    }

    const FilteredLreluParams& p_;
    const FirPlan &up_, &down_;
    const bool nhwc_;
    const index_t unit_, ring_length_;
    index_t n_ = 0, first_channel_ = 0;
    Buffer<A> x_, u_, ring_, y_, part_, scratch_, weights_;
    Buffer<const A*> rows_;
    Buffer<uint8_t> codes_;
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
