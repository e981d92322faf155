// Rows of several planes as rows of vectors, one lane a plane, and back, in both memory formats.
#pragma once
#include "fir_cpu.h"
#include "lanes_cpu.h"

STYLEGAN_BEGIN

// The planes, counted over all images, that the lanes stand for. The last group may leave lanes over.
template <int N>
struct PlaneGroup {
    index_t lanes;
    index_t image[N], channel[N];

    PlaneGroup(index_t first, index_t images, index_t channels) : lanes(smaller(N, images * channels - first)) {
        for (index_t l = 0; l < lanes; l++) image[l] = (first + l) / channels, channel[l] = (first + l) % channels;
    }

    index_t offset(index_t lane, const index_t* stride) const { return image[lane] * stride[0] + channel[lane] * stride[1]; }

    // Whether the lanes lie side by side in memory, so that a pixel is one vector there, too.
    bool neighbours(const index_t* stride) const { return stride[1] == 1 && lanes == N && image[0] == image[N - 1]; }
};

template <class T>
class PlaneRows {
    using A = compute_t<T>;
    using V = vector_t<A>;
    static constexpr int n = Lanes<A>::count;

public:
    // Columns that a buffer for rows of `columns` must hold: they are turned in squares.
    static index_t padded(index_t columns) { return (columns + n - 1) / n * n; }

    explicit PlaneRows(index_t columns) : pitch_(padded(columns)), read_(n * pitch_), written_(n * pitch_) {
        for (index_t i = 0; i < n * pitch_; i++) read_.data[i] = 0;  // lanes that stand for no plane
    }

    // out[i] = x[column + i] + bias for begin <= i < end; zero for the other i < columns.
    void read(const T* x, const index_t* stride, const PlaneGroup<n>& group, index_t y, index_t column, index_t begin, index_t end,
              V bias, V* out, index_t columns) {
        if (group.neighbours(stride)) {
            const T* from = x + group.offset(0, stride) + y * stride[2] + column * stride[3];
            for (index_t i = 0; i < smaller(begin, columns); i++) out[i] = V{};
            for (index_t i = begin; i < end; i++) {
                A pixel[n];
                for (int l = 0; l < n; l++) pixel[l] = load(from + i * stride[3] + l);
                out[i] = load_vector(pixel) + bias;
            }
            for (index_t i = larger(end, begin); i < columns; i++) out[i] = V{};
            return;
        }
        for (index_t l = 0; l < group.lanes; l++) {
            const T* from = x + group.offset(l, stride) + y * stride[2] + column * stride[3];
            A* to = read_.data + l * pitch_;
            const A b = bias[l];
            for (index_t i = 0; i < smaller(begin, columns); i++) to[i] = 0;
            if (stride[3] == 1) {
                for (index_t i = begin; i < end; i++) to[i] = load(from + i) + b;
            } else {
                for (index_t i = begin; i < end; i++) to[i] = load(from + i * stride[3]) + b;
            }
            for (index_t i = larger(end, begin); i < columns; i++) to[i] = 0;
        }
        for (index_t i = 0; i < columns; i += n) transpose(read_.data + i, pitch_, reinterpret_cast<A*>(out + i), n);
    }

    // y[column + i] = in[i] for i < columns.
    void write(const V* in, index_t columns, T* y, const index_t* stride, const PlaneGroup<n>& group, index_t row, index_t column) {
        if (group.neighbours(stride)) {
            T* to = y + group.offset(0, stride) + row * stride[2] + column * stride[3];
            for (index_t i = 0; i < columns; i++) {
                A pixel[n];
                store_vector(pixel, in[i]);
                for (int l = 0; l < n; l++) store(to + i * stride[3] + l, pixel[l]);
            }
            return;
        }
        for (index_t i = 0; i < columns; i += n) transpose(reinterpret_cast<const A*>(in + i), n, written_.data + i, pitch_);
        for (index_t l = 0; l < group.lanes; l++) {
            T* to = y + group.offset(l, stride) + row * stride[2] + column * stride[3];
            const A* from = written_.data + l * pitch_;
            if (stride[3] == 1) {
                for (index_t i = 0; i < columns; i++) store(to + i, from[i]);
            } else {
                for (index_t i = 0; i < columns; i++) store(to + i * stride[3], from[i]);
            }
        }
    }

private:
    const index_t pitch_;
    Buffer<A> read_, written_;
};

}  // namespace
STYLEGAN_END
