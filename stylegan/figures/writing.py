"""Figures as files: where they may go, PNG, and what is said about them. Nothing else in `figures` writes.

A picture says in its metadata that it is generated, and how (`interop.provenance`). A JSON beside it says that again, with the
whole command and the versions: beside `grid.png` it is `grid.json`, in a folder of pictures `images/images.json`.
"""

import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import stylegan
from stylegan.errors import UserError
from stylegan.figures.base import Clip, Figure, Picture, Pictures, Request, Result
from stylegan.figures.clips import film_strip, require_av, write_clip
from stylegan.figures.page import require_reportlab
from stylegan.figures.table import FIGURES
from stylegan.files import atomic_path, atomic_write
from stylegan.interop.difference import network_name, network_sha256, save_difference
from stylegan.interop.latents import SUFFIX, Latents
from stylegan.interop.provenance import DESCRIPTION, png_text
from stylegan.models.base import Generator
from stylegan.ops.backend import in_use

SUFFIXES: dict[type, tuple[str, ...]] = {Picture: (".png", ".pdf"), Clip: (".mp4", ".gif", ".webp", ".png", ".pdf")}
_KINDS: dict[type, str] = {
    Picture: "one picture; give it a name that ends in .png or .pdf",
    Clip: "a clip; give it a name that ends in .mp4, .gif or .webp, or in .png or .pdf for a film strip",
}


@dataclass(frozen=True)
class Place:
    """Where a figure goes.

    Attributes:
        path: A file, or the folder of a figure that is many pictures.
        record: The JSON; None for plain files.
        outdated: The JSON of the picture that a plain file replaces; it goes, too.
        names: Of the files of many pictures.
        latents: Where latents are kept; None: nowhere.
        tuned: Where the difference of a tuned network is kept; None: nowhere.
    """

    path: Path
    record: Path | None
    outdated: Path | None = None
    names: Sequence[str] = ()
    latents: Path | None = None
    tuned: Path | None = None

    @property
    def unfinished(self) -> Path:
        """Beside what an optimisation keeps what it has so far, see `Request`."""
        return self.path.with_suffix("")

    def write(
        self, result: Result, about: Mapping[str, Any], command: Sequence[str], G: Generator, *, progress: bool = False
    ) -> Path:
        """Write what a figure drew, each file whole or not at all.

        Args:
            result: What `Figure.draw` gave.
            about: What `describe` says of it.
            command: The words of the command line.
            G: The network, to which latents belong.
            progress: Show a progress bar while frames are drawn.

        Returns:
            The file or folder.

        Raises:
            UserError: A file cannot be written.
        """
        about = {**about, **result.facts}
        told = None if self.record is None else about
        if isinstance(result, Picture):
            save_picture(result, self.path, told)
        elif isinstance(result, Clip) and self.path.suffix.lower() in SUFFIXES[Picture]:
            save_picture(Picture.of(film_strip(result)) if result.still is None else result.still(), self.path, told)
        elif isinstance(result, Clip):
            write_clip(result, self.path, told, progress=progress)
        else:
            for name, (item, image) in zip(self.names, result.images, strict=True):
                save_png(image, self.path / name, None if told is None else {**told, "seeds": _name_of(item)})
        if self.latents is not None and result.latents is not None:
            latents = result.latents() if callable(result.latents) else result.latents
            latents.save(self.latents, G, about["network"])
        if self.tuned is not None and isinstance(result, Clip) and result.tuned is not None:
            save_difference(self.tuned, G, result.tuned, network=about["network"], made=about)
        if self.outdated is not None:
            self.outdated.unlink(missing_ok=True)
        if self.record is not None:
            versions = {"stylegan": stylegan.__version__, "torch": torch.__version__}
            versions["python"] = platform.python_version()
            record = {**about, "command": shlex.join(command), "versions": versions}
            atomic_write(self.record, json.dumps(record, indent=2) + "\n")
        if isinstance(result, Clip):
            result.done()
        return self.path


