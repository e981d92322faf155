"""A page to draw on, in pixels: pictures, text and lines; as a PIL image, or as a PDF in which text and lines are vectors.

Text is measured in points (1/72 inch) of the printed page, everything else in pixels; `dpi` says how many pixels an inch has.
"""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from stylegan.errors import UserError, say
from stylegan.opening import require_regular_file

INK = "#202020"
PAPER = "#ffffff"
POINTS = 8.0  # of labels: what journals print under figures
WIDEST = 20_000  # pixels
_NO_CHARACTER = "\uffff"


@dataclass(frozen=True)
class Lettering:
    """The font of labels.

    Attributes:
        file: A .ttf or .otf file; None: the one that Pillow brings, which has the letters of English only.

    Raises:
        UserError: The file is no font.
    """

    file: str | None = None

    def __post_init__(self) -> None:
        if self.file is not None:
            require_regular_file(Path(self.file), "font")
            try:
                ImageFont.truetype(self.file, 10)
            except OSError as error:
                raise UserError(f"figure.font={self.file}: {error}; give a .ttf or .otf file") from None

    def at(self, pixels: float) -> ImageFont.FreeTypeFont:
        """The font with letters of a size in pixels."""
        if self.file is not None:
            return ImageFont.truetype(self.file, pixels)
        font = ImageFont.load_default(pixels)
        if not isinstance(font, ImageFont.FreeTypeFont):
            raise UserError(
                "this Pillow draws no scalable text (it was built without FreeType); install Pillow from PyPI"
            )
        return font

    def readable(self, text: str) -> str:
        """The text in letters that the font has; what it has not is told once and replaced."""
        font = self.at(16)
        missing = [c for c in dict.fromkeys(text) if _drawn(font, c) == _drawn(font, _NO_CHARACTER)]
        for character in missing:
            plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
            text = text.replace(character, plain or ascii(character)[1:-1])
        if missing and self.file is None:
            say(f"labels: the built-in font has no {' '.join(missing[:5])}; figure.font=FILE.ttf takes one that has")
        return text

    def width(self, text: str, points: float = POINTS) -> float:
        """How wide a text is, in points."""
        return self.at(100).getlength(self.readable(text)) * points / 100


@dataclass(frozen=True)
class _Image:
    x: int
    y: int
    picture: Image.Image


@dataclass(frozen=True)
class _Text:
    x: float
    y: float
    text: str
    points: float
    anchor: str
    upright: bool
    color: str


@dataclass(frozen=True)
class _Line:
    points: Sequence[tuple[float, float]]
    width: float
    color: str


