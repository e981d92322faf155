// Renders one face of the faces3d data set: morphs, hair and torso, z-buffer, shading, box filter.
//
// The picture must be the same to the bit on every processor, so this file keeps to + - * / and square roots of IEEE floats
// (compiled with -ffp-contract=off and without -ffast-math), integer hashes for noise, and no function of libm besides sqrt.
// No state is shared: any number of threads may render at once. faces3d_numpy.py draws the same picture slowly; keep the two
// in step. Rest coordinates and fields are explained in faces3d_rig.py, the look's numbers in faces3d_looks.py.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

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
inline Vec vec(const float* p) { return {p[0], p[1], p[2]}; }

enum Part : uint8_t { SKIN, EYE, TEETH, TONGUE, LASH, CAP, LOCKS, CLOTH };
constexpr int kFields = 6;
enum Field { LIPS, SCALP, BEARD, MOUSTACHE, INSIDE, NECK };
enum Landmark { UPPER_LIP, LOWER_LIP, SHOULDER, CHEST };
constexpr Vec kEye = {0.3078f, 7.2841f, 1.2454f};
constexpr Vec kPivot = {0.0f, 6.35f, 0.45f};  // the head turns on the neck about this point
constexpr float kEdge = -1e-4f;              // triangles overlap by this, so that rounding leaves no cracks
constexpr float kSkullY = 7.5f;               // height of the skull's equator, where locks begin to hang

}  // namespace

