"""`stylegan convert`: files of networks from one form to another, without loss."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from stylegan.errors import UnreadableError, UserError
from stylegan.files import atomic_path
from stylegan.interop.foreign import INIT_KWARGS
from stylegan.interop.networks import read_networks
from stylegan.interop.nvidia import describe
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.base import Network

SHOW_FROM = 2**25  # bytes; smaller files are read in a moment
FORMS = ".safetensors (a snapshot of ours) or .pt (the public tools' names)"


def convert(source: str | Path, dest: str | Path, *, overwrite: bool = False, half: bool = False) -> list[str]:
    """Read networks and write them in the form that the name of `dest` asks for.

    Args:
        source: Any file that `read_networks` takes.
        dest: *.safetensors: G_ema as a snapshot, with G and D as companions if the source has them. *.pt: tensors under the
            names of the public StyleGAN tools, and the arguments with which those build the networks.
        overwrite: Replace `dest` if it exists.
        half: See `save_snapshot`; for *.safetensors only.

    Returns:
        What was found and what was written, line by line.

    Raises:
        UserError: The source cannot be read, or the destination not be written.
    """
    source, dest = Path(source), Path(dest)
    if dest.suffix not in (".safetensors", ".pt"):
        raise UserError(f"cannot convert to {dest}: give it a name that ends in {FORMS}")
    if half and dest.suffix == ".pt":
        raise UserError(f"cannot convert to {dest} with --half: 16-bit weights are kept in *.safetensors only")
    if dest.exists() and not overwrite:
        raise UserError(f"{dest} exists; choose another name, or replace it with --overwrite")
    with _progress(source) as step:
        found = read_networks(source, progress=lambda position: step("reading", position))
        step("writing", None)
        if dest.suffix == ".pt":
            save_public(dest, found.networks)
        else:
            companions = {name: network for name, network in found.networks.items() if name != "G_ema"}
            save_snapshot(dest, found.G_ema, provenance=found.provenance, companions=companions, half=half)
    return [*found.report, f"wrote {dest}: {', '.join(found.networks)}"]


def save_public(path: str | Path, networks: Mapping[str, Network]) -> None:
    """Write networks under the parameter names of the public StyleGAN2-ADA and StyleGAN3 tools.

    The file is what `torch.save` makes of `{"G_ema": {name: tensor}, ..., "init_kwargs": {"G_ema": {argument: value}, ...}}`,
    and loads with `torch.load(path, weights_only=True)`. The constructors of those tools take the arguments, but for
    `class_name`, and `load_state_dict` the tensors.

    Args:
        path: The file, whole or not at all.
        networks: By name, G_ema and perhaps G and D.

    Raises:
        UserError: Those tools could not build such a network, or the file cannot be written.
    """
    content: dict[str, Any] = {INIT_KWARGS: {}}
    for name, network in networks.items():
        try:
            public = describe(network)
        except UnreadableError as error:
            raise UserError(
                f"{name} {error}, so that {path} cannot be written; convert to .safetensors instead"
            ) from None
        content[INIT_KWARGS][name] = public.options
        content[name] = {key: tensor.detach().cpu().contiguous() for key, tensor in public.tensors.items()}
    # By way of memory: torch.save into a file tells of a full disk as a RuntimeError that does not say so.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


@contextmanager
def _progress(source: Path) -> Iterator[Callable[[str, int | None], None]]:
    """A progress bar on a terminal's stderr, if the file is large; yields what sets its text and the bytes done."""
    size = source.stat().st_size if source.is_file() else 0
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=size < SHOW_FROM) as bar:
        task = bar.add_task("reading", total=size)
        yield lambda text, done: bar.update(task, description=text, completed=size if done is None else done)
