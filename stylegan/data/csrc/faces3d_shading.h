// What every point looks like: the appearance of faces3d. faces3d_numpy_shading.py says the same in numpy.

#pragma once

#include "faces3d_hair.h"

namespace faces3d {

class Shader {
   public:
    explicit Shader(const Look& look)
        : look_(look),
          seed_(static_cast<uint32_t>(look.noise_seed)),
          hair_(look),
          halfway_(normalized(vec(look.key_direction) + Vec{0, 0, 1})) {}

    const Hair& hair() const { return hair_; }

    // How far a point of the skin is below the neckline of the clothes; negative above.
    float dressed(Vec r) const {
        const float x = r.x * 1.8f;
        const float front = smooth(r.z, 0.1f, 0.4f) * clamp(1.0f - x * x, 0, 1);
        const float line = 6.0f - 0.08f * front;
        return line - (look_.collar > 0.0f ? look_.collar * front : look_.collar) - r.y;
    }

    // Colour of a point, lit; n is its unit normal, `lit` the share of the key light that reaches it, `inside` whether the
    // viewer sees the inner side.
    Vec shade(uint8_t part, const Point& p, Vec n, float lit, bool inside) const {
        float gloss = 0.0f, shade = 1.0f;
        Vec albedo, shine = {0, 0, 0}, wrap = {0.1f, 0.1f, 0.1f};
        switch (part) {
            case SKIN:
                if (p.field[NECK] > 0.3f && dressed(p.rest) > 0.0f) {
                    albedo = cloth(p.rest);
                    shade = 1.0f - 0.3f * (1.0f - smooth(dressed(p.rest), 0.0f, 0.05f));
                    break;
                }
                albedo = skin(p, gloss, shade);
                wrap = {0.42f, 0.27f, 0.22f};  // light that spreads under the skin is red
                break;
            case EYE:
                albedo = eye(p.rest, shine.x, shade);
                shine = {shine.x, shine.x, shine.x};
                gloss = 0.05f;
                break;
            case TEETH:
                albedo = Vec{0.78f, 0.73f, 0.64f};
                lit = 0.5f + 0.5f * lit;  // light that the lips let through
                shade = mix(0.3f, 1.0f, smooth(p.rest.z, 1.05f, 1.35f));
                break;
            case TONGUE:
                albedo = Vec{0.40f, 0.12f, 0.11f};
                shade = 0.5f;
                break;
            case LASH:
                albedo = mix(vec(look_.brow), Vec{0.012f, 0.009f, 0.008f}, 0.7f);
                break;
            case CLOTH:
                albedo = cloth(p.rest);
                break;
            case FRAME:
                albedo = vec(look_.frame);
                gloss = 0.35f;
                break;
            default:
                albedo = hair_.colour(part, p, n, halfway_, lit, shine, shade);
                if (inside) shade *= 0.45f;
                wrap = {0.25f, 0.25f, 0.25f};
        }
        return light(albedo, n, wrap, gloss, lit) * shade + shine;
    }

    // What a lens does to the light behind it; the first number of `add` is what it mirrors.
    Vec through_lens(Vec colour, Vec r) const {
        const float streak = r.x * 0.6f + r.y * 0.8f - 0.25f * look_.key_direction[0];
        const float band = smooth(streak, 0.05f, 0.20f) * (1.0f - smooth(streak, 0.45f, 0.75f));
        return colour * vec(look_.tint) + vec(look_.key) * (look_.lens_shine * (0.25f + band));
    }

    Vec backdrop(float x, float y) const {
        const float along = clamp(0.5f + (x - 0.5f) * look_.backdrop_direction[0] + (y - 0.5f) * look_.backdrop_direction[1], 0, 1);
        Vec colour = mix(vec(look_.backdrop_a), vec(look_.backdrop_b), along);
        const float cloud = noise(x * 3.0f, y * 3.0f, 0, seed_ + 11) - 0.5f;
        float level = 1.0f + 0.7f * look_.backdrop_blob * cloud;
        if (look_.bokeh > 0.0f) {  // shapes far behind, out of focus
            for (uint32_t k = 0; k < 9; ++k) {
                const uint32_t key = (seed_ + 20 + k) * 0x9E3779B1u;
                const float dx = x - (1.3f * scramble(key) - 0.15f), dy = y - (1.1f * scramble(key + 1) - 0.15f);
                const float radius = 0.05f + 0.13f * scramble(key + 2);
                const float disc = 1.0f - smooth((dx * dx + dy * dy) / (radius * radius), 0.55f, 1.25f);
                level += look_.bokeh * (1.5f * scramble(key + 3) - 0.55f) * disc;
            }
        }
        return colour * std::max(level, 0.05f);
    }

