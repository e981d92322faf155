"""Figures as files: where they may go, PNG, and what is said about them. Nothing else in `figures` writes.

A picture says in its metadata that it is generated, and how (`interop.provenance`). A JSON beside it says that again, with the
whole command and the versions: beside `grid.png` it is `grid.json`, in a folder of pictures `images/images.json`.
"""

import json
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import stylegan
from stylegan.errors import UserError
from stylegan.figures.base import Figure, Picture, Pictures, Request
from stylegan.figures.table import FIGURES
from stylegan.files import atomic_path, atomic_write, sha256
from stylegan.interop.provenance import png_text
from stylegan.models.base import Generator
from stylegan.ops.backend import in_use


@dataclass(frozen=True)
class Place:
    """Where a figure goes.

    Attributes:
        path: A file, or the folder of a figure that is many pictures.
        record: The JSON; None for plain files.
        outdated: The JSON of the picture that a plain file replaces; it goes, too.
        digits: Of a seed in the name of a file.
    """

    path: Path
    record: Path | None
    outdated: Path | None = None
    digits: int = 4

    def write(self, result: Picture | Pictures, about: Mapping[str, Any], command: Sequence[str]) -> Path:
        """Write what a figure drew, each file whole or not at all.

        Args:
            result: What `Figure.draw` gave.
            about: What `describe` says of it.
            command: The words of the command line.

        Returns:
            The file or folder.

        Raises:
            UserError: A file cannot be written.
        """
        if self.outdated is not None:
            self.outdated.unlink(missing_ok=True)
        told = None if self.record is None else about
        if isinstance(result, Picture):
            save_png(result.image, self.path, told)
        else:
            for seed, image in result.images:
                save_png(
                    image, self.path / _file_name(seed, self.digits), None if told is None else {**told, "seeds": seed}
                )
        if self.record is not None:
            versions = {"stylegan": stylegan.__version__, "torch": torch.__version__}
            versions["python"] = platform.python_version()
            record = {**about, "command": shlex.join(command), "versions": versions}
            atomic_write(self.record, json.dumps(record, indent=2) + "\n")
        return self.path


def find_place(figure: Figure, request: Request, out: str | None, *, overwrite: bool, provenance: bool) -> Place:
    """Where a figure will go. Asked before anything is computed: a refusal must not cost the time that the figure takes.

    Args:
        figure: The figure.
        request: What it will be asked for.
        out: The file or folder, made where it is missing; None: named after the figure, in the working directory.
        overwrite: Whether files that exist may be replaced.
        provenance: Whether there will be a JSON.

    Raises:
        UserError: `out` is not what this figure makes, or files are there already and must not be replaced.
    """
    name, digits = name_of(figure), 4
    if figure.makes is Pictures:
        path = Path(out or name)
        if path.suffix.lower() == ".png" or path.is_file():
            raise UserError(f"out={path}: this figure is a folder of PNG files; give it the name of a folder")
        digits = max([4, *(len(str(seed)) for seed in request.seeds)])  # files sort; small seeds are named as ever
        files, record = [path / _file_name(seed, digits) for seed in request.seeds], path / f"{name}.json"
    else:
        path = Path(out or f"{name}.png")
        if path.suffix.lower() != ".png":
            raise UserError(f"out={out}: this figure is one PNG file; give it a name that ends in .png")
        files, record = [path], path.with_suffix(".json")
    _check_free([*files, record] if provenance else files, overwrite)
    if not provenance:
        return Place(path, None, record if overwrite else None, digits)
    return Place(path, record, digits=digits)


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
    sampling = {**asdict(request.sampling), "precision": request.sampling.precision or G.precision}
    return {
        "figure": {"name": name_of(figure), **_json_types(asdict(figure))},
        "network": network.name,
        "network_sha256": sha256(network),
        "seeds": seeds,
        **_json_types(sampling),
        "ops": in_use(next(G.parameters()).device),
    }


def save_png(picture: Image.Image, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
    """Write a PNG file, whole or not at all, without a JSON.

    Args:
        picture: The picture.
        path: The file; one that exists is replaced.
        about: How the networks made the picture, as `interop.provenance.png_text` takes it; None for a plain file. What is
            no generated picture must be None: the file would say that it is one.

    Raises:
        UserError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=None if about is None else png_text(about))


def _file_name(seed: int, digits: int) -> str:
    return f"seed{seed:0{digits}d}.png"


def _check_free(paths: Sequence[Path], overwrite: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise UserError(f"out: {path} is a folder; give the name of a file")
        if path.exists() and not overwrite:
            raise UserError(f"out: {path} exists already; choose another out=, or replace it with overwrite=true")


def _json_types(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.value if isinstance(value, Enum) else value for name, value in options.items()}
