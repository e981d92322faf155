"""What was collected of real images, kept in `$XDG_CACHE_HOME/stylegan/metrics` so that it is computed once a data set."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from stylegan import distributed
from stylegan.files import atomic_path, file_lock, make_folder, remove_unfinished
from stylegan.metrics.collect import Tensors
from stylegan.ops._build import cache_root

VERSION = 2  # goes up when what is collected changes its meaning or its last bits


def reference_path(key: Mapping[str, Any]) -> Path:
    """The file for all that determines what was collected, as JSON types."""
    text = json.dumps({**key, "version": VERSION, "torch": str(torch.__version__)}, sort_keys=True)
    return cache_root() / "metrics" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def cached(paths: Mapping[str, Path], make: Callable[[list[str]], Mapping[str, Tensors]]) -> dict[str, Tensors]:
    """What the files hold; where some are missing or damaged, `make` computes those, and they are written.

    Another process that wants one of them waits meanwhile, and then reads it. Files appear whole or not at all. Called on all
    ranks; the first one decides and writes.

    Args:
        paths: A file for each thing wanted.
        make: From the names of the missing ones to their content, the same on all ranks.
    """
    with _locked(paths.values()):
        found = {name: _read(path) for name, path in paths.items()} if distributed.is_main() else {}
        missing = [name for name in paths if found.get(name) is None]
        missing = distributed.same_everywhere(missing)
        if missing:
            made = dict(make(missing))
            if distributed.is_main():
                for name in missing:
                    with atomic_path(paths[name]) as temporary:
                        save_file(made[name], temporary)
                found |= made
    distributed.barrier()
    return {name: tensors for name, tensors in found.items() if tensors is not None}


@contextmanager
def _locked(paths: Any) -> Iterator[None]:
    """Hold the lock of every file, in one order for all processes; only the first rank does."""
    with contextlib.ExitStack() as stack:
        if distributed.is_main():
            for path in sorted(paths):
                make_folder(cache_root(), "metrics")
                stack.enter_context(file_lock(path.with_suffix(".lock")))
                remove_unfinished(path.parent, path.name)
        yield


def _read(path: Path) -> Tensors | None:
    """A file's content; None where there is none or it is damaged."""
    try:
        return load_file(path)
    except (FileNotFoundError, SafetensorError):
        return None
