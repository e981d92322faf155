// A row of filtered_lrelu's codes, as the lanes of vectors: 16 pixels, and so four bytes of memory, to a lane.
#pragma once
#include "filtered_lrelu.h"
#include "planes_cpu.h"

STYLEGAN_BEGIN

constexpr index_t chunk_pixels = 16, chunk_bytes = 4;
constexpr uint32_t all_stopped = 0xaaaaaaaau;

STYLEGAN_INLINE uint32_t load_bytes(const uint8_t* p) {
    return static_cast<uint32_t>(p[0]) | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
           static_cast<uint32_t>(p[3]) << 24;
}

STYLEGAN_INLINE void store_bytes(uint8_t* p, uint32_t four) {
    p[0] = static_cast<uint8_t>(four), p[1] = static_cast<uint8_t>(four >> 8);
    p[2] = static_cast<uint8_t>(four >> 16), p[3] = static_cast<uint8_t>(four >> 24);
}

template <class A>
class CodeRow {
    using I = integers_t<A>;
    using Bit = typename Bits<A>::type;
    static constexpr int n = Lanes<A>::count;
    typedef uint8_t Bytes __attribute__((vector_size(n)));

public:
    explicit CodeRow(index_t pixels) : chunks_(pixels / chunk_pixels + 2), codes_(chunks_) {}

    I* data() { return codes_.data; }

    // Bytes [0, bytes) of the row to those from `first` on of row y in memory.
    void write(const FilteredLreluParams& p, const PlaneGroup<n>& group, index_t y, index_t first, index_t bytes) const {
        const index_t *stride = p.codes_stride, step = stride[3];
        uint8_t* row = p.codes + y * stride[2] + first * step;
        if (group.neighbours(stride)) {
            row += group.offset(0, stride);
            for (index_t i = 0; i < bytes; i++) {
                const I shifted = codes_.data[i / chunk_bytes] >> static_cast<Bit>(8 * (i % chunk_bytes));
                const Bytes byte = __builtin_convertvector(shifted, Bytes);
                __builtin_memcpy(row + i * step, &byte, n);
            }
            return;
        }
        for (index_t l = 0; l < group.lanes; l++) {
            uint8_t* to = row + group.offset(l, stride);
            index_t i = 0;
            for (; step == 1 && i + chunk_bytes <= bytes; i += chunk_bytes) {
                store_bytes(to + i, static_cast<uint32_t>(lane(i / chunk_bytes, l)));
            }
            for (; i < bytes; i++) to[i * step] = static_cast<uint8_t>(lane(i / chunk_bytes, l) >> (8 * (i % chunk_bytes)));
        }
    }

    // The codes from pixel `first`, which may be negative, of row y on, as many as `pixels`; stopped outside of the recorded ones.
    void read(const FilteredLreluParams& p, const PlaneGroup<n>& group, index_t y, index_t first, index_t pixels) {
        const index_t first_byte = first >= 0 ? first / 4 : -((3 - first) / 4);
        const index_t chunks = pixels / chunk_pixels + 2;
        const uint8_t* row = p.codes + y * p.codes_stride[2];
        if (group.neighbours(p.codes_stride)) {
            read_neighbours(row + group.offset(0, p.codes_stride), p.codes_stride[3], p.codes_bytes_w, first_byte, chunks);
        } else {
            for (index_t l = 0; l < n; l++) {
                read_lane(row + group.offset(l < group.lanes ? l : 0, p.codes_stride), p.codes_stride[3], p.codes_bytes_w, first_byte, chunks, l);
            }
        }
        const index_t shift = 2 * (first - 4 * first_byte);
        if (shift == 0) return;
        for (index_t j = 0; j + 1 < chunks; j++) {
            codes_.data[j] = codes_.data[j] >> static_cast<Bit>(shift) | codes_.data[j + 1] << static_cast<Bit>(32 - shift);
        }
    }

private:
    Bit& lane(index_t j, index_t l) const { return reinterpret_cast<Bit*>(codes_.data)[j * n + l]; }

    static I widened(const uint8_t* p) {
        Bit wide[n];
#pragma omp simd
        for (int l = 0; l < n; l++) wide[l] = p[l];
        I all;
        __builtin_memcpy(&all, wide, sizeof all);
        return all;
    }

    void read_neighbours(const uint8_t* row, index_t step, index_t row_bytes, index_t first_byte, index_t chunks) {
        for (index_t j = 0; j < chunks; j++) {
            const index_t at = first_byte + j * chunk_bytes;
            const uint8_t* p = row + at * step;
            if (at >= 0 && at + chunk_bytes <= row_bytes) {
                codes_.data[j] = widened(p) | widened(p + step) << Bit(8) | widened(p + 2 * step) << Bit(16) | widened(p + 3 * step) << Bit(24);
                continue;
            }
            I four = I{} + static_cast<Bit>(all_stopped);
            for (index_t k = larger(-at, 0); k < smaller(chunk_bytes, row_bytes - at); k++) {
                four = (four & ~(Bit(0xff) << (8 * k))) | widened(p + k * step) << static_cast<Bit>(8 * k);
            }
            codes_.data[j] = four;
        }
    }

    void read_lane(const uint8_t* row, index_t step, index_t row_bytes, index_t first_byte, index_t chunks, index_t l) {
        // Chunks [begin, end) lie in the row as a whole.
        const index_t begin = step == 1 ? smaller(larger(div_up(-first_byte, chunk_bytes), 0), chunks) : chunks;
        const index_t end = larger(smaller((row_bytes - first_byte) / chunk_bytes, chunks), begin);
        for (index_t j = begin; j < end; j++) lane(j, l) = load_bytes(row + first_byte + j * chunk_bytes);
        for (index_t j = 0; j < chunks; j++) {
            if (j == begin) j = end;
            if (j >= chunks) break;
            const index_t at = first_byte + j * chunk_bytes;
            uint32_t four = all_stopped;
            for (index_t k = larger(-at, 0); k < smaller(chunk_bytes, row_bytes - at); k++) {
                four = (four & ~(0xffu << (8 * k))) | static_cast<uint32_t>(row[(at + k) * step]) << (8 * k);
            }
            lane(j, l) = four;
        }
    }

    const index_t chunks_;
    Buffer<I> codes_;
};

}  // namespace
STYLEGAN_END
