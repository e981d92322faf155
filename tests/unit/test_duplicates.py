"""Near-duplicates: against all pairs, and on pictures."""

import io

import numpy as np
from PIL import Image

from stylegan.data.duplicates import NEAR, near_duplicates, picture_hash


def picture(seed: int, side: int = 64) -> np.ndarray:
    random = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(random).resize((side, side), Image.Resampling.BICUBIC))


def test_agrees_with_all_pairs() -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (300, 256), dtype=np.uint8)
    for i in range(150, 300):  # each of the second half is a copy with up to twice as many changes as count
        bits[i] = bits[random.integers(0, i)]
        flipped = random.permutation(256)[: random.integers(0, 2 * NEAR)]
        bits[i, flipped] ^= 1
    bits[::3] &= random.integers(0, 2, 256, dtype=np.uint8) & random.integers(0, 2, 256, dtype=np.uint8)  # few are set
    distance = (bits[:, None] != bits[None]).sum(-1)
    either = (bits[:, None] | bits[None]).sum(-1)
    near = (distance <= NEAR) & (10 * distance <= either)
    assert ((distance <= NEAR) & ~near).any()
    expected = {i for i in range(300) if near[i, :i].any()}
    found = near_duplicates(list(np.packbits(bits, axis=1)))
    assert {i for i, _ in found} == expected and 50 < len(expected) < 200
    assert all(j < i and near[i, j] for i, j in found)


def test_pictures() -> None:
    image = Image.fromarray(picture(0))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=80)
    similar = [
        np.asarray(image.resize((200, 200), Image.Resampling.LANCZOS)),
        np.asarray(Image.open(buffer)),
        np.asarray(image.convert("L"))[..., None],
        np.clip(np.asarray(image).astype(int) + 12, 0, 255).astype(np.uint8),
    ]
    others = [picture(seed) for seed in range(1, 20)]
    hashes = [picture_hash(pixels) for pixels in [np.asarray(image), *others, *similar]]
    assert near_duplicates(hashes) == [(20 + i, 0) for i in range(4)]


def test_few_images() -> None:
    assert near_duplicates([]) == near_duplicates([picture_hash(picture(0))]) == []
