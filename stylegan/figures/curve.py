"""Curves through points of a latent space: cubic splines, closed or open, and straight or spherical pieces."""

import torch
from torch import Tensor


class Spline:
    """A cubic spline through points at 0, 1, 2, ... (its second derivative is continuous).

    A closed one is periodic: it goes on from the last point to the first, at `len(points)`, with the same slope and curvature
    on both sides of every point. The public StyleGAN3 tool repeats its key frames instead, so that its seam is only almost
    smooth. An open one is straight at its ends ("natural").

    Args:
        points: [K, ...]; computed in float64.
        closed: Whether the last is followed by the first.
    """

    def __init__(self, points: Tensor, *, closed: bool) -> None:
        self.shape, self.points, self.closed = points.shape[1:], points.double().flatten(1), closed
        self.bend = _second_derivatives(self.points, closed)

    def at(self, t: Tensor) -> Tensor:
        """The curve's points [N, ...] at t [N], from 0 to K for a closed one, to K - 1 for an open one; float64."""
        count = len(self.points)
        t = t.double().to(self.points.device)
        before = t.floor().long() if self.closed else t.floor().long().clamp(0, max(count - 2, 0))
        b = (t - before)[:, None]
        a = 1 - b
        i, j = before % count, (before + 1) % count
        y, m = self.points, self.bend
        # The cubic with the values y and the second derivatives m at both ends of a piece of length 1.
        values = a * y[i] + b * y[j] + ((a**3 - a) * m[i] + (b**3 - b) * m[j]) / 6
        return values.reshape(len(t), *self.shape)


def _second_derivatives(y: Tensor, closed: bool) -> Tensor:
    """At each point: m[i - 1] + 4 m[i] + m[i + 1] = 6 (y[i - 1] - 2 y[i] + y[i + 1]), which makes the slopes equal there."""
    count = len(y)
    if count < 3 and not closed:
        return torch.zeros_like(y)
    right = 6 * (y.roll(1, 0) - 2 * y + y.roll(-1, 0))
    system = torch.zeros(count, count, dtype=y.dtype, device=y.device)
    index = torch.arange(count, device=y.device)
    for offset, factor in ((-1, 1.0), (0, 4.0), (1, 1.0)):
        system[index, (index + offset) % count] += factor
    if not closed:
        system[0], system[-1], right[0], right[-1] = 0, 0, 0, 0
        system[0, 0] = system[-1, -1] = 1
    return torch.linalg.solve(system, right)


class Pieces:
    """Straight lines from point to point, or arcs on the sphere; arguments and `at` as of `Spline`.

    On the sphere the direction turns evenly (Shoemake 1985, slerp) and the length changes evenly: a straight line between two
    normal vectors would pass where hardly any lie.
    """

    def __init__(self, points: Tensor, *, closed: bool, spherical: bool) -> None:
        self.shape, self.points, self.closed = points.shape[1:], points.double().flatten(1), closed
        self.spherical = spherical

    def at(self, t: Tensor) -> Tensor:
        """See `Spline.at`."""
        count = len(self.points)
        t = t.double().to(self.points.device)
        before = t.floor().long() if self.closed else t.floor().long().clamp(0, max(count - 2, 0))
        b = (t - before)[:, None]
        first, second = self.points[before % count], self.points[(before + 1) % count]
        if not self.spherical:
            return first.lerp(second, b).reshape(len(t), *self.shape)
        lengths = first.norm(dim=1, keepdim=True), second.norm(dim=1, keepdim=True)
        u, v = first / lengths[0], second / lengths[1]
        angle = (u * v).sum(dim=1, keepdim=True).clamp(-1, 1).acos()
        small = angle < 1e-6  # also the same point twice
        safe = torch.where(small, torch.ones_like(angle), angle)
        turned = (((1 - b) * safe).sin() * u + (b * safe).sin() * v) / safe.sin()
        direction = torch.where(small, u, turned)
        return (direction * lengths[0].lerp(lengths[1], b)).reshape(len(t), *self.shape)


Curve = Spline | Pieces


def evenly(curve: Curve, count: int, *, end: float, closed: bool, fine: int = 64) -> Tensor:
    """`count` places on a curve with equal ways between them, [count]; of an open one the last is its end.

    Args:
        curve: The curve.
        count: How many.
        end: Where it ends, from 0 on.
        closed: The last then lies one step before the end.
        fine: Straight pieces between two points by which the way is measured.
    """
    pieces = max(round(end * fine), 1)
    places = torch.linspace(0, end, pieces + 1, dtype=torch.float64)
    way = torch.zeros(pieces + 1, dtype=torch.float64)
    for start in range(0, pieces, 1024):
        part = curve.at(places[start : start + 1025]).flatten(1)
        way[start + 1 : start + 1025] = (part[1:] - part[:-1]).norm(dim=1).cpu()
    way = way.cumsum(0)
    if way[-1] == 0:
        return torch.zeros(count, dtype=torch.float64)
    wanted = torch.arange(count, dtype=torch.float64) / max(count if closed else count - 1, 1) * way[-1]
    after = torch.searchsorted(way, wanted, right=True).clamp(1, pieces)
    share = ((wanted - way[after - 1]) / (way[after] - way[after - 1]).clamp(min=1e-300)).clamp(0, 1)
    return places[after - 1].lerp(places[after], share)
