// Where hair grows, which samples its strands cover, and its colour. faces3d_numpy_hair.py says the same in numpy.

#pragma once

#include "faces3d.h"

namespace faces3d {

class Hair {
   public:
    explicit Hair(const Look& look) : look_(look), seed_(static_cast<uint32_t>(look.noise_seed)) {}

    // How far round the head a point is, counted from the forehead on both sides.
    static float around(Vec p) { return p.x < 0.0f ? 40.0f - p.x - p.z : p.x - p.z; }

    // About the distance inside this face's hairline; positive where hair grows.
    float scalp(Vec p, float field) const {
        const float x = absolute(p.x);
        const float corners = 0.35f + 0.65f * smooth(x, 0.15f, 0.4f);  // hair is lost at the temples first
        const float uneven = field < 0.5f ? 0.14f * (noise(around(p) * 5, p.y * 2.5f, 0, seed_ + 15) - 0.5f) : 0.0f;
        float h = field + uneven - look_.recede * corners * smooth(p.y, 7.35f, 7.8f) + look_.sweep * p.x * smooth(p.y, 7.7f, 7.95f);
        h += look_.curtain * smooth(absolute(p.x - look_.part), 0.05f, 0.6f) * smooth(p.y, 7.5f, 7.8f);  // over the forehead's corners
        if (look_.fringe < 9.0f && p.z > 0.6f) {  // falls over the forehead
            const float low = look_.fringe + look_.fringe_slope * p.x + 0.12f * p.x * p.x;
            h = std::max(h, 0.8f * (p.y - low) - 0.7f * smooth(x, 0.52f, 0.72f));
        }
        return std::min(h, look_.crown - p.y - 0.25f * p.z);
    }

    // How densely a beard of this face's cut grows, from where beards and moustaches grow at all.
    float beard(Vec p, float field, float moustache) const {
        const float x = absolute(p.x);
        const float chin = (1.0f - smooth(x, 0.16f, 0.36f)) * smooth(p.z, 1.1f, 1.3f);
        const float cut = std::max(look_.jaw_beard * (0.7f + 0.3f * chin), look_.chin_beard * chin);
        return std::max(field * cut, moustache * look_.moustache);
    }

    // How far above the skin the cap's hair stands.
    float volume(Vec r, float h, float layer) const {
        const float lumps = 1.0f + (0.35f + 0.55f * look_.curl) * (noise(r.x * 5, r.y * 5, r.z * 5, seed_) - 0.5f);
        const float tall = look_.cap_thickness * smooth(h, 0.03f, 0.34f) * mix(0.55f, 1.0f, smooth(r.y, 7.2f, 8.2f)) *
                           (1.0f + look_.quiff * smooth(r.z, 0.6f, 1.2f));
        const float fringe = look_.fringe < 9.0f && r.z > 0.6f ? 0.035f * smooth(h, -0.05f, 0.08f) : 0.0f;
        return 0.006f + tall * lumps + fringe + layer * look_.fuzz * smooth(h, -0.08f, 0.12f);
    }

    // Whether hair covers this sample: a soft edge is a random share of a pixel's samples. `facing` is how much the surface
    // turns to the viewer; the outer layers are strands that only show at the outline.
    bool covers(uint8_t part, const Point& p, float facing) const {
        const Vec r = p.rest;
        const float layer = p.field[LAYER];
        if (layer > 0.0f && facing > kOutline) return false;
        const float loose = layer > 0.0f ? 0.44f * layer - 0.06f + 0.6f * facing : 0.0f;
        if (part == CAP) {
            const float h = scalp(r, p.field[SCALP]);
            if (layer == 0.0f && (h > 0.20f || h < -0.18f)) return h > 0.0f;
            if (h < -0.18f) return false;
            const float n = 0.6f * fibre(r, 1) + 0.4f * noise(around(r) * 15, r.y * 5, 0, seed_ + 2);
            const float ragged = mix(0.36f, 0.14f, smooth(absolute(r.x), 0.45f, 0.65f));  // fringes more than temples
            return n > loose && h + ragged * (n - 0.5f) > 0.01f;
        }
        const float turn = p.field[TURN], hang = p.field[HANG], along = hang * look_.locks_length + r.y;
        const float front = look_.locks_front * (1.0f + 0.25f * hang);
        const bool near_front = r.z > front - 0.14f, near_end = hang > 0.55f;
        if (layer == 0.0f && !near_front && !near_end) return true;
        if (r.z > front + 0.14f) return false;
        const float fine = noise(turn * 330, along * 2.5f, 0, seed_ + 2), clump = noise(turn * 70, along * 1.2f, 0, seed_ + 12);
        const float n = 0.5f * fine + 0.5f * clump;
        if (n <= loose) return false;
        return r.z + 0.34f * (n - 0.5f) < front && hang < 0.82f + 0.5f * (n - 0.5f);
    }

