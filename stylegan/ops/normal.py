"""Normal and uniform random numbers, each a function of a key, an index and a position alone.

Schemas (the bodies below are the reference, which compiled kernels equal in every bit):

    stylegan::normal(key, indices, size) -> float32 [n, size]
    stylegan::uniform(key, indices, size) -> float32 [n, size]

Number p of index i is made of word p % 4 of Philox 4x32-10 (Salmon et al. 2011) with the 64 bits of `key` as key and of i and
p // 4 as counter. So it does not matter which numbers are made at once, in what order, where and by how many threads. Two
words make two normal numbers (Box and Muller 1958), with a logarithm, a sine and a cosine of our own: other libraries' differ
from device to device. The arithmetic is that of csrc/philox.h, operation by operation. There are no gradients.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stylegan.ops.torch_private import BelowInPlaceCounts

WORD = 0xFFFFFFFF
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
# Polynomials in q from the lowest power on, as `tests/ops/polynomials.py` fits them: 4 artanh(s) = s p(s^2) for s up to 1/3,
# and with h from -1 to 1 the sine h p(h^2) and the cosine p(h^2) of h quarters of pi.
ARTANH = (4.0, 1.33332825, 0.800432444, 0.560015678, 0.560309291)
SINE = (0.785398185, -0.0807458237, 0.0024909908, -3.65908454e-05)
COSINE = (1.0, -0.308425128, 0.015854327, -0.000325940084, 3.53033352e-06)
TWICE_LN2 = 1.38629436
PIECE = 1 << 13  # blocks that the reference makes at once on a CPU: what it makes on the way then stays in the cache


def normal(key: int, indices: Tensor, size: int) -> Tensor:
    """Standard normal numbers, with 32 bits for each: up to 6.76 and down to -6.76.

    Args:
        key: What the numbers are for; any 64 bits, as a signed number.
        indices: Which rows, int64 [n].
        size: Numbers of a row.

    Returns:
        float32 [n, size] on the device of the indices. Row r holds the first numbers of indices[r]: with another size it begins
        with the same ones.

    Raises:
        ValueError: Indices that are not int64 [n], or a negative size.
    """
    with BelowInPlaceCounts():  # torch looks for gradients of custom ops in Python, longer than a thousand numbers take
        return _normal(key, indices, size)


def uniform(key: int, indices: Tensor, size: int) -> Tensor:
    """The same, uniform in [0, 1): multiples of 2^-32 below 2^-8, of 2^-24 above."""
    with BelowInPlaceCounts():
        return _uniform(key, indices, size)


@torch.library.custom_op("stylegan::normal", mutates_args=())
def _normal(key: int, indices: Tensor, size: int) -> Tensor:
    return _drawn(key, indices, size, _normals)


@torch.library.custom_op("stylegan::uniform", mutates_args=())
def _uniform(key: int, indices: Tensor, size: int) -> Tensor:
    return _drawn(key, indices, size, fraction)


@_normal.register_fake
@_uniform.register_fake
def _(key, indices, size):
    _check(indices, size)
    return indices.new_empty([indices.shape[0], size], dtype=torch.float32)


def philox(counter: Sequence[Tensor], key: int) -> list[Tensor]:
    """Philox 4x32-10: the four words, in int64, of a counter of four words, lowest first. The key has two."""
    a, b, c, d = counter
    low, high = key & WORD, key >> 32 & WORD
    for _ in range(10):
        p, q = a * MULTIPLIERS[0], c * MULTIPLIERS[1]  # beyond 2^63 they wrap, which leaves all 64 bits right
        a, b, c, d = (q >> 32 & WORD) ^ b ^ low, q & WORD, (p >> 32 & WORD) ^ d ^ high, p & WORD
        low, high = (low + KEY_STEPS[0]) & WORD, (high + KEY_STEPS[1]) & WORD
    return [a, b, c, d]


def radius(x: Tensor) -> Tensor:
    """sqrt(-2 ln u), float32, for words x and u = (x + 1/2) / 2^32."""
    upper = x >= 1 << 31
    a = (torch.where(upper, WORD - x, x).float() + 0.5) * 2.0**-32
    bits = a.view(torch.int32)
    mantissa = ((bits & 0x7FFFFF) | 0x3F000000).view(torch.float32)
    v = torch.where(upper, a, 1 - mantissa)
    e = torch.where(upper, 0, 126 - (bits >> 23)).float()
    s = v / (2 - v)
    return _root(e * TWICE_LN2 + s * _horner(s * s, ARTANH))


def direction(x: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine, float32, of 2 pi u for words x and u = (x + 1/2) / 2^32."""
    turned = x + (1 << 29)
    axis = turned >> 30
    h = ((turned & 0x3FFFFFFF) - (1 << 29)).float() + 0.5
    h = h * 2.0**-29
    q = h * h
    sin, cos, swapped = h * _horner(q, SINE), _horner(q, COSINE), (axis & 1) != 0
    x, y = torch.where(swapped, sin, cos), torch.where(swapped, cos, sin)
    return torch.where((axis + 1 & 2) != 0, -x, x), torch.where((axis & 2) != 0, -y, y)


def fraction(x: Tensor) -> Tensor:
    """x / 2^32, float32 in [0, 1), for words x: rounded down to what a float holds, or to 2^-24 from 2^-8 on."""
    exact = x < 1 << 24
    return torch.where(exact, x, x >> 8).float() * torch.where(exact, 2.0**-32, 2.0**-24)


def _normals(words: Tensor) -> Tensor:
    """[4, k] -> [4, k]"""
    r, (cos, sin) = radius(words[::2]), direction(words[1::2])
    return torch.stack([r * cos, r * sin], 1).flatten(0, 1)


def _drawn(key: int, indices: Tensor, size: int, numbers: Callable[[Tensor], Tensor]) -> Tensor:
    """`numbers` makes four rows of numbers out of four rows of words."""
    _check(indices, size)
    blocks = -(-size // 4)
    out = torch.empty([len(indices) * blocks, 4], device=indices.device)
    piece = PIECE if indices.device.type == "cpu" else max(len(out), 1)
    for start in range(0, len(out), piece):
        place = torch.arange(start, min(start + piece, len(out)), device=indices.device)
        index, block = indices[place // blocks], place % blocks
        words = philox([index & WORD, index >> 32 & WORD, block & WORD, block >> 32], key)
        out[start : start + piece] = numbers(torch.stack(words)).t()
    return out.view(len(indices), 4 * blocks)[:, :size].contiguous()


def _horner(q: Tensor, coefficients: Sequence[float]) -> Tensor:
    *rest, last = coefficients
    value = torch.full_like(q, last)
    for c in reversed(rest):
        value = value * q + c
    return value


def _root(t: Tensor) -> Tensor:
    """Correctly rounded, whatever torch's square root of float32 is: it comes of one of twice the digits."""
    return t.double().sqrt().float()


def _check(indices: Tensor, size: int) -> None:
    if indices.ndim != 1 or indices.dtype != torch.int64 or size < 0:
        raise ValueError(
            f"expected indices int64 [n] and a size of 0 or more, got {indices.dtype} {list(indices.shape)} and {size}"
        )
