"""Pictures in rows and columns with labels, laid out so that the labels can be read in print."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from stylegan.errors import UserError
from stylegan.figures.page import POINTS, Lettering, Page

MOST_PIXELS = 150_000_000  # of a figure with text
SHARP = 200.0  # dpi from which text of 8 points is clean
_SPACE = 3.0  # points around a label
_LINE = POINTS + 2 * _SPACE
_INCH = 2.54


@dataclass(frozen=True)
class Print:
    """How large a figure is printed.

    Attributes:
        width_cm: Its width.
        dpi: Pixels an inch; None: an image's pixel is a whole number of the figure's, as small as text allows.
        lettering: The font of the labels.
    """

    width_cm: float = 17.0
    dpi: float | None = None
    lettering: Lettering = field(default_factory=Lettering)


@dataclass(frozen=True)
class Sheet:
    """Cells of one size in rows and columns.

    Attributes:
        cells: Row by row; None: an empty one. All images are of one size.
        columns: Labels above the columns, or none.
        rows: Labels left of the rows, or none.
        captions: Below the cells, row by row, with as many lines as `\\n` parts; or none.
        caption: Below everything, in as many lines as it needs.
        gap: Between cells, in pixels of an image.
    """

    cells: Sequence[Sequence[Image.Image | None]]
    columns: Sequence[str] = ()
    rows: Sequence[str] = ()
    captions: Sequence[Sequence[str]] = ()
    caption: str = ""
    gap: int = 0

    @property
    def labelled(self) -> bool:
        """Whether there is text on it."""
        texts = (*self.columns, *self.rows, self.caption, *(text for row in self.captions for text in row))
        return any(texts)

    def page(self, size: Print) -> Page:
        """Lay it out.

        Raises:
            UserError: The labels leave no room for the images.
        """
        images = [image for row in self.cells for image in row if image is not None]
        width, height = images[0].size
        R, C = len(self.cells), max(len(row) for row in self.cells)
        left = max((size.lettering.width(text) for text in self.rows), default=-2 * _SPACE) + 2 * _SPACE
        dpi, scale = self._scale(size, C * width + (C - 1) * self.gap, left)
        point = dpi / 72
        w, h = max(round(width * scale), 1), max(round(height * scale), 1)
        gap = round(self.gap * scale)
        x0, y0 = math.ceil(left * point), math.ceil(_LINE * point) if any(self.columns) else 0
        below = [max((text.count("\n") + 1 for text in row if text), default=0) for row in self.captions] or [0] * R
        heights = [h + (math.ceil((lines * (POINTS + 2) + _SPACE) * point) if lines else 0) for lines in below]
        tops = [y0 + sum(heights[:r]) + r * gap for r in range(R)]
        end = tops[-1] + heights[-1]
        page_width = x0 + C * w + (C - 1) * gap
        lines = _wrapped(self.caption, size.lettering, page_width / point)
        if self.labelled and page_width * end > MOST_PIXELS:
            raise UserError(
                f"a figure of {page_width}x{end} pixels is too large; choose a smaller figure.width_cm or figure.dpi, or show "
                "fewer images"
            )
        modes = {image.mode for image in images}
        page = Page(
            page_width,
            end + (math.ceil((len(lines) * (POINTS + 2) + 2 * _SPACE) * point) if lines else 0),
            dpi,
            size.lettering,
            "RGB" if self.labelled or len(modes) > 1 else modes.pop(),
        )
        for c, text in enumerate(self.columns):
            page.text(x0 + c * (w + gap) + w / 2, y0 / 2, _fitting(text, size.lettering, w / point))
        for r, row in enumerate(self.cells):
            if self.rows:
                page.text(x0 - _SPACE * point, tops[r] + h / 2, self.rows[r], anchor="rm")
            for c, image in enumerate(row):
                x = x0 + c * (w + gap)
                if image is not None:
                    page.image(x, tops[r], image, (w, h))
                if self.captions:
                    for line, text in enumerate(self.captions[r][c].split("\n")):
                        y = tops[r] + h + (_SPACE / 2 + (POINTS + 2) * (line + 0.5)) * point
                        page.text(x + w / 2, y, _fitting(text, size.lettering, w / point))
        for line, text in enumerate(lines):
            page.text(page_width / 2, end + (_SPACE + (POINTS + 2) * (line + 0.5)) * point, text)
        return page

    def _scale(self, size: Print, pixels: int, left: float) -> tuple[float, float]:
        """Dots an inch, and how many of them a pixel of the images gets; `left` is in points."""
        inches = size.width_cm / _INCH - left / 72
        if inches <= 0.2 * size.width_cm / _INCH:
            raise UserError(
                f"figure.width_cm={size.width_cm:g}: the labels leave no room for images; choose a larger one, "
                "or figure.labels=false"
            )
        if size.dpi is not None:
            return size.dpi, size.dpi * inches / pixels
        scale = max(math.ceil(SHARP * inches / pixels), 1) if self.labelled else 1
        return pixels * scale / inches, scale


def _fitting(text: str, lettering: Lettering, room: float) -> str:
    """A text cut so that it does not run into its neighbours; `room` in points."""
    if lettering.width(text) <= room:
        return text
    while text and lettering.width(text + "...") > room:
        text = text[:-1]
    return text + "..."


def _wrapped(text: str, lettering: Lettering, room: float) -> list[str]:
    """A text in lines that are no wider than `room` points."""
    lines: list[str] = []
    for word in text.split():
        if lines and lettering.width(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
