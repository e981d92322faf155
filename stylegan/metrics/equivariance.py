"""How exactly a picture moves and turns with its network's input: EQ-T, EQ-T_frac and EQ-R in decibels.

Karras et al. 2021, "Alias-free generative adversarial networks", section 3.2 and appendix E. The picture made from a
transformed input is compared with the transformed picture of the plain input, where both are known.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan import distributed
from stylegan.errors import UserError
from stylegan.metrics.metric import Draws, Loading, NetworkMetric, Outcome, Output
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased, require_w
from stylegan.ops.upfirdn2d import filter2d, upsample2d

TRANSLATE_MAX = 0.125  # of the picture's side
LOBES = 3  # of the Lanczos window
UP = 4  # samples per pixel of the filters
MOVED_TOGETHER = 4  # pictures that share one random movement
PEAK_DB = 20 * math.log10(2)  # pictures span [-1, 1]

Transformed = tuple[Tensor, Tensor]  # picture and mask of the pixels that are known, both [N, C, H, W]


def integer_translation(x: Tensor, tx: float, ty: float) -> Transformed:
    """Move a picture to the right by `tx` and down by `ty` (in picture sides), rounded to whole pixels."""
    H, W = x.shape[2:]
    dx, dy = round(tx * W), round(ty * H)
    if abs(dx) >= W or abs(dy) >= H:
        return torch.zeros_like(x), torch.zeros_like(x)
    sides = [dx, -dx, dy, -dy]  # F.pad with a negative number crops
    return F.pad(x, sides), F.pad(torch.ones_like(x), sides)


def fractional_translation(x: Tensor, tx: float, ty: float, lobes: int = LOBES) -> Transformed:
    """Move a picture by any fraction of its sides, with a Lanczos filter of `lobes` lobes along each axis."""
    moved, known = x, torch.ones_like(x)
    for axis, shift in ((3, tx * x.shape[3]), (2, ty * x.shape[2])):
        moved = _shift_along(moved, axis, shift, lobes)
        known = _known_after_shift(known, axis, shift, lobes)
    return moved, known


def rotation(x: Tensor, angle: float, lobes: int = LOBES) -> Transformed:
    """Turn a picture by `angle` radians, with a filter that keeps what both the old and the new pixel grid can show."""
    N, _, H, W = x.shape
    f = band_limit(angle, lobes, reach=2 * lobes, up=UP).to(x)
    margin = f.shape[0] // 2
    fine = upsample2d(x, f, up=UP, padding=margin)
    # From places in the turned picture, in -1 .. 1, to places on the fine grid, which is wider by the margin and whose
    # samples lie half a step aside.
    cos, sin = math.cos(angle), math.sin(angle)
    theta = torch.tensor([[cos, -sin, 1 / (UP * W)], [sin, cos, 1 / (UP * H)]], dtype=x.dtype, device=x.device)
    theta *= torch.tensor([[W / (W + 2 * margin / UP)], [H / (H + 2 * margin / UP)]], dtype=x.dtype, device=x.device)
    grid = F.affine_grid(theta.expand(N, 2, 3), list(x.shape), align_corners=False)
    inner = torch.zeros_like(fine)
    c = 2 * margin + 1
    inner[:, :, c:-c, c:-c] = 1
    turned = F.grid_sample(fine, grid, mode="bilinear", align_corners=False)
    return turned, F.grid_sample(inner, grid, mode="nearest", align_corners=False)


def pseudo_rotation(x: Tensor, angle: float, lobes: int = LOBES) -> Transformed:
    """Leave a picture in place, but take away what `rotation` by `angle` takes away from the one it is compared with."""
    f = band_limit(-angle, lobes, reach=2 * lobes, up=1).to(x)
    c = f.shape[0] // 2
    mask = torch.zeros_like(x)
    mask[:, :, c:-c, c:-c] = 1
    return filter2d(x, f), mask


def band_limit(angle: float, lobes: int, *, reach: int, up: int, extent: int = 64) -> Tensor:
    """The filter that passes only what lies in the square of frequencies of a pixel grid and of the grid turned by `angle`.

    It is the convolution of the two grids' ideal filters (sincs), under a window that is the convolution of their Lanczos
    windows (appendix E of the paper). Both are periodic convolutions over `extent` pixels to each side.

    Args:
        angle: Radians.
        lobes: Of the Lanczos windows.
        reach: Pixels to each side that the result keeps.
        up: Samples per pixel.
        extent: See above.

    Returns:
        float32 [2 reach up - 1] squared; the taps of each of the up x up phases add up to 1 / up^2.
    """
    half = extent * up
    position = (torch.arange(2 * half - 1) - (half - 1)) / up
    position = position.roll(-(half - 1))  # 0 comes first, as the Fourier transform wants it
    y, x = torch.meshgrid(position, position, indexing="ij")
    cos, sin = math.cos(angle), math.sin(angle)
    turned_x, turned_y = cos * x + sin * y, cos * y - sin * x
    ideal = _convolve(torch.sinc(x) * torch.sinc(y), torch.sinc(turned_x) * torch.sinc(turned_y))
    window = _convolve(_lanczos(x, lobes) * _lanczos(y, lobes), _lanczos(turned_x, lobes) * _lanczos(turned_y, lobes))
    taps = torch.fft.fftshift(ideal * window)
    cut = (extent - reach) * up
    taps = F.pad(taps[cut:-cut, cut:-cut], (0, 1, 0, 1))
    phases = taps.reshape(2 * reach, up, 2 * reach, up)
    phases = phases / phases.sum((0, 2), keepdim=True) / up**2
    return phases.reshape(2 * reach * up, 2 * reach * up)[:-1, :-1].contiguous()


def _convolve(a: Tensor, b: Tensor) -> Tensor:
    return torch.fft.ifft2(torch.fft.fft2(a) * torch.fft.fft2(b)).real


def _lanczos(x: Tensor, lobes: int) -> Tensor:
    return torch.where(x.abs() < lobes, torch.sinc(x / lobes), 0.0)


def _shift_along(x: Tensor, axis: int, shift: float, lobes: int) -> Tensor:
    """Move along one axis by `shift` pixels: a Lanczos filter for the fraction, a crop for the whole pixels."""
    whole = math.floor(shift)
    offset = torch.arange(2 * lobes, dtype=torch.float32) - (lobes - 1) - (shift - whole)
    taps = torch.sinc(offset) * torch.sinc(offset / lobes)
    taps = (taps / taps.sum()).to(x)
    # Every pixel that some tap reaches: lobes - 1 before the picture and `lobes` after it.
    before, after = lobes - 1, lobes
    along_x = axis == 3
    padding = [before, after, 0, 0] if along_x else [0, 0, before, after]
    y = filter2d(x, taps[None, :] if along_x else taps[:, None], padding=padding)
    crop = [whole - before, -whole - after]
    return F.pad(y, crop if along_x else [0, 0, *crop])


def _known_after_shift(mask: Tensor, axis: int, shift: float, lobes: int) -> Tensor:
    """Keep the pixels for which no tap of the filter reached beyond the picture."""
    size, whole = mask.shape[axis], math.floor(shift)
    place = torch.arange(size, device=mask.device)
    known = (place >= whole + lobes) & (place < size + whole - (lobes - 1))
    return mask * known.view([-1, 1] if axis == 2 else [1, -1])


@dataclass(frozen=True)
class Motion:
    """One way to move the input, and what the moved picture is compared with.

    Attributes:
        fraction: Move by fractions of pixels.
        turn: Turn, by any angle, rather than move.
    """

    fraction: bool = False
    turn: bool = False


@torch.inference_mode()
def squared_errors(
    render: Callable[[Tensor], Tensor], resolution: tuple[int, int], motion: Motion, draw: Tensor
) -> Tensor:
    """Compare the pictures of a moved input with the moved pictures of the plain one.

    Args:
        render: From the input transform, float32 [3, 3], to pictures [N, C, H, W] in [-1, 1]: a sample at x (in picture sides,
            from the centre) shows what the network has at `transform @ x`.
        resolution: (H, W).
        motion: Which move.
        draw: Two numbers from 0 to 1, float32 [2] on the CPU: the middle one leaves the input where it is.

    Returns:
        The sum of squared errors over the pixels that are known, and their number, float64 [2].
    """
    plain = render(torch.eye(3))
    transform = torch.eye(3)
    amount = draw * 2 - 1
    if motion.turn:
        angle = float(amount[0]) * math.pi
        cos, sin = math.cos(angle), math.sin(angle)
        transform[:2, :2] = torch.tensor([[cos, -sin], [sin, cos]])
        moved = render(transform)
        want, known = rotation(plain, angle)
        got, also_known = pseudo_rotation(moved, angle)
        known = known * also_known
    else:
        H, W = resolution
        step = amount * TRANSLATE_MAX
        if not motion.fraction:
            step = (step * torch.tensor([W, H])).round() / torch.tensor([W, H])
        transform[:2, 2] = -step
        got = render(transform)
        move = fractional_translation if motion.fraction else integer_translation
        want, known = move(plain, *step.tolist())
    error = ((want.double() - got.double()).square() * known).sum()
    return torch.stack([error, known.double().sum()]).cpu()


def decibels(sums: Tensor) -> float:
    """The signal-to-noise ratio of pictures in [-1, 1] whose errors are summed up as in `squared_errors`."""
    return PEAK_DB - 10 * math.log10(max(float(sums[0] / sums[1]), 1e-30))


class Equivariance(NetworkMetric[None]):
    """`eqt`, `eqt_frac` and `eqr`.

    Args:
        name: The metric's, and of its output.
        help: What it tells.
        motion: How the input is moved.
    """

    def __init__(self, name: str, help: str, motion: Motion) -> None:
        self.name, self.help, self.motion = name, help, motion
        self.outputs = (Output(name, higher=True),)

    def load(self, loading: Loading, features: str) -> None:
        """None: it compares pixels."""

    def check(self, G: Generator, asked: str) -> None:
        """It needs w, and an input with a transform."""
        styled = require_w(G, asked, "leave it out")
        if not hasattr(getattr(styled.synthesis, "input", None), "transform"):
            raise UserError(
                f"{asked}: this network ({type(G).__name__}) starts from a learned constant that cannot be moved or turned; "
                "equivariance is measured of networks whose input has a transform, such as StyleGAN3's"
            )

    def measure(self, G: Generator, reader: None, draws: Draws) -> Outcome:
        """See `squared_errors` and `decibels`."""
        styled, sums = require_w(G, self.name, "leave it out"), torch.zeros(2, dtype=torch.float64)
        for drawn in draws.batches(f"metrics/{self.name}", MOVED_TOGETHER):
            with torch.inference_mode():
                ws = styled.mapping(drawn.normal("z", styled.z_dim), draws.label(drawn))
            amount = drawn.uniform("movement", 2)[0].cpu()  # of the first one: they move together
            sums += squared_errors(_renderer(styled, ws), G.resolution, self.motion, amount)
        return Outcome({self.name: decibels(distributed.sum_over_ranks(sums, draws.device))})


def _renderer(G: StyleBased, ws: Tensor) -> Callable[[Tensor], Tensor]:
    """From the input transform [3, 3] to the pictures of ws."""
    current: Tensor = G.synthesis.input.transform  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]

    def render(transform: Tensor) -> Tensor:
        kept = current.clone()
        current.copy_(transform)
        try:
            return G.synthesis(ws, noise_mode="const").float()
        finally:
            current.copy_(kept)

    return render