def find_place(
    figure: Figure, request: Request, out: str | None, *, overwrite: bool, provenance: bool, latents: str | None = None
) -> Place:
    """Where a figure will go. Asked before anything is computed: a refusal must not cost the time that the figure takes.

    Args:
        figure: The figure.
        request: What it will be asked for.
        out: The file or folder, made where it is missing; None: named after the figure, in the working directory.
        overwrite: Whether files that exist may be replaced.
        provenance: Whether there will be a JSON.
        latents: The file of latents, or None.

    Raises:
        UserError: `out` is not what this figure makes, a format needs an extra that is missing, or files are there already
            and must not be replaced.
    """
    name = name_of(figure)
    names: Sequence[str] = ()
    if figure.makes is Pictures:
        path = Path(out or name)
        if path.suffix.lower() == ".png" or path.is_file():
            raise UserError(f"out={path}: this figure is a folder of PNG files; give it the name of a folder")
        names = _file_names(request)
        files, record = [path / name for name in names], path / f"{name}.json"
    else:
        suffixes = SUFFIXES[figure.makes]
        path = Path(out or f"{name}{figure.suffix or suffixes[0]}")
        if path.suffix.lower() not in suffixes:
            raise UserError(f"out={out}: this figure is {_KINDS[figure.makes]}")
        require_extra(path.suffix.lower())
        files, record = [path], path.with_suffix(".json")
    tuned = figure.difference_place(path)
    files += [] if tuned is None else [tuned]
    if figure.optimises and latents is None:
        latents = str(path.with_suffix(SUFFIX))
    if latents is not None:
        if not figure.keeps:
            raise UserError(f"latents={latents}: figure={name} makes no latents that can be kept; leave it out")
        if Path(latents).suffix.lower() != SUFFIX:
            raise UserError(f"latents={latents}: latents are kept in one file; give it a name that ends in {SUFFIX}")
        files.append(Path(latents))
    _check_free([*files, record] if provenance else files, overwrite)
    kept = None if latents is None else Path(latents)
    if not provenance:
        return Place(path, None, record if overwrite else None, names, kept, tuned)
    return Place(path, record, names=names, latents=kept, tuned=tuned)


def require_extra(suffix: str) -> None:
    """Raise a `UserError` with the pip command where a format needs a package that is missing."""
    if suffix == ".pdf":
        require_reportlab()
    if suffix == ".mp4":
        require_av()


def name_of(figure: Figure) -> str:
    """The name by which the table has a figure."""
    return next(name for name, kind in FIGURES.items() if kind is type(figure))


def describe(figure: Figure, G: Generator, network: Path, seeds: Any, request: Request) -> dict[str, Any]:
    """How a figure was made, as JSON types: network, its SHA-256, seeds, sampling, figure with its options, ops.

    Args:
        figure: The figure.
        G: The network.
        network: Its file. Only the name is told: a picture that is published need not say where its maker keeps files.
        seeds: As they were typed.
        request: What the figure was asked for.
    """
    sampling = {item.name: getattr(request.sampling, item.name) for item in fields(request.sampling)}
    sampling |= dict(zip(("truncation_psi", "truncation_cutoff"), request.sampling.truncation(G), strict=True))
    sampling |= {"precision": request.sampling.precision or G.precision}
    sampling |= {"truncation_center": [_name_of(item) for item in request.sampling.centers] or None}
    options = {
        item.name: _without_folders(value) if isinstance(value := getattr(figure, item.name), str | list) else value
        for item in fields(figure)
    }
    return {
        "figure": {"name": name_of(figure), **_json_types(options)},
        "network": network_name(network),
        "network_sha256": network_sha256(network),
        "seeds": _without_folders(seeds),
        **_json_types(sampling),
        "ops": in_use(next(G.parameters()).device),
    }


def save_picture(picture: Picture, path: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a figure that is one picture as PNG or PDF, by the name's end; `about` as for `save_png`."""
    if path.suffix.lower() == ".pdf":
        told = () if about is None else (DESCRIPTION, json.dumps(about, sort_keys=True))
        atomic_write(path, picture.page.pdf(path.stem, *told))
    else:
        save_png(picture.image, path, about, picture.page.dpi if picture.sized else None)


def save_png(
    picture: Image.Image, path: str | Path, about: Mapping[str, Any] | None = None, dpi: float | None = None
) -> None:
    """Write a PNG file, whole or not at all, without a JSON.

    Args:
        picture: The picture.
        path: The file; one that exists is replaced.
        about: How the networks made the picture, as `interop.provenance.png_text` takes it; None for a plain file. What is
            no generated picture must be None: the file would say that it is one.
        dpi: Pixels an inch in print; None: the file does not say.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        size = {} if dpi is None else {"dpi": (dpi, dpi)}
        picture.save(temporary, format="PNG", pnginfo=None if about is None else png_text(about), **size)


def _file_names(request: Request) -> list[str]:
    """By seed, with as many digits as the longest needs, so that they sort; latents by their file and number."""
    digits = max([4, *(len(str(item)) for item in request.items if isinstance(item, int))])
    return [
        f"seed{item:0{digits}d}.png"
        if isinstance(item, int)
        else f"{re.sub(r'[^A-Za-z0-9._-]', '_', item.names[0])}.png"
        for item in request.items
    ]


def _name_of(item: int | Latents) -> int | str:
    return item if isinstance(item, int) else item.names[0]


def _without_folders(typed: Any) -> Any:
    """What was typed, where files are named without where they lie."""
    if isinstance(typed, list):
        return [_without_folders(item) for item in typed]
    return re.sub(r"[^,+]*[/\\]", "", typed) if isinstance(typed, str) else typed


def _check_free(paths: Sequence[Path], overwrite: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise UserError(f"out: {path} is a folder; give the name of a file")
        if path.exists() and not overwrite:
            raise UserError(f"out: {path} exists already; choose another out=, or replace it with overwrite=true")


def _json_types(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Enum) else value for name, value in options.items()}
