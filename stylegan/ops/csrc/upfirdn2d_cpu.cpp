// stylegan::upfirdn2d on the CPU: for every row of the result, first down the columns, then along the row.
#include "upfirdn2d_cpu.h"

#include <type_traits>

#include "cpu_kernels.h"
#include "resample_cpu.h"

STYLEGAN_BEGIN

// contiguous: as many planes as a vector has lanes are done at once.
template <class T>
void rows_of_planes(const Upfirdn2dParams& p, const FirPlan& plan, index_t begin, index_t end) {
    using A = compute_t<T>;
    constexpr int n = Lanes<A>::count;
    const Division division = upfirdn2d_division(p);
    const Resampling resampling{p.x, nullptr, p.x_stride, p.n, p.c, p.in_h, p.in_w, p.up_x, p.up_y, p.down_x, p.down_y, p.pad_x, p.pad_y};
    Resampler<T> resampler(resampling, plan, division.width);
    PlaneRows<T> planes(division.width);
    Buffer<vector_t<A>> row(PlaneRows<T>::padded(division.width)), more(PlaneRows<T>::padded(division.width));
    for (index_t i = begin; i < end; i++) {
        const WorkItem item = division.item(i);
        resampler.enter_columns(item.left, item.columns);
        for (index_t plane = item.first_plane; plane < item.end_plane; plane += n) {
            const PlaneGroup<n> group(plane, p.n, p.c);
            resampler.enter_planes(&group);
            for (index_t y = item.top; y < item.end_row; y++) {
                resampler.make_row(y, row.data);
                if (p.added != nullptr) {
                    planes.read(static_cast<const T*>(p.added), p.y_stride, group, y, item.left, 0, item.columns, vector_t<A>{}, more.data,
                        item.columns);
                    for (index_t i = 0; i < item.columns; i++) row.data[i] += more.data[i];
                }
                planes.write(row.data, item.columns, static_cast<T*>(p.y), p.y_stride, group, y, item.left);
            }
        }
    }
}

// channels_last: a row with all its channels is filtered in place, work items are rows.
template <class T>
void rows_of_pixels(const Upfirdn2dParams& p, const FirPlan& plan, index_t begin, index_t end) {
    using A = compute_t<T>;
    const index_t in_length = p.in_w * p.c, out_length = p.out_w * p.c;
    Buffer<A> column(in_length), weights(plan.h), scratch(larger(in_length, out_length));
    Buffer<A> part(plan.separable ? 0 : out_length), total(plan.separable && p.added == nullptr ? 0 : out_length);
    Buffer<const T*> inputs(plan.h);
    const double* first_taps = plan.separable ? plan.horizontal : plan.taps;
    RowFilter<A> along(p.in_w, p.out_w, p.c, first_taps, plan.w, p.up_x, p.down_x, p.pad_x);
    for (index_t r = begin; r < end; r++) {
        const index_t oy = r % p.out_h, n = r / p.out_h;
        const T* x = static_cast<const T*>(p.x) + n * p.x_stride[0];
        const index_t out = n * p.y_stride[0] + oy * p.y_stride[2];
        T* y = static_cast<T*>(p.y) + out;
        const T* more = p.added == nullptr ? nullptr : static_cast<const T*>(p.added) + out;
        const Window down = window(oy, p.in_h, plan.h, p.up_y, p.down_y, p.pad_y);
        for (index_t j = 0; j < down.count; j++) {
            inputs.data[j] = x + (down.first + j) * p.x_stride[2];
            weights.data[j] = plan.separable ? static_cast<A>(plan.vertical[down.tap + j * p.up_y]) : A(1);
        }
        if (plan.separable) {
            combine(inputs.data, weights.data, down.count, in_length, column.data, scratch.data);
            if (more == nullptr) {
                along(column.data, y);
                continue;
            }
            along(column.data, total.data);
            for (index_t i = 0; i < out_length; i++) store(y + i, total.data[i] + load(more + i));
            continue;
        }
        for (index_t i = 0; i < out_length; i++) total.data[i] = A(0);
        for (index_t j = 0; j < down.count; j++) {
            combine(inputs.data + j, weights.data, 1, in_length, column.data, scratch.data);
            along.set_taps(plan.taps + (down.tap + j * p.up_y) * plan.w);
            along(column.data, part.data);
            for (index_t i = 0; i < out_length; i++) total.data[i] += part.data[i];
        }
        for (index_t i = 0; i < out_length; i++) store(y + i, more == nullptr ? total.data[i] : total.data[i] + load(more + i));
    }
}

STYLEGAN_EXPORT

void upfirdn2d(const Upfirdn2dParams& p, const FirPlan& plan, index_t begin, index_t end) {
    with_type(p.dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        (channels_neighbour(p.x_stride, p.y_stride) ? rows_of_pixels<T> : rows_of_planes<T>)(p, plan, begin, end);
    });
}

STYLEGAN_END