@dataclass
class Page:
    """What is drawn lies in the order in which it was drawn, from the upper left corner.

    Attributes:
        width, height: In pixels.
        dpi: Pixels an inch.
        lettering: The font.
        mode: Of the picture: RGB, or L or RGBA where there are but such images and no text.
    """

    width: int
    height: int
    dpi: float
    lettering: Lettering = field(default_factory=Lettering)
    mode: str = "RGB"
    _items: list[_Image | _Text | _Line] = field(default_factory=list)

    def image(self, x: int, y: int, picture: Image.Image, size: tuple[int, int] | None = None) -> None:
        """A picture with its upper left corner at (x, y), enlarged to `size` pixel by pixel, or made smaller smoothly."""
        if size is not None and size != picture.size:
            whole = size[0] % picture.width == 0 and size[1] % picture.height == 0
            picture = picture.resize(size, Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)
        self._items.append(_Image(x, y, picture))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "mm",
        points: float = POINTS,
        upright: bool = False,
        color: str = INK,
    ) -> None:
        """A line of text.

        Args:
            x, y: Where its anchor lies.
            text: What is written.
            anchor: Two letters, as Pillow has them: left, middle or right; ascender, middle, or baseline (s).
            points: The size of the letters.
            upright: Turned, from the bottom to the top; its anchor must be `mm`.
            color: `#rrggbb`.
        """
        self._items.append(_Text(x, y, self.lettering.readable(text), points, anchor, upright, color))

    def line(self, points: Sequence[tuple[float, float]], *, width: float = 0.8, color: str = INK) -> None:
        """A line through points, `width` in points of the printed page."""
        self._items.append(_Line(points, width, color))

    def picture(self) -> Image.Image:
        """As pixels."""
        paper = PAPER if self.mode == "RGB" else 0
        image = Image.new(self.mode, (self.width, self.height), paper)
        pen = ImageDraw.Draw(image)
        for item in self._items:
            match item:
                case _Image(x, y, picture):
                    if self.mode == "RGB" and picture.mode == "RGBA":
                        image.paste(picture, (x, y), picture)
                    else:
                        image.paste(picture, (x, y))
                case _Text():
                    self._write(image, pen, item)
                case _Line(points, width, color):
                    pen.line(list(points), fill=color, width=max(round(width * self.dpi / 72), 1), joint="curve")
        return image

    def _write(self, image: Image.Image, pen: ImageDraw.ImageDraw, item: _Text) -> None:
        font = self.lettering.at(item.points * self.dpi / 72)
        if not item.upright:
            pen.text((item.x, item.y), item.text, fill=item.color, font=font, anchor=item.anchor)
            return
        left, top, right, bottom = (round(side) for side in font.getbbox(item.text, anchor="lt"))
        mask = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
        ImageDraw.Draw(mask).text((-left, -top), item.text, fill=255, font=font, anchor="lt")
        mask = mask.transpose(Image.Transpose.ROTATE_90)
        image.paste(item.color, (round(item.x - mask.width / 2), round(item.y - mask.height / 2)), mask)

    def pdf(self, title: str, subject: str = "", keywords: str = "") -> bytes:
        """As a PDF of the size `width / dpi` by `height / dpi` inches; the same page gives the same bytes.

        Raises:
            UserError: The extra `pdf` is missing.
        """
        canvas, ImageReader, TTFont, pdfmetrics = require_reportlab()
        file, scale = io.BytesIO(), 72 / self.dpi
        sheet = canvas.Canvas(file, pagesize=(self.width * scale, self.height * scale), invariant=True)
        sheet.setTitle(title)
        sheet.setCreator("stylegan")
        sheet.setSubject(subject)
        sheet.setKeywords(keywords)
        pdfmetrics.registerFont(TTFont("Labels", self._font_file()))
        for item in self._items:
            match item:
                case _Image(x, y, picture):
                    size = picture.width * scale, picture.height * scale
                    where = x * scale, (self.height - y - picture.height) * scale
                    sheet.drawImage(ImageReader(picture), *where, *size, mask="auto")
                case _Text():
                    sheet.saveState()
                    sheet.translate(item.x * scale, (self.height - item.y) * scale)
                    sheet.rotate(90 if item.upright else 0)
                    sheet.setFillColor(item.color)
                    sheet.setFont("Labels", item.points)
                    {"l": sheet.drawString, "m": sheet.drawCentredString, "r": sheet.drawRightString}[item.anchor[0]](
                        0, -{"a": 0.95, "m": 0.35, "s": 0.0}[item.anchor[1]] * item.points, item.text
                    )
                    sheet.restoreState()
                case _Line(points, width, color):
                    sheet.setStrokeColor(color)
                    sheet.setLineWidth(width)
                    path = sheet.beginPath()
                    path.moveTo(points[0][0] * scale, (self.height - points[0][1]) * scale)
                    for x, y in points[1:]:
                        path.lineTo(x * scale, (self.height - y) * scale)
                    sheet.drawPath(path)
        sheet.save()
        return file.getvalue()

    def _font_file(self) -> Any:
        if self.lettering.file is not None:
            return self.lettering.file
        return io.BytesIO(self.lettering.at(10).path.getvalue())  # pyright: ignore[reportAttributeAccessIssue] - Pillow's own


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    image = Image.new("L", (40, 40))
    ImageDraw.Draw(image).text((8, 8), character, fill=255, font=font)
    return image.tobytes()


def require_reportlab() -> tuple[Any, Any, Any, Any]:
    """The parts of reportlab that are used here; raises a `UserError` with the pip command where it is missing."""
    try:
        from reportlab.lib.utils import ImageReader  # pyright: ignore[reportMissingModuleSource]
        from reportlab.pdfbase import pdfmetrics  # pyright: ignore[reportMissingModuleSource]
        from reportlab.pdfbase.ttfonts import TTFont  # pyright: ignore[reportMissingModuleSource]
        from reportlab.pdfgen import canvas  # pyright: ignore[reportMissingModuleSource]
    except ImportError:
        raise UserError(
            "PDF needs the extra `pdf`: pip install 'stylegan[pdf]', in a clone pip install -e '.[pdf]'"
        ) from None
    return canvas, ImageReader, TTFont, pdfmetrics
