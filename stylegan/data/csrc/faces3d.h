// Vectors, noise and the data that csrc/faces3d.cpp receives from Python. See there for the rules of arithmetic.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace faces3d {

struct Vec {
    float x, y, z;
};

inline Vec operator+(Vec a, Vec b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator-(Vec a, Vec b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator*(Vec a, Vec b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
inline Vec operator*(Vec a, float s) { return {a.x * s, a.y * s, a.z * s}; }
inline float dot(Vec a, Vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
inline Vec cross(Vec a, Vec b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline Vec normalized(Vec a) { return a * (1.0f / std::sqrt(dot(a, a) + 1e-20f)); }
inline Vec mix(Vec a, Vec b, float w) { return a + (b - a) * w; }
inline float mix(float a, float b, float w) { return a + (b - a) * w; }
inline float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }
inline float smooth(float x, float low, float high) {
    const float t = clamp((x - low) / (high - low), 0.0f, 1.0f);
    return t * t * (3.0f - 2.0f * t);
}
inline float absolute(float x) { return x < 0.0f ? -x : x; }
inline Vec vec(const float* p) { return {p[0], p[1], p[2]}; }

enum Part : uint8_t { SKIN, EYE, TEETH, TONGUE, LASH, CAP, LOCKS, CLOTH, FRAME, LENS };
constexpr int kFields = 6;
enum Field { LIPS, SCALP, BEARD, MOUSTACHE, INSIDE, NECK };
enum LockField { WIDTH, HANG, TURN, REACH, LAYER };  // the cap has its layer there, too
enum GlassField { ACROSS, DEEP, PIECE, ALONG };
enum Landmark { UPPER_LIP, LOWER_LIP, SHOULDER, CHEST, BRIDGE, EAR };
constexpr Vec kEye = {0.3078f, 7.2841f, 1.2454f};
constexpr Vec kPivot = {0.0f, 6.35f, 0.45f};  // the head turns on the neck about this point
constexpr float kEdge = -1e-4f;              // triangles overlap by this, so that rounding leaves no cracks
constexpr float kOutline = 0.6f;             // how far a surface may face us and still be at the outline
constexpr float kBare = -0.32f;             // this far outside the hairline no hair grows
constexpr float kSkullY = 7.5f;               // height of the skull's equator, where locks begin to hang

struct Look {  // the same fields in the same order as faces3d_looks.Look
    float key_direction[3], key[3], fill[3], sky[3], ground[3];
    float skin[3], lips[3], brow[3], iris[3], eyeshadow[3], hair[3], beard[3], cloth[3];
    float frame[3], tint[3], backdrop_a[3], backdrop_b[3];
    float head_rotation[9], torso_rotation[9], roll[2], backdrop_direction[2], gaze[2];
    float camera, zoom, shift_x, shift_y, noise_seed, grain, blur;
    float oil, blush, freckles, mottle, shadow, lashes, makeup, liner;
    float forehead_lines, eye_lines, cheek_lines;
    float brow_height, brow_arch, brow_thickness, brow_density, iris_radius, pupil;
    float cap, cap_thickness, recede, crown, curl, gloss, streaks, part, parting, fuzz;
    float sweep, curtain, quiff, fringe, fringe_slope;
    float locks, locks_length, locks_taper, locks_flare, locks_forward, locks_front, locks_volume;
    float locks_wave, ears_covered;
    float beard_density, beard_thickness, moustache, chin_beard, jaw_beard;
    float glasses, lens_width, lens_height, lens_square, frame_thickness, lens_shine, lens_drop;
    float collar, shoulders, cloth_stripe, backdrop_blob, bokeh;
};

struct Rig {  // the same fields in the same order as faces3d.CRig
    int32_t vertices, triangles, morphs, skull_size;
    const float* rest;
    const float* fields;
    const int32_t* triangle;
    const uint8_t* part;
    const uint8_t* kind;
    const int32_t* source;
    const int64_t* morph_ptr;
    const int32_t* morph_index;
    const float* morph_delta;
    const int32_t* skull;
    const int32_t* landmarks;
};

inline int32_t floor_int(float x) {
    const int32_t i = static_cast<int32_t>(x);
    return i - (x < static_cast<float>(i));
}

inline float fraction(float x) { return x - static_cast<float>(floor_int(x)); }

// A random number in [0, 1) from 32 bits.
inline float scramble(uint32_t h) {
    h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
    h = (h ^ (h >> 12)) * 0x297A2D39u;
    return static_cast<float>((h ^ (h >> 15)) >> 8) * (1.0f / 16777216.0f);
}

// Value noise: random numbers on the integer grid, interpolated.
inline float noise(float x, float y, float z, uint32_t seed) {
    constexpr uint32_t kX = 0x85EBCA77u, kY = 0xC2B2AE3Du, kZ = 0x27D4EB2Fu;
    const int32_t ix = floor_int(x), iy = floor_int(y), iz = floor_int(z);
    float fx = x - static_cast<float>(ix), fy = y - static_cast<float>(iy), fz = z - static_cast<float>(iz);
    fx = fx * fx * (3.0f - 2.0f * fx);
    fy = fy * fy * (3.0f - 2.0f * fy);
    fz = fz * fz * (3.0f - 2.0f * fz);
    const uint32_t corner = seed * 0x9E3779B1u + static_cast<uint32_t>(ix) * kX + static_cast<uint32_t>(iy) * kY +
                            static_cast<uint32_t>(iz) * kZ;
    const float near = mix(mix(scramble(corner), scramble(corner + kX), fx),
                           mix(scramble(corner + kY), scramble(corner + kX + kY), fx), fy);
    if (fz == 0.0f) return near;  // two-dimensional noise costs half
    const uint32_t next = corner + kZ;
    const float far = mix(mix(scramble(next), scramble(next + kX), fx),
                          mix(scramble(next + kY), scramble(next + kX + kY), fx), fy);
    return mix(near, far, fz);
}

struct Point {  // interpolated over a triangle
    Vec rest;
    float field[kFields];
};

}  // namespace faces3d