extern "C" {

struct Look {  // the same fields in the same order as faces3d_looks.Look
    float key_direction[3], key[3], fill[3], sky[3], ground[3];
    float skin[3], lips[3], brow[3], iris[3], hair[3], beard[3], cloth[3], backdrop_a[3], backdrop_b[3];
    float head_rotation[9], torso_rotation[9], roll[2], backdrop_direction[2], gaze[2];
    float camera, zoom, shift_x, shift_y, noise_seed;
    float oil, blush, freckles, wrinkles, shadow, lashes, tan;
    float brow_height, brow_arch, brow_thickness, brow_density, iris_radius, pupil;
    float cap, cap_thickness, recede, crown, curl, gloss, streaks, part;
    float sweep, quiff, locks, locks_length, locks_flare, locks_front, locks_volume, locks_wave, fringe, fringe_slope, ears_covered;
    float beard_density, beard_thickness, moustache, chin_beard, jaw_beard;
    float collar, shoulders, cloth_stripe, backdrop_blob;
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

}  // extern "C"

namespace {

// Value noise: random numbers on the integer grid, interpolated. Coordinates are small, so the conversion is exact.
inline float hash01(int32_t x, int32_t y, int32_t z, uint32_t seed) {
    uint32_t h = seed * 0x9E3779B1u + static_cast<uint32_t>(x) * 0x85EBCA77u + static_cast<uint32_t>(y) * 0xC2B2AE3Du +
                 static_cast<uint32_t>(z) * 0x27D4EB2Fu;
    h = (h ^ (h >> 15)) * 0x2C1B3C6Du;
    h = (h ^ (h >> 12)) * 0x297A2D39u;
    return static_cast<float>((h ^ (h >> 15)) >> 8) * (1.0f / 16777216.0f);
}

inline int32_t floor_int(float x) {
    const int32_t i = static_cast<int32_t>(x);
    return i - (x < static_cast<float>(i));
}

float noise(float x, float y, float z, uint32_t seed) {
    const int32_t ix = floor_int(x), iy = floor_int(y), iz = floor_int(z);
    float fx = x - static_cast<float>(ix), fy = y - static_cast<float>(iy), fz = z - static_cast<float>(iz);
    fx = fx * fx * (3.0f - 2.0f * fx);
    fy = fy * fy * (3.0f - 2.0f * fy);
    fz = fz * fz * (3.0f - 2.0f * fz);
    float plane[2];
    for (int k = 0; k < 2; ++k) {
        const float low = mix(hash01(ix, iy, iz + k, seed), hash01(ix + 1, iy, iz + k, seed), fx);
        const float high = mix(hash01(ix, iy + 1, iz + k, seed), hash01(ix + 1, iy + 1, iz + k, seed), fx);
        plane[k] = mix(low, high, fy);
    }
    return mix(plane[0], plane[1], fz);
}

struct Sample {  // what the z-buffer keeps: depth, triangle and the weights of its first two corners
    float depth, w0, w1;
    int32_t triangle;
};

struct Point {  // interpolated over a triangle
    Vec rest;
    float field[kFields];
};

class Renderer {
   public:
    Renderer(const Rig& rig, const Look& look, const float* weights, int resolution, int samples)
        : rig_(rig),
          look_(look),
          weights_(weights),
          resolution_(resolution),
          samples_(samples),
          seed_(static_cast<uint32_t>(look.noise_seed)),
          halfway_(normalized(vec(look.key_direction) + Vec{0, 0, 1})),
          position_(rig.vertices),
          normal_(rig.vertices),
          screen_(rig.vertices),
          buffer_(static_cast<size_t>(resolution) * samples * resolution * samples, Sample{-1e30f, 0, 0, -1}) {}

    void render(uint8_t* out) {
        morph();
        add_hair();
        add_torso();
        pose();
        accumulate_normals(rig_.triangles);
        project();
        rasterize();
        resolve(out);
    }

   private:
    Vec rest(int32_t v) const { return vec(rig_.rest + 3 * v); }
    float field(int32_t v, Field f) const { return rig_.fields[kFields * v + f]; }

    Vec landmark(Landmark k) const { return position_[rig_.landmarks[k]]; }

    // Middle of the eyes at negative (side 0) or positive x.
    Vec eye_middle(int side) const {
        Vec sum = {0, 0, 0};
        float count = 0;
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            if (rig_.kind[v] != EYE || (rest(v).x > 0.0f) != (side == 1)) continue;
            sum = sum + position_[v];
            count += 1.0f;
        }
        return sum * (1.0f / count);
    }

    void morph() {
        for (int32_t v = 0; v < rig_.vertices; ++v) position_[v] = rest(v);
        for (int32_t k = 0; k < rig_.morphs; ++k) {
            const float w = weights_[k];
            if (w == 0.0f) continue;
            for (int64_t i = rig_.morph_ptr[k]; i < rig_.morph_ptr[k + 1]; ++i) {
                Vec& p = position_[rig_.morph_index[i]];
                p = p + vec(rig_.morph_delta + 3 * i) * w;
            }
        }
        // People differ in height: bring the eyes back to where they are at rest.
        const Vec eyes = (eye_middle(0) + eye_middle(1)) * 0.5f;
        const Vec back = {0.0f, kEye.y - eyes.y, kEye.z - eyes.z};
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            if (rig_.kind[v] < CAP) position_[v] = position_[v] + back;
        }
    }

    // Normals of all vertices from the first `count` triangles, weighted by area.
    void accumulate_normals(int32_t count) {
        std::fill(normal_.begin(), normal_.end(), Vec{0, 0, 0});
        for (int32_t t = 0; t < count; ++t) {
            const int32_t* c = rig_.triangle + 3 * t;
            const Vec n = cross(position_[c[1]] - position_[c[0]], position_[c[2]] - position_[c[0]]);
            for (int k = 0; k < 3; ++k) normal_[c[k]] = normal_[c[k]] + n;
        }
        for (Vec& n : normal_) n = normalized(n);
    }

    // About the distance inside this face's hairline; positive where hair grows.
    float scalp(Vec p, float field) const {
        const float x = p.x < 0.0f ? -p.x : p.x;
        const float corners = 0.35f + 0.65f * smooth(x, 0.15f, 0.4f);  // hair is lost at the temples first
        float h = field - look_.recede * corners * smooth(p.y, 7.35f, 7.8f) + look_.sweep * p.x * smooth(p.y, 7.7f, 7.95f);
        if (look_.fringe < 1.0f) h += 0.25f * smooth(p.y, 7.78f, 7.95f);  // what a fringe hides is hair, too
        return std::min(h, look_.crown - p.y - 0.25f * p.z);
    }

    // How densely a beard of this face's cut grows, from where beards and moustaches grow at all.
    float beard(Vec p, float field, float moustache) const {
        const float x = p.x < 0.0f ? -p.x : p.x;
        const float chin = (1.0f - smooth(x, 0.20f, 0.34f)) * smooth(p.z, 1.15f, 1.3f);
        return std::max(field * std::max(look_.jaw_beard, look_.chin_beard * chin), moustache * look_.moustache);
    }

    void add_hair() {
        int32_t skin = 0;
        while (skin < rig_.triangles && rig_.part[skin] == SKIN) ++skin;
        accumulate_normals(skin);
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            const Vec r = rest(v);
            if (rig_.kind[v] == SKIN) {
                const float x = r.x < 0.0f ? -r.x : r.x;
                if (x > 0.72f && look_.ears_covered > 0.0f && r.y > 6.6f) {  // hair presses the ears to the head
                    position_[v].x -= 0.85f * (r.x < 0.0f ? 0.72f - x : x - 0.72f) * look_.ears_covered;
                }
                position_[v] = position_[v] + normal_[v] * (look_.beard_thickness * beard(r, field(v, BEARD), field(v, MOUSTACHE)));
            } else if (rig_.kind[v] == CAP) {
                const float h = scalp(r, field(v, SCALP));
                const float lumps = 1.0f + 0.9f * look_.curl * (noise(r.x * 5, r.y * 5, r.z * 5, seed_) - 0.5f);
                const float volume = look_.cap_thickness * smooth(h, -0.02f, 0.35f) * mix(0.5f, 1.0f, smooth(r.y, 7.2f, 8.2f)) *
                                     (1.0f + look_.quiff * smooth(r.z, 0.6f, 1.2f));
                const int32_t s = rig_.source[v];
                position_[v] = position_[s] + normal_[s] * (0.006f + volume * lumps);
            }
        }
        Vec low = position_[rig_.skull[0]], high = low;
        for (int32_t i = 1; i < rig_.skull_size; ++i) {
            const Vec p = position_[rig_.skull[i]];
            low = {std::min(low.x, p.x), std::min(low.y, p.y), std::min(low.z, p.z)};
            high = {std::max(high.x, p.x), std::max(high.y, p.y), std::max(high.z, p.z)};
        }
        const float pad = 0.03f + 0.6f * look_.cap_thickness + look_.locks_volume;
        const Vec middle = {0.5f * (low.x + high.x), kSkullY, 0.5f * (low.z + high.z)};
        const Vec radius = {0.5f * (high.x - low.x) + pad, high.y - kSkullY + 0.6f * pad, 0.5f * (high.z - low.z) + pad};
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            if (rig_.kind[v] != LOCKS) continue;
            const Vec u = rest(v);  // sine of azimuth, height, cosine of azimuth
            const float round = rig_.fields[kFields * v], hang = rig_.fields[kFields * v + 1];
            const float turn = rig_.fields[kFields * v + 2];
            const float wave = look_.locks_wave * 0.16f * (noise(turn * 22, hang * 5, u.y * 4, seed_) - 0.5f);
            const float brow = look_.fringe < 1.0f ? 0.07f * smooth(u.z, 0.2f, 0.5f) * (1.0f - smooth(u.y, 0.75f, 0.95f)) : 0.0f;
            const float out = look_.locks_flare * hang + wave * (0.3f + hang) + brow;
            position_[v] = {middle.x + u.x * (radius.x * round + out),
                            middle.y + radius.y * u.y - look_.locks_length * hang,
                            middle.z + u.z * (radius.z * round + out)};
        }
    }

    // How far a point of the skin is below the neckline of the clothes; negative above.
    float dressed(Vec r) const {
        const float x = r.x * 1.8f;
        const float front = smooth(r.z, 0.1f, 0.4f) * clamp(1.0f - x * x, 0, 1);
        const float line = 6.0f - 0.08f * front;
        return line - (look_.collar > 0.0f ? look_.collar * front : look_.collar) - r.y;
    }

    // Clothes are the skin of neck and shoulders, puffed up a little, and below them a torso that is fitted to the body.
    void add_torso() {
        const Vec shoulder = landmark(SHOULDER), chest = landmark(CHEST);
        const Vec shoulder0 = rest(rig_.landmarks[SHOULDER]), chest0 = rest(rig_.landmarks[CHEST]);
        const float wide = shoulder.x / shoulder0.x * look_.shoulders;
        const Vec shift = {0.0f, shoulder.y - shoulder0.y, 0.5f * (shoulder.z - shoulder0.z + chest.z - chest0.z)};
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            Vec& p = position_[v];
            if (rig_.kind[v] == CLOTH) {
                p = Vec{p.x * wide, p.y, p.z} + shift;
            } else if (rig_.kind[v] == SKIN && field(v, NECK) > 0.3f) {
                p = p + normal_[v] * (0.03f * smooth(dressed(rest(v)), -0.01f, 0.06f));
            }
        }
    }

    // Turn the head on the shoulders; the neck follows in between.
    void pose() {
        const float* a = look_.head_rotation;
        const float* b = look_.torso_rotation;
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            const Vec p = position_[v] - kPivot;
            const Vec head = {dot(vec(a), p), dot(vec(a + 3), p), dot(vec(a + 6), p)};
            const Vec torso = {dot(vec(b), p), dot(vec(b + 3), p), dot(vec(b + 6), p)};
            position_[v] = mix(head, torso, field(v, NECK)) + kPivot;
        }
    }

    // Perspective about the point between the eyes, then the similarity transform that fixes eyes and mouth in the frame
    // (after the alignment of FFHQ: Karras et al. 2019, "A style-based generator architecture ...", appendix A).
    void project() {
        const Vec left = eye_middle(0), right = eye_middle(1);
        const Vec middle = (left + right) * 0.5f;
        const Vec mouth = (landmark(UPPER_LIP) + landmark(LOWER_LIP)) * 0.5f;
        const Vec l = flat(left, middle), r = flat(right, middle), m = flat(mouth, middle);
        const Vec across = r - l;
        const float width = std::sqrt(across.x * across.x + across.y * across.y);
        const float height = std::sqrt(m.x * m.x + m.y * m.y);
        const float side = look_.zoom * 4.25f * std::max(width, height);
        // The picture's x axis: the mean of the line of the eyes and the perpendicular to the line from eyes to mouth.
        float ax = across.x - m.y, ay = across.y + m.x;
        const float norm = 1.0f / std::sqrt(ax * ax + ay * ay);
        ax *= norm;
        ay *= norm;
        const float s = look_.roll[0], c = look_.roll[1];
        const float ux = (ax * c - ay * s) / side, uy = (ay * c + ax * s) / side;
        const float pixels = static_cast<float>(resolution_ * samples_);
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            const Vec p = flat(position_[v], middle);
            screen_[v] = {(0.5f + look_.shift_x + p.x * ux + p.y * uy) * pixels,
                          (0.465f + look_.shift_y - (p.y * ux - p.x * uy)) * pixels, p.z};
        }
    }

    Vec flat(Vec p, Vec middle) const {
        p = p - middle;
        const float scale = look_.camera / (look_.camera - p.z);
        return {p.x * scale, p.y * scale, p.z};
    }

    Point interpolate(int32_t t, float w0, float w1) const {
        const int32_t* c = rig_.triangle + 3 * t;
        const float w2 = 1.0f - w0 - w1;
        Point p;
        p.rest = rest(c[0]) * w0 + rest(c[1]) * w1 + rest(c[2]) * w2;
        for (int f = 0; f < kFields; ++f) {
            p.field[f] = rig_.fields[kFields * c[0] + f] * w0 + rig_.fields[kFields * c[1] + f] * w1 +
                         rig_.fields[kFields * c[2] + f] * w2;
        }
        return p;
    }

    // Whether hair or a lash covers this sample: a soft edge is a random share of a pixel's samples.
    bool covers(uint8_t part, const Point& p) const {
        const Vec r = p.rest;
        if (part == LASH) return noise(r.x * 90, r.y * 90, r.z * 90, seed_) < look_.lashes;
        if (part == CAP) {
            const float h = scalp(r, p.field[SCALP]);
            if (h > 0.1f || h < -0.06f) return h > 0.0f;
            return h + (0.10f + 0.04f * look_.curl) * (noise(r.x * 34, r.y * 34, r.z * 34, seed_ + 1) - 0.5f) > 0.02f;
        }
        const float turn = p.field[2], hang = p.field[1];
        const float front = look_.locks > 0.0f ? look_.locks_front : 0.42f;
        if (r.z < front - 0.06f && hang < 0.7f) return look_.locks > 0.0f;
        const float coarse = noise(turn * 110, (hang + r.y) * 4, 0, seed_ + 2);
        const float n = 0.5f * coarse + 0.5f * noise(turn * 420, (hang + r.y) * 9, 0, seed_ + 12) - 0.5f;
        if (r.z + 0.12f * n > front && r.y < 0.95f) {  // in front: a fringe or nothing
            const float limit = look_.fringe + look_.fringe_slope * r.x - 0.25f * r.x * r.x;
            return hang <= 0.0f && r.y + 0.20f * n > limit;
        }
        return look_.locks > 0.0f && hang < 0.85f + 0.24f * n;
    }

    void rasterize() {
        const int32_t size = resolution_ * samples_;
        const float limit = static_cast<float>(size);
        for (int32_t t = 0; t < rig_.triangles; ++t) {
            const uint8_t part = rig_.part[t];
            if (part == CAP && look_.cap == 0.0f) continue;
            if (part == LOCKS && look_.locks == 0.0f && look_.fringe > 1.0f) continue;
            const int32_t* c = rig_.triangle + 3 * t;
            const Vec p0 = screen_[c[0]], p1 = screen_[c[1]], p2 = screen_[c[2]];
            const float area = (p1.x - p0.x) * (p2.y - p0.y) - (p1.y - p0.y) * (p2.x - p0.x);
            const bool thin = part == LASH || part == LOCKS || part == CLOTH;
            if (thin ? area == 0.0f : area >= 0.0f) continue;  // y points down, so what faces us has a negative area
            const float left = std::min(p0.x, std::min(p1.x, p2.x)), right = std::max(p0.x, std::max(p1.x, p2.x));
            const float top = std::min(p0.y, std::min(p1.y, p2.y)), bottom = std::max(p0.y, std::max(p1.y, p2.y));
            if (right < 0.5f || bottom < 0.5f || left > limit || top > limit) continue;
            const int32_t x0 = floor_int(clamp(left + 0.5f, 0, limit)), x1 = floor_int(clamp(right + 0.5f, 0, limit));
            const int32_t y0 = floor_int(clamp(top + 0.5f, 0, limit)), y1 = floor_int(clamp(bottom + 0.5f, 0, limit));
            if (x0 >= x1 || y0 >= y1) continue;
            const float inverse = 1.0f / area;
            const bool test = part == LASH || part == CAP || part == LOCKS;
            // Barycentric weights are affine in x and y, taken relative to p2 to keep their error small.
            const float w0x = (p1.y - p2.y) * inverse, w0y = (p2.x - p1.x) * inverse;
            const float w1x = (p2.y - p0.y) * inverse, w1y = (p0.x - p2.x) * inverse;
            for (int32_t y = y0; y < y1; ++y) {
                const float py = static_cast<float>(y) + 0.5f - p2.y;
                for (int32_t x = x0; x < x1; ++x) {
                    const float px = static_cast<float>(x) + 0.5f - p2.x;
                    const float w0 = w0x * px + w0y * py, w1 = w1x * px + w1y * py, w2 = 1.0f - w0 - w1;
                    if (w0 < kEdge || w1 < kEdge || w2 < kEdge) continue;
                    const float depth = p0.z * w0 + p1.z * w1 + p2.z * w2;
                    Sample& sample = buffer_[static_cast<size_t>(y) * size + x];
                    if (depth <= sample.depth) continue;
                    if (test && !covers(part, interpolate(t, w0, w1))) continue;
                    sample = {depth, w0, w1, t};
                }
            }
        }
    }

    // Albedo of skin; `gloss` receives the strength of its highlight.
    Vec skin(const Point& p, float& gloss, float& shade) const {
        const Vec r = p.rest;
        const float x = r.x < 0.0f ? -r.x : r.x;
        Vec albedo = vec(look_.skin);
        gloss = look_.oil;
        const float cx = (x - 0.42f) / 0.20f, cy = (r.y - 6.98f) / 0.20f;
        const float tip = smooth(r.z, 1.55f, 1.7f) * smooth(r.y, 6.82f, 6.9f);
        const float red = look_.blush * (1.0f / (1.0f + 3.0f * (cx * cx + cy * cy)) * smooth(r.z, 0.9f, 1.1f) + 0.6f * tip);
        albedo = albedo * Vec{1.0f, 1.0f - 0.22f * red, 1.0f - 0.20f * red};
        if (look_.freckles > 0.0f && r.z > 1.1f) {
            const float spot = noise(r.x * 38, r.y * 38, r.z * 38, seed_ + 4);
            const float freckle = look_.freckles * smooth(spot, 0.66f, 0.80f) * smooth(r.z, 1.1f, 1.3f);
            albedo = albedo * Vec{1.0f - 0.22f * freckle, 1.0f - 0.34f * freckle, 1.0f - 0.40f * freckle};
        }
        const float lips = smooth(p.field[LIPS], 0.25f, 0.75f);
        albedo = mix(albedo, vec(look_.lips), 0.9f * lips);
        gloss += 0.12f * lips;

        shade = 1.0f;
        const float ex = (x - kEye.x) / 0.24f, ey = (r.y - kEye.y - 0.02f) / 0.15f;
        if (r.z > 0.9f) shade -= 0.22f / (1.0f + 2.0f * (ex * ex + ey * ey) * (ex * ex + ey * ey));  // sockets of the eyes
        if (look_.wrinkles > 0.0f && r.y > 7.6f) {
            const float forehead = smooth(r.y, 7.6f, 7.7f) * (1.0f - smooth(r.y, 7.95f, 8.05f)) * (1.0f - smooth(x, 0.35f, 0.6f));
            shade -= 0.35f * look_.wrinkles * forehead * smooth(noise(r.x * 3, r.y * 22, 0, seed_ + 5), 0.55f, 0.75f);
        }
        const float neck = p.field[NECK];
        shade *= 1.0f - 0.42f * look_.shadow * smooth(neck, 0.02f, 0.35f) * (1.0f - 0.6f * smooth(neck, 0.6f, 1.0f));
        albedo = mix(albedo, Vec{0.10f, 0.02f, 0.02f}, p.field[INSIDE]);

        if (r.z > 0.9f) albedo = mix(albedo, vec(look_.brow), brow(r, x));
        const float whiskers = beard(r, p.field[BEARD], p.field[MOUSTACHE]) * (1.0f - lips) * look_.beard_density;
        const float h = look_.cap > 0.0f ? scalp(r, p.field[SCALP]) : -1.0f;
        if (whiskers <= 0.0f && h < -0.25f) return albedo;
        const float fuzz = noise(r.x * 40, r.y * 40, r.z * 40, seed_ + 6);
        albedo = mix(albedo, vec(look_.beard) * (0.7f + 0.6f * fuzz), whiskers * (0.85f + 0.3f * (fuzz - 0.5f)));
        gloss *= 1.0f - 0.8f * whiskers;
        albedo = mix(albedo, vec(look_.hair) * (0.7f + 0.6f * fuzz), 0.85f * smooth(h + 0.05f * (fuzz - 0.5f), -0.03f, 0.07f));
        shade *= 1.0f - 0.30f * smooth(h, -0.22f, 0.0f) * smooth(look_.cap_thickness, 0.02f, 0.12f);
        return albedo;
    }

    // How much of the skin a brow hides at rest coordinates r, x = |r.x|.
    float brow(Vec r, float x) const {
        const float t = (x - 0.135f) / 0.37f;
        if (t < -0.1f || t > 1.15f) return 0.0f;
        const float bend = (t - 0.62f) / 0.62f;
        const float height = 7.462f + look_.brow_height + look_.brow_arch * (1.0f - bend * bend);
        const float half = look_.brow_thickness * (1.0f - 0.6f * clamp(t - 0.15f, 0.0f, 1.0f));
        const float away = r.y > height ? r.y - height : height - r.y;
        const float ends = smooth(t, -0.06f, 0.10f) * (1.0f - smooth(t, 0.88f, 1.10f));
        const float hairs = noise(r.x * 60 + r.y * 30, r.y * 25, 0, seed_ + 7);
        return look_.brow_density * ends * (1.0f - smooth(away, 0.45f * half, 1.25f * half)) * (0.75f + 0.5f * hairs);
    }

    // Colour of the eyeball; `shine` receives the reflection of the lamp, which is added after shading.
    Vec eye(Vec r, float& shine, float& shade) const {
        const float side = r.x > 0.0f ? 1.0f : -1.0f;
        const float dx = r.x - side * kEye.x - look_.gaze[0] * 0.14f, dy = r.y - kEye.y - look_.gaze[1] * 0.14f;
        const float radius = look_.iris_radius;
        const float d = std::sqrt(dx * dx + dy * dy) / radius;
        const float lid = r.y - kEye.y;
        shade = 1.0f - 0.35f * smooth(lid, 0.01f, 0.08f);
        shine = 0.0f;
        const float inner = smooth(side * r.x, kEye.x - 0.14f, kEye.x - 0.08f);
        const Vec sclera = mix(Vec{0.62f, 0.42f, 0.40f}, Vec{0.80f, 0.77f, 0.75f}, inner);
        if (r.z < kEye.z) return sclera;
        const float fibres = 0.75f + 0.5f * noise(dx * 60, dy * 60, side, seed_ + 8);
        Vec iris = vec(look_.iris) * (fibres * (1.0f - 0.65f * smooth(d, 0.72f, 1.0f)));
        iris = mix(Vec{0.004f, 0.004f, 0.004f}, iris, smooth(d, look_.pupil - 0.08f, look_.pupil + 0.08f));
        const float sx = dx / radius - 0.42f * look_.key_direction[0], sy = dy / radius - 0.38f;
        shine = 0.85f * (1.0f - smooth(std::sqrt(sx * sx + sy * sy), 0.14f, 0.34f));
        return mix(iris, sclera, smooth(d, 0.90f, 1.10f));
    }

    Vec cloth(float y) const {
        const float band = y * 9.0f, phase = band - static_cast<float>(floor_int(band));
        return vec(look_.cloth) * (phase < 0.5f ? 1.0f : 1.0f - 0.7f * look_.cloth_stripe);
    }

    Vec hair(uint8_t part, const Point& p, Vec n, float& gloss, float& shade) const {
        const Vec r = p.rest;
        float strand, lumps;
        if (part == CAP) {
            const float tall = mix(4.0f, 18.0f, look_.curl);
            const float side = r.x - look_.part < 0.0f ? -1.0f : 1.0f;  // combed away from the parting
            strand = noise(r.x * 20 + side * r.y * 6, r.y * tall + side * 9, r.z * 20, seed_ + 9);
            lumps = noise(r.x * 4, r.y * 3, r.z * 4, seed_ + 10);
            const float away = r.x - look_.part;
            const float line = 1.0f / (1.0f + 900.0f * away * away) * smooth(r.y, 8.0f, 8.2f) * (1.0f - look_.curl);
            shade = 1.0f - 0.35f * line;
        } else {
            strand = noise(p.field[2] * 130, (p.field[1] + r.y) * mix(2.0f, 9.0f, look_.curl), 0, seed_ + 9);
            lumps = noise(p.field[2] * 26, (p.field[1] + r.y) * 3, 0, seed_ + 10);
            shade = mix(1.0f, 0.72f, smooth(p.field[1], 0.0f, 0.9f));
        }
        shade *= 1.0f - look_.streaks * (0.55f * strand + 0.45f * lumps);
        const float up = dot(n, halfway_);
        const float c = clamp(up, 0.0f, 1.0f), c2 = c * c, c4 = c2 * c2;
        gloss = 0.0f;
        return vec(look_.hair) * (1.0f + 0.5f * look_.gloss * c4 * strand) + Vec{1, 0.95f, 0.9f} * (0.06f * look_.gloss * c4 * c4 * strand);
    }

    Vec shade_sample(const Sample& s) const {
        const int32_t* c = rig_.triangle + 3 * s.triangle;
        const float w2 = 1.0f - s.w0 - s.w1;
        const uint8_t part = rig_.part[s.triangle];
        const Point p = interpolate(s.triangle, s.w0, s.w1);
        Vec n = normalized(normal_[c[0]] * s.w0 + normal_[c[1]] * s.w1 + normal_[c[2]] * w2);
        if (n.z < 0.0f && (part == LOCKS || part == CLOTH || part == LASH)) n = n * -1.0f;
        float gloss = 0.0f, shade = 1.0f, shine = 0.0f;
        Vec albedo, wrap = {0.1f, 0.1f, 0.1f};
        switch (part) {
            case SKIN:
                if (p.field[NECK] > 0.3f && dressed(p.rest) > 0.0f) {
                    albedo = cloth(p.rest.y);
                    shade = 1.0f - 0.3f * (1.0f - smooth(dressed(p.rest), 0.0f, 0.05f));
                    break;
                }
                albedo = skin(p, gloss, shade);
                wrap = {0.45f, 0.30f, 0.25f};  // light that spreads under the skin is red
                break;
            case EYE:
                albedo = eye(p.rest, shine, shade);
                gloss = 0.05f;
                break;
            case TEETH:
                albedo = Vec{0.72f, 0.67f, 0.58f};
                shade = mix(0.3f, 1.0f, smooth(p.rest.z, 1.05f, 1.35f));
                break;
            case TONGUE:
                albedo = Vec{0.40f, 0.12f, 0.11f};
                shade = 0.5f;
                break;
            case LASH:
                albedo = Vec{0.012f, 0.009f, 0.008f};
                break;
            case CLOTH:
                albedo = cloth(p.rest.y);
                break;
            default:
                albedo = hair(part, p, n, gloss, shade);
                wrap = {0.25f, 0.25f, 0.25f};
        }
        return light(albedo, n, wrap, gloss, shade) + Vec{shine, shine, shine};
    }

    Vec light(Vec albedo, Vec n, Vec wrap, float gloss, float shade) const {
        const Vec key = vec(look_.key_direction);
        const float facing = dot(n, key);
        const Vec lit = {clamp((facing + wrap.x) / (1.0f + wrap.x), 0, 2), clamp((facing + wrap.y) / (1.0f + wrap.y), 0, 2),
                         clamp((facing + wrap.z) / (1.0f + wrap.z), 0, 2)};
        const float opposite = clamp(dot(n, Vec{-key.x, 0.25f, key.z * 0.6f + 0.3f}), 0, 1);
        const Vec ambient = mix(vec(look_.ground), vec(look_.sky), 0.5f + 0.5f * n.y);
        const Vec total = vec(look_.key) * lit + vec(look_.fill) * opposite + ambient;
        const float peak = clamp(dot(n, halfway_), 0, 1);
        const float p2 = peak * peak, p4 = p2 * p2, p8 = p4 * p4;
        const float edge = 1.0f - clamp(n.z, 0, 1);
        return (albedo * total + vec(look_.key) * (gloss * (p8 * p8 * p4 + 0.25f * p4) + 0.4f * gloss * edge * edge * edge)) * shade;
    }

    Vec backdrop(float x, float y) const {
        const float along = clamp(0.5f + (x - 0.5f) * look_.backdrop_direction[0] + (y - 0.5f) * look_.backdrop_direction[1], 0, 1);
        Vec colour = mix(vec(look_.backdrop_a), vec(look_.backdrop_b), along);
        const float cloud = noise(x * 3.0f, y * 3.0f, 0.5f, seed_ + 11) - 0.5f;
        return colour * (1.0f + 0.7f * look_.backdrop_blob * cloud);
    }

    void resolve(uint8_t* out) const {
        const int32_t size = resolution_ * samples_;
        const float share = 1.0f / static_cast<float>(samples_ * samples_), step = 1.0f / static_cast<float>(resolution_);
        const size_t plane = static_cast<size_t>(resolution_) * resolution_;
        for (int32_t y = 0; y < resolution_; ++y) {
            for (int32_t x = 0; x < resolution_; ++x) {
                Vec sum = {0, 0, 0}, behind = {-1, 0, 0};
                for (int32_t j = 0; j < samples_; ++j) {
                    for (int32_t i = 0; i < samples_; ++i) {
                        const Sample& s = buffer_[static_cast<size_t>(y * samples_ + j) * size + x * samples_ + i];
                        if (s.triangle < 0 && behind.x < 0.0f) {
                            behind = backdrop((static_cast<float>(x) + 0.5f) * step, (static_cast<float>(y) + 0.5f) * step);
                        }
                        const Vec colour = s.triangle < 0 ? behind : shade_sample(s);
                        sum = sum + Vec{clamp(colour.x, 0, 1), clamp(colour.y, 0, 1), clamp(colour.z, 0, 1)};
                    }
                }
                const float channel[3] = {sum.x * share, sum.y * share, sum.z * share};
                for (int k = 0; k < 3; ++k) {
                    out[k * plane + static_cast<size_t>(y) * resolution_ + x] =
                        static_cast<uint8_t>(clamp(std::sqrt(channel[k]) * 255.0f + 0.5f, 0, 255));
                }
            }
        }
    }

    const Rig& rig_;
    const Look& look_;
    const float* weights_;
    const int32_t resolution_, samples_;
    const uint32_t seed_;
    const Vec halfway_;  // between the key light and the viewer
    std::vector<Vec> position_, normal_, screen_;
    std::vector<Sample> buffer_;
};

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int32_t faces3d_look_size() { return sizeof(Look); }

// Draw one face into out: uint8 [3, resolution, resolution], with samples x samples rays a pixel.
__attribute__((visibility("default"))) void faces3d_render(const Rig* rig, const Look* look, const float* weights, int32_t resolution, int32_t samples, uint8_t* out) {
    Renderer(*rig, *look, weights, resolution, samples).render(out);
}

}  // extern "C"