   private:
    // Albedo of skin; `gloss` receives the strength of its highlight.
    Vec skin(const Point& p, float& gloss, float& shade) const {
        const Vec r = p.rest;
        const float x = absolute(r.x);
        Vec albedo = vec(look_.skin);
        gloss = look_.oil;
        const float cx = (x - 0.42f) / 0.20f, cy = (r.y - 6.98f) / 0.20f;
        const float tip = smooth(r.z, 1.55f, 1.7f) * smooth(r.y, 6.82f, 6.9f);
        const float patch = look_.mottle * (noise(r.x * 13, r.y * 13, r.z * 13, seed_ + 3) - 0.5f);
        const float red = patch + look_.blush * (1.0f / (1.0f + 3.0f * (cx * cx + cy * cy)) * smooth(r.z, 0.9f, 1.1f) + 0.6f * tip);
        albedo = albedo * Vec{1.0f - 0.3f * patch, 1.0f - 0.22f * red - 0.3f * patch, 1.0f - 0.20f * red - 0.3f * patch};
        if (look_.freckles > 0.0f && r.z > 1.1f) {
            const float spot = noise(r.x * 38, r.y * 38, r.z * 38, seed_ + 4);
            const float freckle = look_.freckles * smooth(spot, 0.66f, 0.80f) * smooth(r.z, 1.1f, 1.3f) * (1.0f - smooth(r.y, 7.45f, 7.65f));
            albedo = albedo * Vec{1.0f - 0.22f * freckle, 1.0f - 0.34f * freckle, 1.0f - 0.40f * freckle};
        }
        const float lips = smooth(p.field[LIPS], 0.2f, 0.8f);
        albedo = mix(albedo, vec(look_.lips), 0.9f * lips);
        gloss += 0.10f * lips;

        shade = 1.0f;
        if (r.z > 0.9f) {
            const float ex = (x - kEye.x) / 0.24f, ey = (r.y - kEye.y - 0.02f) / 0.15f;
            shade -= 0.20f / (1.0f + 2.0f * (ex * ex + ey * ey) * (ex * ex + ey * ey));  // sockets of the eyes
            albedo = make_up(albedo, r, x);
            shade *= 1.0f - lines(r, x);
        }
        const float neck = p.field[NECK];
        shade *= 1.0f - 0.34f * look_.shadow * smooth(neck, 0.02f, 0.35f) * (1.0f - 0.6f * smooth(neck, 0.6f, 1.0f));
        albedo = mix(albedo, Vec{0.10f, 0.02f, 0.02f}, p.field[INSIDE]);

        if (r.z > 0.9f) albedo = mix(albedo, vec(look_.brow), brow(r, x));
        const float whiskers = hair_.beard(r, p.field[BEARD], p.field[MOUSTACHE]) * (1.0f - lips) * look_.beard_density;
        const bool hairless = look_.cap == 0.0f || (r.y < 7.2f && p.field[SCALP] < -0.4f);
        const float h = hairless ? -1.0f : hair_.scalp(r, p.field[SCALP]);
        shade *= 1.0f - 0.22f * smooth(h, -0.22f, 0.0f) * smooth(look_.cap_thickness, 0.02f, 0.12f);
        if (whiskers <= 0.0f && h < -0.25f) return albedo;
        const float fuzz = noise(Hair::around(r) * 70, r.y * 32, 0, seed_ + 6);
        const float grown = clamp(whiskers * (0.55f + 0.5f * whiskers + 0.7f * (fuzz - 0.5f)), 0, 1);
        albedo = mix(albedo, vec(look_.beard) * (0.6f + 0.8f * fuzz), grown);
        gloss *= 1.0f - 0.8f * whiskers;
        const float roots = smooth(h + 0.16f * (fuzz - 0.5f), -0.16f, 0.10f);
        albedo = mix(albedo, vec(look_.hair) * (0.7f + 0.6f * fuzz), 0.88f * roots);
        gloss *= 1.0f - 0.7f * roots;
        return albedo;
    }

