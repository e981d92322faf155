// From the light of samples to grey levels of pixels: the camera of faces3d.

#pragma once

#include <vector>

#include "faces3d.h"

namespace faces3d {

// One pass of the lens, which blurs a little beyond the pixel: from `lines` lines of count * samples colours to `count` colours
// each. Lines are `line` colours apart before and `out_line` after, neighbours in a line `next` and `out_next`.
inline void filter(const Vec* in, Vec* out, size_t lines, size_t line, size_t next, size_t out_line, size_t out_next, int32_t count, int32_t samples, float blur) {
    const float share = 1.0f / (static_cast<float>(samples) + 2.0f * blur);
    const int32_t last = count * samples - 1, taps = samples + 2;
    for (size_t y = 0; y < lines; ++y) {
        for (int32_t x = 0; x < count; ++x) {
            Vec sum = {0, 0, 0};
            for (int32_t i = 0; i < taps; ++i) {
                const int32_t at = std::min(std::max(x * samples + i - 1, 0), last);
                sum = sum + in[y * line + static_cast<size_t>(at) * next] * (i == 0 || i == taps - 1 ? blur : 1.0f);
            }
            out[y * out_line + static_cast<size_t>(x) * out_next] = sum * share;
        }
    }
}

// Filter the samples' linear colours, and write uint8 [3, resolution, resolution] with a little noise of the sensor.
inline void expose(const std::vector<Vec>& colours, const Look& look, int32_t resolution, int32_t samples, uint8_t* out) {
    const size_t side = static_cast<size_t>(resolution), size = side * static_cast<size_t>(samples), plane = side * side;
    const uint32_t seed = static_cast<uint32_t>(look.noise_seed);
    std::vector<Vec> rows(size * side), pixels(plane);
    filter(colours.data(), rows.data(), size, size, 1, side, 1, resolution, samples, look.blur);
    filter(rows.data(), pixels.data(), side, 1, side, 1, side, resolution, samples, look.blur);
    for (size_t place = 0; place < plane; ++place) {
        const float channel[3] = {pixels[place].x, pixels[place].y, pixels[place].z};
        const uint32_t x = static_cast<uint32_t>(place % side), y = static_cast<uint32_t>(place / side);
        for (uint32_t k = 0; k < 3; ++k) {
            const uint32_t key = (seed * 3 + k) * 0x9E3779B1u + x * 0x85EBCA77u + y * 0xC2B2AE3Du;
            const float grain = look.grain * (scramble(key) + scramble(key + 0x27D4EB2Fu) - 1.0f);
            out[k * plane + place] = static_cast<uint8_t>(clamp(std::sqrt(channel[k]) * 255.0f + grain + 0.5f, 0, 255));
        }
    }
}

}  // namespace faces3d
