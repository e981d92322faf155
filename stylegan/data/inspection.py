"""What an archive holds, told in words and shown on one sheet."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from stylegan.data.archive import ImageDataset
from stylegan.data.convert import encode_png
from stylegan.errors import UserError, shown
from stylegan.files import atomic_write

_THUMBNAIL = 128


def describe(path: str | Path, *, verify: bool = False) -> str:
    """Counts, shapes, labels, origin, licence and hash of an archive, a line each.

    Args:
        path: The archive.
        verify: Read every image and compare with the recorded hash.

    Raises:
        UserError: It is no archive, or damaged, or with `verify` it is not what it was.
    """
    dataset = ImageDataset(path)
    info, (H, W) = dataset.info, dataset.resolution
    lines = {
        "archive": str(path),
        "name": dataset.name,
        "images": str(len(dataset)),
        **({"not taken": dataset.tally.told_left()} if dataset.tally.left else {}),
        "shape": f"{W}x{H} (width x height), {dataset.channels} channel{'s' * (dataset.channels != 1)}",
        "labels": ImageDataset(path, use_labels=True).labels_told if dataset.has_labels else "none",
        "attributes": ", ".join(info.attributes[0]) if info.attributes else "none",
        "source": info.source or "not recorded",
        "licence": info.licence or "not recorded",
        "crop": info.crop or "not recorded",
        "filter": info.resize_filter or "not recorded",
        **(
            {"made with": ", ".join(f"{key}={value}" for key, value in info.made_with.items())}
            if info.made_with
            else {}
        ),
        "hash": _hash(dataset, verify),
    }
    return "\n".join(f"{key:<11}{shown(value)}" for key, value in lines.items())


def contact_sheet(path: str | Path, sheet: str | Path, *, rows: int = 6, columns: int = 8) -> Path:
    """Write images from all over an archive, evenly spaced, as one PNG picture of at most 128 pixels each.

    Raises:
        UserError: It is no archive, or damaged, or the picture cannot be written.
    """
    dataset = ImageDataset(path)
    shown = np.unique(np.linspace(0, len(dataset) - 1, rows * columns).round().astype(int))
    columns = min(columns, len(shown))
    thumbnails = []
    for index in shown.tolist():
        pixels = dataset[index][0].permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels[..., 0] if dataset.channels == 1 else pixels)
        image.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        thumbnails.append(image)
    width, height = thumbnails[0].size
    canvas = Image.new("RGBA", (columns * width, -(-len(shown) // columns) * height), "white")
    for position, image in enumerate(thumbnails):
        canvas.alpha_composite(image.convert("RGBA"), (position % columns * width, position // columns * height))
    sheet = Path(sheet)
    atomic_write(sheet, encode_png(np.asarray(canvas.convert("RGB"))))
    return sheet


def _hash(dataset: ImageDataset, verify: bool) -> str:
    recorded = dataset.info.content_hash
    if not recorded:
        return f"{dataset.content_hash} (computed; the archive records none)"
    if not verify:
        return f"{recorded} (as recorded; --strict reads every image and compares)"
    dataset.info = dataclasses.replace(dataset.info, content_hash="")
    if dataset.content_hash != recorded:
        raise UserError(
            f"{dataset.path} was changed since it was prepared: its hash is {dataset.content_hash}, recorded is "
            f"{recorded}; prepare it again, or get it again"
        )
    return f"{recorded} (verified)"