    Vec make_up(Vec albedo, Vec r, float x) const {
        if (look_.makeup <= 0.0f || r.z < 1.15f) return albedo;
        const float lx = (x - 0.32f) / 0.20f, ly = (r.y - 7.36f) / 0.075f;
        albedo = mix(albedo, vec(look_.eyeshadow), look_.makeup * 0.6f * (1.0f - smooth(lx * lx + ly * ly, 0.3f, 1.2f)));
        const float ax = (x - 0.315f) / 0.165f, ay = (r.y - 7.285f) / 0.075f;
        const float ring = ax * ax + ay * ay - 1.0f;
        const float line = look_.liner * (1.0f - smooth(ring * ring, 0.02f, 0.30f)) * (ay > 0.0f ? 1.0f : 0.55f);
        return mix(albedo, Vec{0.012f, 0.010f, 0.010f}, line);
    }

    // How much darker lines of age and expression are: 0 .. 1.
    float lines(Vec r, float x) const {
        float dark = 0.0f;
        if (look_.forehead_lines > 0.0f && r.y > 7.6f && r.y < 8.02f) {
            const float wave = r.y + 0.06f * (noise(r.x * 2.5f, 3, 0, seed_ + 5) - 0.5f);
            const float d = (fraction(wave * 8.0f) - 0.5f) / 0.12f;
            const float where = smooth(r.y, 7.6f, 7.68f) * (1.0f - smooth(r.y, 7.92f, 8.02f)) * (1.0f - smooth(x, 0.2f, 0.5f));
            dark += 0.20f * look_.forehead_lines * where * noise(r.x * 4, r.y * 8, 0, seed_ + 5) / (0.5f + 0.5f * d * d);
        }
        if (look_.eye_lines > 0.0f && x > 0.50f && x < 0.70f && r.y > 7.1f && r.y < 7.45f) {
            const float slope = (r.y - 7.285f) / (x - 0.42f) * 2.2f;
            const float d = (fraction(slope) - 0.5f) / 0.16f;
            const float where = smooth(x, 0.50f, 0.54f) * (1.0f - smooth(x, 0.58f, 0.68f)) * (1.0f - smooth(absolute(slope), 1.0f, 1.5f));
            dark += 0.20f * look_.eye_lines * where / (1.0f + d * d);
        }
        if (look_.eye_lines > 0.0f && r.y > 7.0f && r.y < 7.25f && x < 0.52f) {  // below the eye
            const float d = (r.y - (7.135f + 1.1f * (x - 0.30f) * (x - 0.30f))) / 0.022f;
            dark += 0.15f * look_.eye_lines * smooth(x, 0.14f, 0.2f) * (1.0f - smooth(x, 0.40f, 0.5f)) / (1.0f + d * d);
        }
        if (look_.cheek_lines > 0.0f && r.y > 6.6f && r.y < 7.02f) {  // from the wings of the nose to the corners of the mouth
            const float t = (7.0f - r.y) / 0.36f;
            const float d = (x - (0.185f + 0.10f * t + 0.09f * t * t)) / 0.022f;
            dark += 0.20f * look_.cheek_lines * smooth(t, 0.05f, 0.3f) * (1.0f - smooth(t, 0.7f, 1.05f)) / (1.0f + d * d);
        }
        return dark;
    }

