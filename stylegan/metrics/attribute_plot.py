"""A picture of `attributes.Comparison`: histograms of each attribute, and who is in which cell."""

from PIL import Image, ImageDraw, ImageFont

from stylegan.metrics.attributes import AGE_GROUPS, ANCESTRIES, SEXES, Attribute, Comparison

WIDTH, HEIGHT = 300, 180  # of a panel
COLUMNS = 4
MARGIN = 14
INK, PALE, REAL, FAKE, MISSED = (40, 40, 40), (120, 120, 120), (176, 186, 198), (214, 84, 32), (250, 214, 214)


def attribute_plot(comparison: Comparison) -> Image.Image:
    """The picture, in RGB: real faces in grey, generated ones in orange, missing cells in red."""
    panels = len(comparison.attributes)
    rows = -(-panels // COLUMNS)
    top = 34
    cells_height = 44 + 24 * (len(SEXES) * len(ANCESTRIES) + 1)
    image = Image.new("RGB", (COLUMNS * WIDTH, top + rows * HEIGHT + cells_height), "white")
    draw = ImageDraw.Draw(image)
    title = f"{comparison.reals} real faces (grey), {comparison.fakes} generated (orange)"
    draw.text((MARGIN, 10), title, INK, _font(15))
    for i, attribute in enumerate(comparison.attributes):
        _panel(draw, attribute, (i % COLUMNS) * WIDTH, top + (i // COLUMNS) * HEIGHT)
    _cells(draw, comparison, top + rows * HEIGHT)
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _panel(draw: ImageDraw.ImageDraw, attribute: Attribute, x: int, y: int) -> None:
    """One attribute's histogram, the real faces as bars, the generated ones as a stepped line."""
    left, right, bottom, high = x + MARGIN, x + WIDTH - MARGIN, y + HEIGHT - 44, HEIGHT - 44 - 26
    name = attribute.name.replace("_", " ")
    draw.text((left, y + 4), f"{name}   distance {attribute.distance:.3f}", INK, _font(13))
    pairs = list(zip(attribute.real_shares.tolist(), attribute.fake_shares.tolist(), strict=True))
    peak = max(max(pair) for pair in pairs) or 1.0
    width = (right - left) / len(pairs)
    words = len(attribute.labels) > 2
    outline = []
    for i, (real, fake) in enumerate(pairs):
        x0, x1 = left + i * width, left + (i + 1) * width
        draw.rectangle((x0 + 1, bottom - high * real / peak, x1 - 1, bottom), fill=REAL)
        outline += [(x0 + 1, bottom - high * fake / peak), (x1 - 1, bottom - high * fake / peak)]
        if words:
            draw.line(outline[-2:], fill=FAKE, width=3)
            _words(draw, attribute.labels[i], (x0 + x1) / 2, bottom + 3, narrow=len(pairs) > 4)
    if not words:
        draw.line(outline, fill=FAKE, width=2)
        draw.text((left, bottom + 3), attribute.labels[0], PALE, _font(11))
        draw.text((right, bottom + 3), attribute.labels[1], PALE, _font(11), anchor="ra")
    draw.line((left, bottom, right, bottom), fill=PALE)


def _words(draw: ImageDraw.ImageDraw, label: str, x: float, y: float, *, narrow: bool) -> None:
    """A bar's label; one word below the other where bars are narrow."""
    lines = label.split() if narrow else [label]
    for i, line in enumerate(lines):
        draw.text((x, y + 11 * i), line, PALE, _font(10), anchor="ma")


def _cells(draw: ImageDraw.ImageDraw, comparison: Comparison, y: int) -> None:
    """A row for each sex and ancestry, a column for each age group: the share of real and of generated faces."""
    missing = len(comparison.missing)
    count = int(comparison.looked_at.sum())
    title = f"cells: {count - missing} of {count} common ones reached (generated / real; red: missing)"
    draw.text((MARGIN, y + 8), title, INK, _font(15))
    left, width, height = MARGIN + 190, 220, 24
    for column, age in enumerate(AGE_GROUPS):
        draw.text((left + column * width, y + 36), age, PALE, _font(12))
    for row in range(len(SEXES) * len(ANCESTRIES)):
        line = y + 36 + height * (row + 1)
        sex, ancestry = SEXES[row // len(ANCESTRIES)], ANCESTRIES[row % len(ANCESTRIES)]
        draw.text((MARGIN, line), f"{sex} {ancestry}", INK, _font(12))
        for column in range(len(AGE_GROUPS)):
            cell = row * len(AGE_GROUPS) + column
            x = left + column * width
            if comparison.looked_at[cell] and not comparison.reached[cell]:
                draw.rectangle((x - 4, line - 2, x + width - 12, line + height - 6), fill=MISSED)
            real, fake = float(comparison.real_cells[cell]), float(comparison.fake_cells[cell])
            scale = 500  # pixels for all faces
            draw.rectangle((x + 96, line + 1, x + 96 + min(scale * real, 108), line + 7), fill=REAL)
            draw.rectangle((x + 96, line + 9, x + 96 + min(scale * fake, 108), line + 15), fill=FAKE)
            draw.text((x, line), f"{fake:.1%} / {real:.1%}", INK, _font(12))
