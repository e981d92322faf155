// How an image [n, c, out_h, out_w] is divided into work items on the CPU: groups of planes, strips of columns, bands of rows.
#pragma once
#include "dtype.h"
#include "inline.h"

namespace stylegan {

STYLEGAN_INLINE index_t divide_up(index_t a, index_t b) { return (a + b - 1) / b; }

struct WorkItem {
    index_t first_plane, end_plane, left, columns, top, end_row;
};

struct Division {
    static constexpr index_t group_planes = 16;  // planes that are done together; as many as fit into the widest vector
    index_t planes, out_h, out_w, groups, strips, bands, width, band_rows;
    bool nhwc;

    // Strips of about `columns`, as even as multiples of `unit` can be.
    Division(index_t planes_, index_t h, index_t w, index_t columns, index_t unit, index_t rows, bool nhwc_)
        : planes(planes_), out_h(h), out_w(w), groups(divide_up(planes_, group_planes)),
          width(divide_up(divide_up(w, divide_up(w, columns)), unit) * unit), band_rows(rows), nhwc(nhwc_) {
        strips = divide_up(w, width), bands = divide_up(h, band_rows);
    }

    STYLEGAN_INLINE index_t items() const { return groups * strips * bands; }

    // Neighbours in memory come one after the other: channels of the same pixels, or columns of the same rows.
    STYLEGAN_INLINE WorkItem item(index_t i) const {
        const index_t group = nhwc ? i % groups : i / strips / bands, part = nhwc ? i / groups : i;
        const index_t strip = part % strips, band = part / strips % bands;
        const index_t end_plane = (group + 1) * group_planes, columns = out_w - strip * width, end_row = (band + 1) * band_rows;
        return {group * group_planes, end_plane < planes ? end_plane : planes, strip * width, columns < width ? columns : width,
            band * band_rows, end_row < out_h ? end_row : out_h};
    }
};

}  // namespace stylegan