    // How much of the skin a brow hides at rest coordinates r, x = |r.x|.
    float brow(Vec r, float x) const {
        const float t = (x - 0.135f) / 0.37f;
        if (t < -0.1f || t > 1.15f) return 0.0f;
        const float bend = (t - 0.62f) / 0.62f;
        const float height = 7.462f + look_.brow_height + look_.brow_arch * (1.0f - bend * bend);
        const float half = look_.brow_thickness * (1.0f - 0.6f * clamp(t - 0.15f, 0.0f, 1.0f));
        const float away = absolute(r.y - height);
        if (away > 1.5f * half) return 0.0f;
        const float ends = smooth(t, -0.06f, 0.14f) * (1.0f - smooth(t, 0.85f, 1.10f));
        const float hairs = noise(x * 75 - r.y * 45, r.y * 22, 0, seed_ + 7);
        return look_.brow_density * ends * (1.0f - smooth(away, 0.3f * half, 1.5f * half)) * (0.55f + 0.75f * hairs);
    }

    // Colour of the eyeball; `shine` receives the reflection of the lamp, which is added after shading.
    Vec eye(Vec r, float& shine, float& shade) const {
        const float side = r.x > 0.0f ? 1.0f : -1.0f;
        const float dx = r.x - side * kEye.x - look_.gaze[0] * 0.14f, dy = r.y - kEye.y - look_.gaze[1] * 0.14f;
        const float radius = look_.iris_radius;
        const float d = std::sqrt(dx * dx + dy * dy) / radius;
        const float lid = r.y - kEye.y;
        shade = 1.0f - 0.45f * smooth(lid, 0.0f, 0.08f);
        shine = 0.0f;
        const float inner = smooth(side * r.x, kEye.x - 0.14f, kEye.x - 0.08f);
        const Vec sclera = mix(Vec{0.60f, 0.40f, 0.38f}, Vec{0.76f, 0.73f, 0.71f}, inner);
        if (r.z < kEye.z) return sclera;
        const float fibres = 0.75f + 0.5f * noise(dx * 60, dy * 60, side, seed_ + 8);
        Vec iris = vec(look_.iris) * (fibres * (1.0f - 0.65f * smooth(d, 0.72f, 1.0f)));
        iris = mix(Vec{0.004f, 0.004f, 0.004f}, iris, smooth(d, look_.pupil - 0.08f, look_.pupil + 0.08f));
        const float sx = dx / radius - 0.40f * look_.key_direction[0], sy = dy / radius - 0.30f;
        shine = 0.9f * (1.0f - smooth(std::sqrt(sx * sx + sy * sy), 0.16f, 0.36f));
        return mix(iris, sclera, smooth(d, 0.88f, 1.12f));
    }

    Vec cloth(Vec r) const {
        const float stripe = fraction(r.y * 9.0f) < 0.5f ? 1.0f : 1.0f - 0.7f * look_.cloth_stripe;
        const float fold = 0.88f + 0.24f * noise(r.x * 3.5f + r.z, r.y * 5, 0, seed_ + 13);
        return vec(look_.cloth) * (stripe * fold);
    }

    Vec light(Vec albedo, Vec n, Vec wrap, float gloss, float lit) const {
        const Vec key = vec(look_.key_direction);
        const float facing = dot(n, key);
        const float reach = 0.12f + 0.88f * lit;
        const Vec front = {clamp((facing + wrap.x) / (1.0f + wrap.x), 0, 2), clamp((facing + wrap.y) / (1.0f + wrap.y), 0, 2),
                           clamp((facing + wrap.z) / (1.0f + wrap.z), 0, 2)};
        const float opposite = clamp(dot(n, Vec{-key.x, 0.25f, key.z * 0.6f + 0.3f}), 0, 1);
        const Vec ambient = mix(vec(look_.ground), vec(look_.sky), 0.5f + 0.5f * n.y);
        const Vec total = vec(look_.key) * (front * reach) + vec(look_.fill) * opposite + ambient;
        const float peak = clamp(dot(n, halfway_), 0, 1);
        const float p2 = peak * peak, p4 = p2 * p2, p8 = p4 * p4;
        const float edge = 1.0f - clamp(n.z, 0, 1);
        return albedo * total + vec(look_.key) * (gloss * lit * (p8 * p8 * p4 + 0.25f * p4) + 0.3f * gloss * edge * edge * edge);
    }

    const Look& look_;
    const uint32_t seed_;
    const Hair hair_;
    const Vec halfway_;  // between the key light and the viewer
};

}  // namespace faces3d
