"""The `stylegan` command. Each command imports what it needs when it runs, so that `--help` answers at once."""

from pathlib import Path
from typing import Annotated, TypeVar

import typer

from stylegan.errors import UserError, nearest, one_message

_Choice = TypeVar("_Choice")
app = typer.Typer(
    help="Prepare data for style-based GANs. Training and figures: train.py and generate.py.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """What the installed `stylegan` script runs: wrong input ends with one message and exit code 2."""
    with one_message():
        app()


@app.callback()
def _commands() -> None:
    """Without a callback typer would leave the command's name out while there is only one."""


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="A folder of images (sub-folders too), or faces3d for rendered faces.")],
    dest: Annotated[Path, typer.Argument(help="The archive to write: a ZIP if it ends in .zip, else a folder.")],
    resolution: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, or one number for both.")] = None,
    fit: Annotated[str | None, typer.Option(help="cover (crops, the default), contain, stretch or none.")] = None,
    resize: Annotated[str | None, typer.Option("--filter", help="box, bicubic or lanczos (the default).")] = None,
    channels: Annotated[int | None, typer.Option(help="1 grey, 3 RGB (the default) or 4 RGBA.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Names of sub-folders become class labels.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at a broken image instead of skipping it.")] = False,
    name: Annotated[str | None, typer.Option(help="The data set's name, recorded in the archive.")] = None,
    origin: Annotated[str | None, typer.Option(help="Where the images come from, recorded.")] = None,
    licence: Annotated[str | None, typer.Option(help="Their licence, recorded.")] = None,
    count: Annotated[int | None, typer.Option(help="faces3d: how many (default 10000).")] = None,
    seed: Annotated[int | None, typer.Option(help="faces3d: another seed, other faces (default 0).")] = None,
    split: Annotated[str | None, typer.Option(help="faces3d: train (the default), test or evaluation.")] = None,
    workers: Annotated[int, typer.Option(help="Threads; 0: one per core.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DEST if it is an archive.")] = False,
) -> None:
    """Make an archive to train on."""
    from stylegan.data.convert import Fit, ResizeFilter
    from stylegan.data.prepare import (
        FACES3D,
        FacesOptions,
        FolderOptions,
        prepare_faces3d,
        prepare_folder,
    )

    shape = None if resolution is None else _resolution(resolution)
    for_folders = {
        **{"--fit": fit, "--filter": resize, "--channels": channels, "--labels": labels or None},
        **{"--strict": strict or None, "--name": name, "--origin": origin, "--licence": licence},
    }
    if source == FACES3D and not Path(source).exists():
        _refuse(for_folders, "a folder of images, not faces3d")
        H, W = shape or (64, 64)
        if H != W:
            raise UserError(f"--resolution {resolution}: faces3d renders squares; give one number")
        given = {"count": count, "seed": seed, "split": split}
        chosen = {key: value for key, value in given.items() if value is not None}
        result = prepare_faces3d(dest, FacesOptions(H, workers=workers, overwrite=overwrite, **chosen))
    else:
        _refuse({"--count": count, "--seed": seed, "--split": split}, "faces3d, not a folder of images")
        options = FolderOptions(
            shape,
            fit=_choice("--fit", fit or "cover", {item.value: item for item in Fit}),
            filter=_choice("--filter", resize or "lanczos", {item.value: item for item in ResizeFilter}),
            channels=3 if channels is None else channels,
            labels=labels,
            workers=workers,
            strict=strict,
            overwrite=overwrite,
            name=name or "",
            origin=origin or "",
            licence=licence or "",
        )
        result = prepare_folder(source, dest, options)
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    typer.echo(f"{result.path}: {result.count} images{skipped}")


def _refuse(options: dict[str, object], belongs_to: str) -> None:
    given = [key for key, value in options.items() if value is not None]
    if given:
        raise UserError(f"{', '.join(given)}: only for {belongs_to}; leave it out")


def _choice(option: str, value: str, choices: dict[str, _Choice]) -> _Choice:
    if value not in choices:
        raise UserError(f"{option} {value}: {nearest(value, choices)}")
    return choices[value]


def _resolution(text: str) -> tuple[int, int]:
    """(H, W) from `WIDTHxHEIGHT` or one number."""
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise UserError(f"--resolution {text}: give WIDTHxHEIGHT such as 64x64, or one number for both")
    return int(sides[-1]), int(sides[0])