    // Albedo of hair; `shine` receives its highlights: bands across the strands (Kajiya and Kay 1989, "Rendering fur with three
    // dimensional textures").
    Vec colour(uint8_t part, const Point& p, Vec n, Vec halfway, float lit, Vec& shine, float& shade) const {
        const Vec r = p.rest;
        float strand, lumps;
        Vec albedo = vec(look_.hair);
        shade = 1.0f;
        if (part == CAP) {
            strand = fibre(r, 9);
            lumps = noise(around(r) * 9, r.y * 3.5f, 0, seed_ + 10);
            if (look_.parting > 0.0f && r.y > 7.95f) {
                const float away = r.x - look_.part - 0.05f * (noise(r.z * 6, 1, 0, seed_ + 14) - 0.5f);
                const float line = smooth(r.y, 7.95f, 8.1f) * smooth(r.z, 0.2f, 0.5f) / (1.0f + 2500.0f * away * away);
                albedo = mix(albedo, vec(look_.skin) * 0.6f, 0.75f * look_.parting * line);
            }
            shade = 1.0f - 0.25f * (1.0f - smooth(scalp(r, p.field[SCALP]), -0.05f, 0.25f)) * smooth(look_.cap_thickness, 0.03f, 0.1f);
        } else {
            const float along = p.field[HANG] * look_.locks_length + r.y;
            strand = noise(p.field[TURN] * 210, along * mix(2.0f, 9.0f, look_.curl), 0, seed_ + 9);
            lumps = noise(p.field[TURN] * 44, along * 2, 0, seed_ + 10);
            shade = mix(1.0f, 0.75f, smooth(p.field[HANG], 0.0f, 0.9f));
        }
        const float depth = 1.0f - look_.streaks * (0.5f * strand + 0.5f * lumps);
        shade *= depth;
        Vec along = Vec{0, 0.77f, -0.64f} - n * (0.77f * n.y - 0.64f * n.z);
        along = normalized(along);
        const float slant = dot(along, halfway) + 0.30f * (lumps - 0.5f) - 0.12f;
        const float across = clamp(1.0f - slant * slant, 0, 1);
        const float a2 = across * across, a4 = a2 * a2, a8 = a4 * a4, a16 = a8 * a8;
        const float front = clamp(dot(n, vec(look_.key_direction)) + 0.3f, 0, 1) * (0.25f + 0.75f * lit);
        const float gloss = look_.gloss * (1.0f - 0.6f * look_.curl) * front * (0.35f + strand);
        shine = vec(look_.key) * (vec(look_.hair) * (1.1f * gloss * a8) + Vec{1, 0.95f, 0.9f} * (0.10f * gloss * a16 * a8));
        return albedo;
    }

   private:
    // Strands of the cap: they run down the sides and the forehead, and sideways from the parting on top.
    float fibre(Vec r, uint32_t stream) const {
        const float top = smooth(r.y, 7.95f, 8.2f);
        const float along = mix(7.0f, 24.0f, look_.curl);
        float down = 0, sideways = 0;
        if (top < 1.0f) down = noise(around(r) * 42 + r.y * 4, r.y * along, 0, seed_ + stream);
        if (top > 0.0f) sideways = noise(r.x * along, r.z * 38 + r.x * 5, 0, seed_ + stream);
        return mix(down, sideways, top);
    }

    const Look& look_;
    const uint32_t seed_;
};

}  // namespace faces3d
