// stylegan::upfirdn2d on the CPU: for every row of the result, first down the columns, then along the row.
#include <type_traits>

#include "cpu_kernels.h"
#include "fir_cpu.h"
#include "layout_cpu.h"

STYLEGAN_BEGIN

template <class T>
void rows(const Upfirdn2dParams& p, const FirPlan& plan, index_t begin, index_t end) {
    using A = compute_t<T>;
    const bool nhwc = channels_neighbour(p.x_stride, p.y_stride);
    const index_t unit = nhwc ? p.c : 1, planes = nhwc ? 1 : p.c;
    const index_t in_length = p.in_w * unit, out_length = p.out_w * unit;
    Buffer<A> column(in_length), weights(plan.h), scratch(larger(in_length, out_length));
    Buffer<A> part(plan.separable ? 0 : out_length), total(plan.separable ? 0 : out_length);
    Buffer<const T*> inputs(plan.h);
    const double* first_taps = plan.separable ? plan.horizontal : plan.taps;
    RowFilter<A> along(p.in_w, p.out_w, unit, first_taps, plan.w, p.up_x, p.down_x, p.pad_x);
    for (index_t r = begin; r < end; r++) {
        const index_t oy = r % p.out_h, plane = r / p.out_h % planes, n = r / p.out_h / planes;
        const T* x = static_cast<const T*>(p.x) + n * p.x_stride[0] + plane * p.x_stride[1];
        T* y = static_cast<T*>(p.y) + n * p.y_stride[0] + plane * p.y_stride[1] + oy * p.y_stride[2];
        const Window down = window(oy, p.in_h, plan.h, p.up_y, p.down_y, p.pad_y);
        for (index_t j = 0; j < down.count; j++) {
            inputs.data[j] = x + (down.first + j) * p.x_stride[2];
            weights.data[j] = plan.separable ? static_cast<A>(plan.vertical[down.tap + j * p.up_y]) : A(1);
        }
        if (plan.separable) {
            combine(inputs.data, weights.data, down.count, in_length, column.data, scratch.data);
            along(column.data, y);
            continue;
        }
        for (index_t i = 0; i < out_length; i++) total.data[i] = A(0);
        for (index_t j = 0; j < down.count; j++) {
            combine(inputs.data + j, weights.data, 1, in_length, column.data, scratch.data);
            along.set_taps(plan.taps + (down.tap + j * p.up_y) * plan.w);
            along(column.data, part.data);
            for (index_t i = 0; i < out_length; i++) total.data[i] += part.data[i];
        }
        for (index_t i = 0; i < out_length; i++) store(y + i, total.data[i]);
    }
}

STYLEGAN_EXPORT

void upfirdn2d(const Upfirdn2dParams& p, const FirPlan& plan, index_t begin, index_t end) {
    with_type(p.dtype, [&](auto* type) { rows<std::remove_pointer_t<decltype(type)>>(p, plan, begin, end); });
}

STYLEGAN_END
