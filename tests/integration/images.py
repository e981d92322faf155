"""Small archives for tests of training."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_archive(
    path: Path, *, count: int = 20, size: int | tuple[int, int] = 16, labels: int = 0, mode: str = "RGB"
) -> Path:
    """A ZIP of smooth random images, of `size` (H, W) or square, in the layout of the public tools."""
    height, width = (size, size) if isinstance(size, int) else size
    random = np.random.default_rng(0)
    names = [f"00000/img{i:08d}.png" for i in range(count)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            small = random.integers(0, 256, [4, 4, len(mode)], dtype=np.uint8).squeeze()
            buffer = io.BytesIO()
            Image.fromarray(small, mode).resize((width, height)).save(buffer, "png")
            archive.writestr(name, buffer.getvalue())
        table = [[name, i % labels] for i, name in enumerate(names)] if labels else None
        archive.writestr("dataset.json", json.dumps({"labels": table}))
    return path
