// Scan conversion of triangles, and the shadow map of the key light (Williams 1978, "Casting curved shadows on curved surfaces").

#pragma once

#include <vector>

#include "faces3d.h"

namespace faces3d {

// Call put(place, depth, w0, w1) for all points of a size x size grid in a triangle.
template <typename Put>
void scan(Vec p0, Vec p1, Vec p2, float area, int32_t size, Put put) {
    const float limit = static_cast<float>(size);
    const float left = std::min(p0.x, std::min(p1.x, p2.x)), right = std::max(p0.x, std::max(p1.x, p2.x));
    const float top = std::min(p0.y, std::min(p1.y, p2.y)), bottom = std::max(p0.y, std::max(p1.y, p2.y));
    if (right < 0.5f || bottom < 0.5f || left > limit || top > limit) return;
    const int32_t x0 = floor_int(clamp(left + 0.5f, 0, limit)), x1 = floor_int(clamp(right + 0.5f, 0, limit));
    const int32_t y0 = floor_int(clamp(top + 0.5f, 0, limit)), y1 = floor_int(clamp(bottom + 0.5f, 0, limit));
    if (x0 >= x1 || y0 >= y1) return;
    const float inverse = 1.0f / area;
    // Barycentric weights are affine in x and y, taken relative to p2 to keep their error small.
    const float w0x = (p1.y - p2.y) * inverse, w0y = (p2.x - p1.x) * inverse;
    const float w1x = (p2.y - p0.y) * inverse, w1y = (p0.x - p2.x) * inverse;
    for (int32_t y = y0; y < y1; ++y) {
        const float py = static_cast<float>(y) + 0.5f - p2.y;
        const float w0row = w0y * py, w1row = w1y * py;
        bool inside = false;
        for (int32_t x = x0; x < x1; ++x) {
            const float px = static_cast<float>(x) + 0.5f - p2.x;
            const float w0 = w0x * px + w0row, w1 = w1x * px + w1row, w2 = 1.0f - w0 - w1;
            if (w0 < kEdge || w1 < kEdge || w2 < kEdge) {
                if (inside) break;  // a triangle's row is one piece
                continue;
            }
            inside = true;
            put(y * size + x, p0.z * w0 + p1.z * w1 + p2.z * w2, w0, w1);
        }
    }
}

class ShadowMap {
   public:
    static constexpr int32_t kSide = 96;  // in texels

    explicit ShadowMap(Vec key)
        : key_(key), right_(normalized(cross(Vec{0, 1, 0}, key))), up_(cross(key, right_)), depth_(kSide * kSide, -1e30f) {}

    float& depth(int32_t place) { return depth_[place]; }

    // Place in the shadow map, in texels, and height towards the light.
    Vec to_light(Vec p) const {
        p = p - kMiddle;
        return {(dot(p, right_) / kExtent + 0.5f) * kSide, (dot(p, up_) / kExtent + 0.5f) * kSide, dot(p, key_)};
    }

    // Share of the key light that arrives: the mean of 3 x 3 comparisons, weighted so that it is continuous.
    float lit(Vec p, float facing) const {
        const Vec q = to_light(p);
        if (q.x < 2.0f || q.y < 2.0f || q.x > kSide - 3.0f || q.y > kSide - 3.0f) return 1.0f;
        const int32_t x = floor_int(q.x), y = floor_int(q.y);
        const float fx = q.x - static_cast<float>(x), fy = q.y - static_cast<float>(y);
        const float wx[3] = {1.0f - fx, 1.0f, fx}, wy[3] = {1.0f - fy, 1.0f, fy};
        const float limit = q.z + 0.04f + 0.09f * (1.0f - clamp(facing, 0, 1));
        float sum = 0;
        for (int32_t j = 0; j < 3; ++j) {
            for (int32_t i = 0; i < 3; ++i) {
                if (depth_[(y + j - 1) * kSide + x + i - 1] <= limit) sum += wx[i] * wy[j];
            }
        }
        return 0.25f * sum;
    }

   private:
    static constexpr float kExtent = 3.4f;  // of the map, in units of the head
    static constexpr Vec kMiddle = {0.0f, 7.1f, 0.6f};

    const Vec key_, right_, up_;
    std::vector<float> depth_;
};

}  // namespace faces3d
