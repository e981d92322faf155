"""The figure `images`: one PNG file a seed, in a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylegan.errors import UserError
from stylegan.figures.grid import check_free, save_png, to_picture
from stylegan.inference import sample
from stylegan.models.generator import Generator


@dataclass
class ImagesConfig:
    """One file a seed has no options of its own."""


def write_images(
    G: Generator,
    seeds: Sequence[int],
    out: str | None,
    *,
    overwrite: bool,
    about: Mapping[str, Any] | None,
    **sampling: Any,
) -> Path:
    """Write `seed0000.png` and so on. Only a batch of images is held in memory at a time.

    Args:
        G: The generator, in eval mode.
        seeds: One a file. The files of other seeds in the folder stay.
        out: The folder, made where it is missing; None: `images` in the working directory.
        overwrite: Whether existing files may be replaced.
        about: What each file should say about itself, as JSON types; its own seed is put in the place of `seeds`.
            None for plain files.
        sampling: Keyword arguments of `stylegan.inference.sample`.

    Returns:
        The folder.

    Raises:
        UserError: A file exists or cannot be written, or `sample` refuses its arguments.
    """
    folder = Path(out or "images")
    if folder.suffix.lower() == ".png" or folder.is_file():
        raise UserError(f"out={folder}: this figure is a folder of PNG files; give it the name of a folder")
    paths = [folder / f"seed{seed:04d}.png" for seed in seeds]
    check_free(paths, overwrite)
    for seed, path, image in zip(seeds, paths, sample(G, seeds, **sampling), strict=True):
        save_png(to_picture(image), path, None if about is None else {**about, "seeds": seed})
    return folder
