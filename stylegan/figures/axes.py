"""Plots on a page: lines over two axes, and heat maps with a scale beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from stylegan.figures.page import POINTS, Page

# Okabe and Ito 2008, "Color Universal Design": told apart by the colour-blind, too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_PALE = "#d8d8d8"
# From dark to light, lightness rising evenly: as readable in grey as in colour.
_HEAT = ("#0d0887", "#5b02a3", "#9a179b", "#cb4678", "#eb7852", "#fbb32f", "#f0f921")
_SPACE = 3.0  # points between things


@dataclass(frozen=True)
class Line:
    """A line of a plot.

    Attributes:
        name: In the legend; empty for none.
        x, y: Its points, equally many; what is not finite is left out, and the line has a gap there.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """Lines over two axes.

    Attributes:
        lines: What is drawn.
        title: Above.
        x, y: What the axes show.
        log: Whether y is logarithmic; values that are not positive are left out.
    """

    lines: Sequence[Line]
    title: str = ""
    x: str = ""
    y: str = ""
    log: bool = False

    def draw(self, page: Page, left: float, top: float, width: float, height: float) -> None:
        """Draw it into a rectangle of a page, in pixels, labels included."""
        point = page.dpi / 72
        names = [line.name for line in self.lines if line.name]
        points = [np.array([line.x, line.y], dtype=np.float64) for line in self.lines]
        keep = [np.isfinite(p).all(axis=0) & (~np.array(self.log) | (p[1] > 0)) for p in points]
        every = np.concatenate([p[:, k] for p, k in zip(points, keep, strict=True)], axis=1)
        xs, ys = (ticks(*_limits(row), log=log) for row, log in ((every[0], False), (every[1], self.log)))
        wide = max(page.lettering.width(_number(y)) for y in ys)
        x0 = left + (wide + 2 * _SPACE + (POINTS + _SPACE if self.y else 0)) * point
        y0 = top + ((POINTS + 2 * _SPACE) * (bool(self.title) + bool(names)) + _SPACE) * point
        x1, y1 = left + width - 4 * _SPACE * point, top + height - (POINTS + 2 * _SPACE) * (1 + bool(self.x)) * point
        scale = np.log10 if self.log else np.asarray

        def place(x: float, y: float) -> tuple[float, float]:
            low, high = float(scale(ys[0])), float(scale(ys[-1]))
            return x0 + (x - xs[0]) / (xs[-1] - xs[0]) * (x1 - x0), y1 - (float(scale(y)) - low) / (high - low) * (
                y1 - y0
            )

        for y in ys:
            page.line([place(xs[0], y), place(xs[-1], y)], width=0.4, color=_PALE)
            page.text(x0 - _SPACE * point, place(xs[0], y)[1], _number(y), anchor="rm")
        for x in xs:
            page.text(place(x, ys[0])[0], y1 + (POINTS / 2 + _SPACE) * point, _number(x))
        page.line([place(xs[0], ys[0]), place(xs[-1], ys[0])])
        if self.title:
            page.text(x0, top + (POINTS / 2 + _SPACE) * point, self.title, anchor="lm")
        if self.x:
            page.text((x0 + x1) / 2, top + height - (POINTS / 2 + _SPACE) * point, self.x)
        if self.y:
            page.text(left + (POINTS / 2 + _SPACE) * point, (y0 + y1) / 2, self.y, upright=True)
        at = x0
        for i, (line, kept) in enumerate(zip(points, keep, strict=True)):
            color = COLORS[i % len(COLORS)]
            for part in _runs(line, kept):
                page.line([place(x, y) for x, y in part.T.tolist()], width=1.0, color=color)
            if name := self.lines[i].name:
                y = y0 - (POINTS / 2 + _SPACE) * point
                page.line([(at, y), (at + 10 * point, y)], width=1.5, color=color)
                page.text(at + 12 * point, y, name, anchor="lm")
                at += (page.lettering.width(name) + 20) * point


def ticks(low: float, high: float, *, log: bool = False, most: int = 6) -> list[float]:
    """Round numbers from at most `low` to at least `high`: steps of 1, 2 or 5 times a power of ten, or such powers."""
    if log:
        first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
        last = max(last, first + 1)
        step = -(-(last - first) // (most - 1))
        return [10.0**k for k in range(first, last + step, step)]
    rough = (high - low) / (most - 1) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, max(last, first + 1) + 1)]


def heat(values: "np.ndarray", low: float, high: float) -> Image.Image:
    """[H, W] as colours, dark for `low` and light for `high`; what lies beyond has the colour of the end."""
    anchors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in _HEAT], dtype=np.float64)
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(anchors) - 1)
    before = np.minimum(share.astype(int), len(anchors) - 2)
    mixed = anchors[before] + (share - before)[..., None] * (anchors[before + 1] - anchors[before])
    return Image.fromarray(mixed.round().astype(np.uint8), "RGB")


def heat_scale(page: Page, left: float, top: float, height: float, low: float, high: float, unit: str) -> float:
    """The scale of heat maps, upright, at a place of a page in pixels; how wide it is."""
    point = page.dpi / 72
    bar = round(8 * point)
    column = np.linspace(high, low, 256)[:, None]
    page.image(round(left), round(top), heat(column, low, high).resize((bar, round(height))))
    marks = [tick for tick in ticks(low, high) if low <= tick <= high]
    for tick in marks:
        y = top + (high - tick) / (high - low) * height
        page.text(left + bar + _SPACE * point, y, f"{_number(tick)} {unit}", anchor="lm")
    return bar + (max(page.lettering.width(f"{_number(tick)} {unit}") for tick in marks) + 2 * _SPACE) * point


def _limits(values: "np.ndarray") -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (0.1, 1.0)


def _runs(line: "np.ndarray", kept: "np.ndarray") -> list["np.ndarray"]:
    """The parts of a line between its gaps; a single point is drawn as a short line to itself."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(int)))
    return [line[:, a:b] if b > a + 1 else line[:, [a, a]] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e4 else f"{value:.0f}" if abs(value) < 1e6 else f"{value:.0e}"
