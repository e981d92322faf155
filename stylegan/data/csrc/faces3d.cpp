// Renders one face of the faces3d data set: morphs, hair, torso and glasses, shadow map, z-buffer, shading, camera.
//
// The picture must be the same to the bit on every processor, so this code keeps to + - * / and square roots of IEEE floats
// (compiled with -ffp-contract=off and without -ffast-math), integer hashes for noise, and no function of libm besides sqrt.
// No state is shared: any number of threads may render at once. faces3d_numpy.py draws the same picture slowly; keep the two
// in step. Rest coordinates and fields are explained in faces3d_rig.py, the look's numbers in faces3d_looks.py.

#include <vector>

#include "faces3d_camera.h"
#include "faces3d_shading.h"
#include "faces3d_shadow.h"

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
          hair_(shader_.hair()),
          position_(rig.vertices),
          normal_(rig.vertices),
          screen_(rig.vertices),
          buffer_(static_cast<size_t>(resolution) * samples * resolution * samples, Sample{-1e30f, 0, 0, -1}),
          lens_(look.glasses > 0.0f ? buffer_.size() : 0, Sample{-1e30f, 0, 0, -1}),
          bare_(rig.vertices, 0),
          shadow_(vec(look.key_direction)) {}

    void render(uint8_t* out) {
        morph();
        add_hair();
        add_torso();
        if (look_.glasses > 0.0f) add_glasses();
        pose();
        accumulate_normals(rig_.triangles);
        cast_shadows();
        project();
        rasterize();
        expose(shade_all(), look_, resolution_, samples_, out);
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
                position_[v] = position_[v] + normal_[v] * (look_.beard_thickness * hair_.beard(r, field(v, BEARD), field(v, MOUSTACHE)));
            } else if (rig_.kind[v] == CAP) {
                const int32_t s = rig_.source[v];
                const float h = hair_.scalp(r, field(v, SCALP));
                bare_[v] = h < kBare;
                position_[v] = position_[s] + normal_[s] * hair_.volume(r, h, field(v, INSIDE));
            }
        }
        Vec low = position_[rig_.skull[0]], high = low;
        for (int32_t i = 1; i < rig_.skull_size; ++i) {
            const Vec p = position_[rig_.skull[i]];
            low = {std::min(low.x, p.x), std::min(low.y, p.y), std::min(low.z, p.z)};
            high = {std::max(high.x, p.x), std::max(high.y, p.y), std::max(high.z, p.z)};
        }
        const Vec middle = {0.5f * (low.x + high.x), kSkullY, 0.5f * (low.z + high.z)};
        const Vec size = {0.5f * (high.x - low.x), high.y - kSkullY, 0.5f * (high.z - low.z)};
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            if (rig_.kind[v] == LOCKS) position_[v] = hang(v, middle, size);
        }
    }

    // Hair that hangs follows the skull down to its equator, falls towards the neck and then outwards over the shoulders.
    Vec hang(int32_t v, Vec middle, Vec size) const {
        const Vec u = rest(v);  // sine of azimuth, height, cosine of azimuth
        const float* f = rig_.fields + kFields * v;
        const float wave = look_.locks_wave * 0.16f * (noise(f[TURN] * 22, f[HANG] * 5, u.y * 4, seed_) - 0.5f);
        const float fallen = f[HANG] * look_.locks_length;
        const float pad = 0.02f + 0.6f * look_.cap_thickness + look_.locks_volume * (1.0f - 0.8f * u.y) + 0.6f * f[LAYER] * look_.fuzz;
        const float taper = look_.locks_taper * smooth(fallen, 0.1f, 1.0f);
        const float out = pad + look_.locks_flare * smooth(fallen, 0.5f, 2.2f) + wave * (0.3f + f[HANG]) - taper;
        const float forward = look_.locks_forward * smooth(fallen, 0.2f, 1.5f) * smooth(u.z, -0.4f, 0.4f);
        const float reach = f[REACH] * f[WIDTH];
        return {middle.x + u.x * (size.x * reach + out * f[WIDTH]),
                middle.y + (size.y * f[REACH] + pad) * u.y - fallen,
                middle.z + u.z * (size.z * reach + out * f[WIDTH]) + forward};
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

    // Two rims with lenses, a bridge, and temples that end at the ears; all of it on the morphed face.
    void add_glasses() {
        const Vec left = eye_middle(0), right = eye_middle(1), bridge = landmark(BRIDGE), ear = landmark(EAR);
        const float middle = 0.5f * (right.x - left.x) + 0.015f;
        const float width = std::min(look_.lens_width, middle - 0.05f), tube = look_.frame_thickness;
        const float height = width * look_.lens_height, level = 0.5f * (left.y + right.y) - look_.lens_drop;
        const float plane = std::max(bridge.z + 0.05f, right.z + 0.26f);
        for (int32_t v = 0; v < rig_.vertices; ++v) {
            if (rig_.kind[v] != FRAME && rig_.kind[v] != LENS) continue;
            const Vec r = rest(v);
            const float* f = rig_.fields + kFields * v;
            const float across = f[ACROSS] * tube, deep = f[DEEP] * std::max(0.6f * tube, 0.010f);
            Vec p;
            if (f[PIECE] == 1.0f) {  // bridge
                const float x = 2.0f * f[ALONG] - 1.0f;
                p = {x * (middle - width), level + 0.18f * height + 0.05f * (1.0f - x * x) + across, plane + 0.03f * (1.0f - x * x) + deep};
            } else if (f[PIECE] == 2.0f) {  // temple
                const float t = f[ALONG], outer = middle + width + 0.5f * tube;
                const float from = plane - 0.30f * outer * outer, bulge = 0.10f * t * (1.0f - t) * 4.0f;
                const float x = mix(outer, std::max(ear.x, outer) + 0.03f, t) + bulge * 0.6f;
                p = {r.z * (x + 0.4f * deep), mix(level + 0.30f * height, ear.y, t) + f[ACROSS] * std::max(0.8f * tube, 0.012f), mix(from, ear.z, t)};
            } else {  // rim or lens: between a circle and a square
                const float longest = std::max(absolute(r.x), absolute(r.y)), square = look_.lens_square;
                const float stretch = longest > 0.0f ? mix(1.0f, 1.0f / longest, square) : 0.0f;
                const float x = r.x * stretch * width, y = r.y * stretch * height;
                const float along = x + r.x * across + middle;
                p = {r.z * along, level + y + r.y * across, plane - 0.30f * along * along + deep};
            }
            position_[v] = p;
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

    // What the key light sees: a depth map along its direction. Eyes, mouth, glasses and loose strands cast none.
    void cast_shadows() {
        std::vector<Vec> seen(rig_.vertices);
        for (int32_t v = 0; v < rig_.vertices; ++v) seen[v] = shadow_.to_light(position_[v]);
        for (int32_t t = 0; t < rig_.triangles; ++t) {
            const uint8_t part = rig_.part[t];
            if ((part >= EYE && part <= LASH) || part >= FRAME || hidden(part)) continue;
            const int32_t* c = rig_.triangle + 3 * t;
            const bool hair = part == CAP || part == LOCKS;
            if (hair && (field(c[0], INSIDE) > 0.0f || bare(c))) continue;
            const Vec p0 = seen[c[0]], p1 = seen[c[1]], p2 = seen[c[2]];
            const float area = (p1.x - p0.x) * (p2.y - p0.y) - (p1.y - p0.y) * (p2.x - p0.x);
            if (area <= 0.0f) continue;
            scan(p0, p1, p2, area, ShadowMap::kSide, [&](int32_t place, float depth, float w0, float w1) {
                if (depth <= shadow_.depth(place)) return;
                if (hair && !hair_.covers(part, interpolate(t, w0, w1), 0.0f)) return;
                shadow_.depth(place) = depth;
            });
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

    // Parts that this face does not have.
    bool hidden(uint8_t part) const {
        return (part == CAP && look_.cap == 0.0f) || (part == LOCKS && look_.locks == 0.0f) || (part >= FRAME && look_.glasses == 0.0f);
    }

    void rasterize() {
        for (int32_t t = 0; t < rig_.triangles; ++t) {
            const uint8_t part = rig_.part[t];
            if (hidden(part)) continue;
            const int32_t* c = rig_.triangle + 3 * t;
            const bool lash = part == LASH, hair = part == CAP || part == LOCKS;
            if (hair && (bare(c) || (field(c[0], INSIDE) > 0.0f && inner(c[0]) && inner(c[1]) && inner(c[2])))) continue;
            const Vec p0 = screen_[c[0]], p1 = screen_[c[1]], p2 = screen_[c[2]];
            const float area = (p1.x - p0.x) * (p2.y - p0.y) - (p1.y - p0.y) * (p2.x - p0.x);
            const bool thin = part >= LASH && (part != CAP || look_.cap_thickness > 0.15f);  // seen from both sides
            if (thin ? area == 0.0f : area >= 0.0f) continue;  // y points down, so what faces us has a negative area
            std::vector<Sample>& buffer = part == LENS ? lens_ : buffer_;
            scan(p0, p1, p2, area, resolution_ * samples_, [&](int32_t place, float depth, float w0, float w1) {
                Sample& sample = buffer[place];
                if (depth <= sample.depth) return;
                if (hair) {
                    const float facing = normal_[c[0]].z * w0 + normal_[c[1]].z * w1 + normal_[c[2]].z * (1.0f - w0 - w1);
                    if (!hair_.covers(part, interpolate(t, w0, w1), absolute(facing))) return;
                } else if (lash && !lashed(interpolate(t, w0, w1).rest)) {
                    return;
                }
                sample = {depth, w0, w1, t};
            });
        }
    }

    // Whether a triangle of the cap is skin without hair.
    bool bare(const int32_t* c) const { return bare_[c[0]] && bare_[c[1]] && bare_[c[2]]; }

    // Whether a vertex turns so much to the viewer that loose strands over it cannot be at the outline.
    bool inner(int32_t v) const { return absolute(normal_[v].z) > kOutline; }

    // Lashes are strands; the lower ones are too thin to see.
    bool lashed(Vec r) const {
        return r.y > kEye.y && noise(r.x * 90, r.y * 30, r.z * 15, seed_) < look_.lashes + 0.3f;
    }

    template <typename T>
    T between(const T* values, int32_t t, float w0, float w1) const {
        const int32_t* c = rig_.triangle + 3 * t;
        return values[c[0]] * w0 + values[c[1]] * w1 + values[c[2]] * (1.0f - w0 - w1);
    }

    Vec shade_sample(const Sample& s) const {
        const uint8_t part = rig_.part[s.triangle];
        Vec n = normalized(between(normal_.data(), s.triangle, s.w0, s.w1));
        const bool inside = n.z < 0.0f && part >= LASH;
        if (inside) n = n * -1.0f;
        const float facing = dot(n, vec(look_.key_direction));
        const float share = facing > -0.45f ? shadow_.lit(between(position_.data(), s.triangle, s.w0, s.w1), facing) : 0.0f;
        return shader_.shade(part, interpolate(s.triangle, s.w0, s.w1), n, share, inside);
    }

    // What covers a sample; 255: the backdrop.
    uint8_t part_at(size_t place) const { return buffer_[place].triangle < 0 ? 255 : rig_.part[buffer_[place].triangle]; }

    // Linear colours of all samples, in 0 .. 1. Inside of a part every other sample is the mean of its neighbours: the filter
    // of the camera hides it, and it saves two fifths of the time.
    std::vector<Vec> shade_all() const {
        const int32_t size = resolution_ * samples_;
        const float step = 1.0f / static_cast<float>(resolution_);
        std::vector<Vec> colours(buffer_.size());
        for (int32_t y = 0; y < size; ++y) {
            Vec behind = {0, 0, 0};
            int32_t known = -1;  // the pixel whose backdrop `behind` is
            const size_t row = static_cast<size_t>(y) * size;
            const auto skipped = [&](int32_t x) {
                if (((x + y) & 1) == 0 || x == 0 || x == size - 1) return false;
                const uint8_t part = part_at(row + x);
                return part != 255 && part == part_at(row + x - 1) && part == part_at(row + x + 1);
            };
            for (int32_t x = 0; x < size; ++x) {
                if (skipped(x)) continue;
                const Sample& s = buffer_[row + x];
                if (s.triangle < 0 && known != x / samples_) {
                    known = x / samples_;
                    behind = shader_.backdrop((static_cast<float>(known) + 0.5f) * step, (static_cast<float>(y / samples_) + 0.5f) * step);
                }
                const Vec colour = s.triangle < 0 ? behind : shade_sample(s);
                colours[row + x] = {clamp(colour.x, 0, 1), clamp(colour.y, 0, 1), clamp(colour.z, 0, 1)};
            }
            for (int32_t x = 1; x < size - 1; ++x) {
                if (skipped(x)) colours[row + x] = (colours[row + x - 1] + colours[row + x + 1]) * 0.5f;
            }
        }
        if (!lens_.empty()) look_through(colours);
        return colours;
    }

    void look_through(std::vector<Vec>& colours) const {
        for (size_t place = 0; place < colours.size(); ++place) {
            const Sample& l = lens_[place];
            if (l.depth <= buffer_[place].depth || l.triangle < 0) continue;
            const Vec c = shader_.through_lens(colours[place], interpolate(l.triangle, l.w0, l.w1).rest);
            colours[place] = {clamp(c.x, 0, 1), clamp(c.y, 0, 1), clamp(c.z, 0, 1)};
        }
    }

    const Rig& rig_;
    const Look& look_;
    const float* weights_;
    const int32_t resolution_, samples_;
    const uint32_t seed_;
    const Shader shader_;
    const Hair& hair_;
    std::vector<Vec> position_, normal_, screen_;
    std::vector<Sample> buffer_, lens_;
    std::vector<uint8_t> bare_;
    ShadowMap shadow_;
};

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int32_t faces3d_look_size() { return sizeof(faces3d::Look); }

// Draw one face into out: uint8 [3, resolution, resolution], with samples x samples rays a pixel.
__attribute__((visibility("default"))) void faces3d_render(const faces3d::Rig* rig, const faces3d::Look* look, const float* weights, int32_t resolution, int32_t samples, uint8_t* out) {
    Renderer(*rig, *look, weights, resolution, samples).render(out);
}

}  // extern "C"
