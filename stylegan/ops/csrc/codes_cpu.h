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

template <class A>
class CodeRow {
    using I = integers_t<A>;
    using Bit = typename Bits<A>::type;
    static constexpr int n = Lanes<A>::count;

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
                for (int l = 0; l < n; l++) row[i * step + l] = static_cast<uint8_t>(shifted[l]);
            }
            return;
        }
        for (index_t l = 0; l < group.lanes; l++) {
            uint8_t* to = row + group.offset(l, stride);
            for (index_t i = 0; i < bytes; i += chunk_bytes) {
                const auto four = static_cast<uint32_t>(lane(i / chunk_bytes, l));
                for (index_t k = 0; k < smaller(chunk_bytes, bytes - i); k++) to[(i + k) * step] = static_cast<uint8_t>(four >> (8 * k));
            }
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

    void read_neighbours(const uint8_t* row, index_t step, index_t row_bytes, index_t first_byte, index_t chunks) {
        for (index_t j = 0; j < chunks; j++) {
            I four = {};
            for (index_t k = 0; k < chunk_bytes; k++) {
                const index_t at = first_byte + j * chunk_bytes + k;
                I byte = I{} + static_cast<Bit>(0xaa);
                if (at >= 0 && at < row_bytes) {
                    Bit wide[n];
                    for (int l = 0; l < n; l++) wide[l] = row[at * step + l];
                    __builtin_memcpy(&byte, wide, sizeof byte);
                }
                four |= byte << static_cast<Bit>(8 * k);
            }
            codes_.data[j] = four;
        }
    }

    void read_lane(const uint8_t* row, index_t step, index_t row_bytes, index_t first_byte, index_t chunks, index_t l) {
        for (index_t j = 0; j < chunks; j++) {
            const index_t at = first_byte + j * chunk_bytes;
            if (step == 1 && at >= 0 && at + chunk_bytes <= row_bytes) {
                lane(j, l) = load_bytes(row + at);
                continue;
            }
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
