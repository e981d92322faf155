// Renders one face of the faces3d data set: morphs, hair and torso, z-buffer, shading, box filter.
//
// The picture must be the same to the bit on every processor, so this code keeps to + - * / and square roots of IEEE floats
// (compiled with -ffp-contract=off and without -ffast-math), integer hashes for noise, and no function of libm besides sqrt.
// No state is shared: any number of threads may render at once. faces3d_numpy.py draws the same picture slowly; keep the two
// in step. Rest coordinates and fields are explained in faces3d_rig.py, the look's numbers in faces3d_looks.py.

#include <vector>

#include "faces3d_shading.h"

namespace {

using namespace faces3d;

struct Sample {  // what the z-buffer keeps: depth, triangle and the weights of its first two corners
    float depth, w0, w1;
    int32_t triangle;
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
          shader_(look),
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
                position_[v] = position_[v] + normal_[v] * (look_.beard_thickness * shader_.beard(r, field(v, BEARD), field(v, MOUSTACHE)));
            } else if (rig_.kind[v] == CAP) {
                const float h = shader_.scalp(r, field(v, SCALP));
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
            const float brow = look_.fringe < 1.0f ? 0.12f * smooth(u.z, 0.2f, 0.5f) * (1.0f - smooth(u.y, 0.75f, 0.95f)) : 0.0f;
            const float out = look_.locks_flare * hang + wave * (0.3f + hang) + brow;
            position_[v] = {middle.x + u.x * (radius.x * round + out),
                            middle.y + radius.y * u.y - look_.locks_length * hang,
                            middle.z + u.z * (radius.z * round + out)};
        }
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
                p = p + normal_[v] * (0.03f * smooth(shader_.dressed(rest(v)), -0.01f, 0.06f));
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
            const bool thin = part >= LASH && (part != CAP || look_.cap_thickness > 0.15f);  // seen from both sides
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
                    const float depth = p0.z * w0 + p1.z * w1 + p2.z * w2;
                    Sample& sample = buffer_[static_cast<size_t>(y) * size + x];
                    if (depth <= sample.depth) continue;
                    if (test && !shader_.covers(part, interpolate(t, w0, w1))) continue;
                    sample = {depth, w0, w1, t};
                }
            }
        }
    }

    Vec shade_sample(const Sample& s) const {
        const int32_t* c = rig_.triangle + 3 * s.triangle;
        const float w2 = 1.0f - s.w0 - s.w1;
        const uint8_t part = rig_.part[s.triangle];
        Vec n = normalized(normal_[c[0]] * s.w0 + normal_[c[1]] * s.w1 + normal_[c[2]] * w2);
        if (n.z < 0.0f && part >= LASH) n = n * -1.0f;
        return shader_.shade(part, interpolate(s.triangle, s.w0, s.w1), n);
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
                            behind = shader_.backdrop((static_cast<float>(x) + 0.5f) * step, (static_cast<float>(y) + 0.5f) * step);
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
    const Shader shader_;
    std::vector<Vec> position_, normal_, screen_;
    std::vector<Sample> buffer_;
};

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int32_t faces3d_look_size() { return sizeof(faces3d::Look); }

// Draw one face into out: uint8 [3, resolution, resolution], with samples x samples rays a pixel.
__attribute__((visibility("default"))) void faces3d_render(const faces3d::Rig* rig, const faces3d::Look* look, const float* weights, int32_t resolution, int32_t samples, uint8_t* out) {
    Renderer(*rig, *look, weights, resolution, samples).render(out);
}

}  // extern "C"
