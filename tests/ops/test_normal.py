"""Normal and uniform numbers: Philox against published vectors, functions against float64, and what numbers must be like.

Every test but the last few runs with both kinds of ops. That these make the same bits is tested, so that what is about many
numbers is seen for the compiled ones alone, which make them faster.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.ops import normal as module
from stylegan.ops.backend import reference_ops
from stylegan.ops.normal import direction, fraction, normal, philox, radius, uniform
from tests.ops.polynomials import FITS

WORDS = 1 << 32
KINDS = pytest.mark.parametrize("draw", [normal, uniform])
INDICES = torch.tensor([0, 1, -1, 7, (1 << 63) - 1, -(1 << 63), 5_000_000_000])
MANY = 1 << 21
# Of Random123 (kat_vectors, philox4x32 with 10 rounds): counter, key, words.
PUBLISHED = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def all_kinds() -> list[Tensor]:
    """Numbers of keys, indices and sizes of every kind, to compare."""
    keys, sizes = (0, -1, 0x0123456789ABCDEF), (0, 1, 2, 3, 4, 5, 63, 64, 65, 1003, 20001)
    return [draw(key, INDICES, size) for draw in (normal, uniform) for key in keys for size in sizes]


@pytest.mark.parametrize(("counter", "key", "words"), PUBLISHED)
def test_published_vectors(counter: list[int], key: list[int], words: list[int]) -> None:
    got = philox([torch.tensor([word]) for word in counter], key[0] | key[1] << 32)
    assert [int(word) for word in got] == words


def test_the_op_begins_with_the_published_vector_of_zeros() -> None:
    assert uniform(0, torch.tensor([0]), 4).tolist() == [[(word >> 8) / 2**24 for word in PUBLISHED[0][2]]]


def test_where_key_index_and_position_go() -> None:
    """The index is the lower half of the counter, the position in fours the upper one."""
    key, index, block = -0x0123456789ABCDEF, -(1 << 40) + 5, 77
    words = philox([torch.tensor([w]) for w in (index & 0xFFFFFFFF, index >> 32 & 0xFFFFFFFF, block, 0)], key)
    got = uniform(key, torch.tensor([index]), 4 * block + 4)[0, -4:]
    assert torch.equal(got, torch.cat([fraction(word) for word in words]))


def test_compiled_and_reference_make_the_same_bits(ops: str) -> None:
    if ops == "reference":
        pytest.skip("compares the two")
    got = all_kinds()
    with reference_ops():
        want = all_kinds()
    assert all(torch.equal(a, b) and a.stride() == b.stride() for a, b in zip(got, want, strict=True))


@KINDS
def test_a_number_depends_on_key_index_and_position_alone(draw: Callable[..., Tensor]) -> None:
    whole = draw(3, INDICES, 1000)
    assert whole.shape == (len(INDICES), 1000) and whole.dtype == torch.float32 and whole.is_contiguous()
    for size in (0, 1, 2, 63, 129, 998):
        assert torch.equal(draw(3, INDICES, size), whole[:, :size])
    order = torch.tensor([5, 0, 3, 3])
    assert torch.equal(draw(3, INDICES[order], 1000), whole[order])
    assert torch.equal(draw(3, INDICES[::2], 1000), whole[::2])
    assert whole.unique().numel() > 0.99 * whole.numel()


@KINDS
def test_threads_make_no_difference(draw: Callable[..., Tensor], ops: str) -> None:
    if ops == "reference":
        pytest.skip("torch's own functions")
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(draw(1, INDICES, 15001))
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(other, results[0]) for other in results[1:])


@KINDS
def test_opcheck_and_meta(draw: Callable[..., Tensor]) -> None:
    op = getattr(torch.ops.stylegan, draw.__name__).default
    torch.library.opcheck(
        op, (1, INDICES, 5), test_utils=("test_schema", "test_faketensor", "test_autograd_registration")
    )
    assert draw(1, INDICES.to("meta"), 6).shape == (len(INDICES), 6)


@KINDS
def test_what_are_no_indices_is_refused(draw: Callable[..., Tensor]) -> None:
    for indices, size in ((INDICES.int(), 3), (INDICES[None], 3), (INDICES.float(), 3), (INDICES, -1)):
        with pytest.raises(ValueError, match=r"expected indices int64 \[n\] and a size of 0 or more"):
            draw(1, indices, size)


# ---------------------------------------------------------------------------------------------------------------------
# The functions, in units in the last place. Over all 2^32 words the largest errors are
RADIUS, COSINE, SINE = 2.19, 2.77, 2.77


def some_words() -> Tensor:
    """Words of every size from both ends and around every axis, and random ones."""
    near = torch.cat([torch.arange(40), *((1 << k) + torch.arange(-20, 20) for k in range(6, 32))])
    axes = torch.cat([(k << 29) + near[:200] for k in range(8)])
    edges = torch.cat([near, WORDS - 1 - near, axes, WORDS - 1 - axes])
    words = torch.randint(WORDS, [200_000], generator=torch.Generator().manual_seed(0))
    return torch.cat([edges[(edges >= 0) & (edges < WORDS)], words])


def last_places(got: Tensor, want: np.ndarray) -> float:
    """The largest distance, in units in the last place of the right number as float32."""
    place = 2.0 ** (np.frexp(want)[1] - 24)
    return float((np.abs(got.double().numpy() - want) / place).max())


def test_polynomials_are_as_good_as_their_degree_allows() -> None:
    for name, fit in FITS.items():
        used = np.array(getattr(module, name), np.float32).astype(np.float64)
        assert fit.error(used) <= min(1.01 * fit.error(fit.best()), 0.5), name


def test_radius_is_that_of_double_precision() -> None:
    x = some_words()
    u, rest = ((t.numpy() + 0.5) / WORDS for t in (x, WORDS - 1 - x))
    want = np.sqrt(-2 * np.where(u < 0.5, np.log(u), np.log1p(-rest)))
    assert last_places(radius(x), want) <= RADIUS


def test_direction_is_that_of_double_precision() -> None:
    x = some_words()
    axis = (x + (1 << 29)) >> 30
    angle = ((x - (axis << 30)).numpy() + 0.5) * (2 * np.pi / WORDS)
    cos, sin = np.cos(angle), np.sin(angle)
    quarter = axis.numpy() % 4
    got = direction(x)
    assert last_places(got[0], np.choose(quarter, [cos, -sin, -cos, sin])) <= COSINE
    assert last_places(got[1], np.choose(quarter, [sin, cos, -sin, -cos])) <= SINE


def test_the_tails_reach_as_far_as_32_bits_do() -> None:
    r = radius(torch.tensor([0, 1, WORDS // 2, WORDS - 2, WORDS - 1]))
    want = [math.sqrt(66 * math.log(2)), math.sqrt(-2 * math.log(1.5 / WORDS)), math.sqrt(2 * math.log(2))]
    assert r[:3].tolist() == pytest.approx(want, rel=2e-7)
    assert r[3:].tolist() == pytest.approx([math.sqrt(3 / WORDS), math.sqrt(1 / WORDS)], rel=2e-7)


def test_fractions_are_below_one_and_rounded_down() -> None:
    x = some_words()
    got, want = fraction(x).double(), x.double() / WORDS
    assert got.max() == 1 - 2**-24 and got.min() == 0
    assert ((got <= want) & (want - got < 2**-24)).all()
    assert torch.equal(got[x < 1 << 24], want[x < 1 << 24])


# ---------------------------------------------------------------------------------------------------------------------
# What many numbers are like. Bounds are four standard deviations, for numbers that never change.


@pytest.fixture
def many(ops: str) -> dict[str, Tensor]:
    """Millions of either, in float64."""
    if ops == "reference":
        pytest.skip("the bits are the same")
    return {f.__name__: f(11, torch.arange(16), MANY // 16).double().flatten() for f in (normal, uniform)}


def farthest(values: Tensor, cdf: Callable[[Tensor], Tensor]) -> float:
    """Kolmogorov and Smirnov's statistic times the root of the count; above 1.95 once in a thousand times."""
    at, n = cdf(values.sort().values), values.numel()
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum(steps[1:] - at, at - steps[:-1]).max()) * math.sqrt(n)


