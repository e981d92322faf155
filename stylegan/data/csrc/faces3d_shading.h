// Where hair grows and what every point looks like: the appearance of faces3d. faces3d_numpy_shading.py says the same in numpy.

#pragma once

#include "faces3d.h"

namespace faces3d {

class Shader {
   public:
    explicit Shader(const Look& look)
        : look_(look),
          seed_(static_cast<uint32_t>(look.noise_seed)),
          halfway_(normalized(vec(look.key_direction) + Vec{0, 0, 1})) {}

    // About the distance inside this face's hairline; positive where hair grows.
    float scalp(Vec p, float field) const {
        const float x = p.x < 0.0f ? -p.x : p.x;
        const float corners = 0.35f + 0.65f * smooth(x, 0.15f, 0.4f);  // hair is lost at the temples first
        float h = field - look_.recede * corners * smooth(p.y, 7.35f, 7.8f) + look_.sweep * p.x * smooth(p.y, 7.7f, 7.95f);
        const float away = p.x < look_.part ? look_.part - p.x : p.x - look_.part;
        h += look_.curtain * smooth(away, 0.05f, 0.6f) * smooth(p.y, 7.5f, 7.8f);  // falls over the forehead's corners
        if (look_.fringe < 1.0f) h += 0.25f * smooth(p.y, 7.78f, 7.95f);  // what a fringe hides is hair, too
        return std::min(h, look_.crown - p.y - 0.25f * p.z);
    }

    // How densely a beard of this face's cut grows, from where beards and moustaches grow at all.
    float beard(Vec p, float field, float moustache) const {
        const float x = p.x < 0.0f ? -p.x : p.x;
        const float chin = (1.0f - smooth(x, 0.20f, 0.34f)) * smooth(p.z, 1.15f, 1.3f);
        return std::max(field * std::max(look_.jaw_beard, look_.chin_beard * chin), moustache * look_.moustache);
    }

    // How far a point of the skin is below the neckline of the clothes; negative above.
    float dressed(Vec r) const {
        const float x = r.x * 1.8f;
        const float front = smooth(r.z, 0.1f, 0.4f) * clamp(1.0f - x * x, 0, 1);
        const float line = 6.0f - 0.08f * front;
        return line - (look_.collar > 0.0f ? look_.collar * front : look_.collar) - r.y;
    }

    // Whether hair or a lash covers this sample: a soft edge is a random share of a pixel's samples.
    bool covers(uint8_t part, const Point& p) const {
        const Vec r = p.rest;
        if (part == LASH) {  // the lower lashes are thinner
            return noise(r.x * 90, r.y * 90, r.z * 90, seed_) < look_.lashes + (r.y > kEye.y ? 0.35f : -0.25f);
        }
        if (part == CAP) {
            const float h = scalp(r, p.field[SCALP]);
            if (h > 0.1f || h < -0.06f) return h > 0.0f;
            return h + (0.10f + 0.04f * look_.curl) * (noise(r.x * 34, r.y * 34, r.z * 34, seed_ + 1) - 0.5f) > 0.02f;
        }
        const float turn = p.field[2], hang = p.field[1];
        const float front = look_.locks > 0.0f ? look_.locks_front : 0.42f;
        if (r.z < front - 0.06f && hang < 0.7f) return look_.locks > 0.0f;
        const float limit = look_.fringe + look_.fringe_slope * r.x - 0.25f * r.x * r.x;
        if (r.z > front + 0.06f && r.y < 0.95f && (hang > 0.0f || r.y < limit - 0.1f || r.y > limit + 0.1f)) {
            return hang <= 0.0f && r.y > limit;
        }
        const float coarse = noise(turn * 110, (hang + r.y) * 4, 0, seed_ + 2);
        const float n = 0.5f * coarse + 0.5f * noise(turn * 420, (hang + r.y) * 9, 0, seed_ + 12) - 0.5f;
        if (r.z + 0.12f * n > front && r.y < 0.95f) {  // in front: a fringe or nothing
            return hang <= 0.0f && r.y + 0.20f * n > limit;
        }
        return look_.locks > 0.0f && hang < 0.85f + 0.24f * n;
    }

    // Colour of a point, lit; n is its unit normal.
    Vec shade(uint8_t part, const Point& p, Vec n) const {
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

    Vec backdrop(float x, float y) const {
        const float along = clamp(0.5f + (x - 0.5f) * look_.backdrop_direction[0] + (y - 0.5f) * look_.backdrop_direction[1], 0, 1);
        Vec colour = mix(vec(look_.backdrop_a), vec(look_.backdrop_b), along);
        const float cloud = noise(x * 3.0f, y * 3.0f, 0.5f, seed_ + 11) - 0.5f;
        return colour * (1.0f + 0.7f * look_.backdrop_blob * cloud);
    }

   private:
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
        shade *= 1.0f - 0.30f * smooth(h, -0.22f, 0.0f) * smooth(look_.cap_thickness, 0.02f, 0.12f);
        if (whiskers <= 0.0f && h < -0.06f) return albedo;
        const float fuzz = noise(r.x * 40, r.y * 40, r.z * 40, seed_ + 6);
        albedo = mix(albedo, vec(look_.beard) * (0.7f + 0.6f * fuzz), whiskers * (0.85f + 0.3f * (fuzz - 0.5f)));
        gloss *= 1.0f - 0.8f * whiskers;
        albedo = mix(albedo, vec(look_.hair) * (0.7f + 0.6f * fuzz), 0.85f * smooth(h + 0.05f * (fuzz - 0.5f), -0.03f, 0.07f));
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
        if (away > 1.25f * half) return 0.0f;
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
        return vec(look_.hair) * (1.0f + 0.8f * look_.gloss * c4 * strand) + Vec{1, 0.95f, 0.9f} * (0.11f * look_.gloss * c4 * c4 * (0.3f + strand));
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

    const Look& look_;
    const uint32_t seed_;
    const Vec halfway_;  // between the key light and the viewer
};

}  // namespace faces3d