def double_factorial(k: int) -> int:
    return math.prod(range(k, 0, -2))


def test_moments(many: dict[str, Tensor]) -> None:
    for k in range(1, 9):
        mean, square = (double_factorial(m - 1) if m % 2 == 0 else 0 for m in (k, 2 * k))
        deviation = math.sqrt((square - mean**2) / MANY)
        assert abs(float(many["normal"].pow(k).mean()) - mean) < 4 * deviation, k
        deviation = math.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / MANY)
        assert abs(float(many["uniform"].pow(k).mean()) - 1 / (k + 1)) < 4 * deviation, k


def test_distribution(many: dict[str, Tensor]) -> None:
    assert farthest(many["normal"], torch.special.ndtr) < 1.95
    assert farthest(many["uniform"], lambda u: u) < 1.95
    part = many["normal"][: MANY // 4]  # each of the four numbers of a block
    for k in range(4):
        assert farthest(part[k::4], torch.special.ndtr) < 1.95, k


def test_tails(many: dict[str, Tensor]) -> None:
    for bound in (2.0, 3.0, 4.0, 4.5, 5.0):
        for side in (many["normal"], -many["normal"]):
            expected = MANY * float(torch.special.ndtr(torch.tensor(-bound, dtype=torch.float64)))
            assert abs(int((side > bound).sum()) - expected) < 4 * math.sqrt(expected) + 1, bound


def test_bits_of_uniforms(many: dict[str, Tensor]) -> None:
    """Chi-square of 4096 equal parts, of the last bits, and of neighbours together."""
    words = (many["uniform"] * 2**24).long()
    sets = {"high": words >> 12, "low": words & 4095, "pairs": (words[::2] >> 18) * 64 + (words[1::2] >> 18)}
    for name, value in sets.items():
        expected = value.numel() / 4096
        chi = float(((value.bincount(minlength=4096) - expected).square() / expected).sum())
        assert abs(chi - 4095) < 4 * math.sqrt(2 * 4095), name


def test_nothing_is_correlated(many: dict[str, Tensor]) -> None:
    """Keys, indices and positions beside each other, halves of a pair of Box and Muller's; also in their squares."""
    z = many["normal"].view(16, -1)[:3]
    size = z.shape[1]
    beside = [
        (z[0], z[1]),
        (z[1], z[2]),
        (z[0], normal(12, torch.tensor([0]), size)[0].double()),
        (z[0], normal(11 + (1 << 32), torch.tensor([0]), size)[0].double()),
        (z[0], normal(11, torch.tensor([1 << 32]), size)[0].double()),
        *((z.flatten()[:-lag], z.flatten()[lag:]) for lag in (1, 2, 3, 4, 64, 1024)),
        (z[:, ::2].flatten(), z[:, 1::2].flatten()),
    ]
    for i, (a, b) in enumerate(beside):
        for f in (lambda t: t, lambda t: (t * t - 1) / 2**0.5):
            assert abs(float((f(a) * f(b)).mean())) < 4 / math.sqrt(a.numel()), i
