"""What an optimisation has so far, in a file: after an interruption the same command goes on."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from stylegan.errors import UnreadableError, UserError, shown
from stylegan.files import atomic_write
from stylegan.interop.latents import Latents
from stylegan.interop.pickled import plain
from stylegan.interop.torch_file import read_pickled
from stylegan.models.base import Generator
from stylegan.opening import require_regular_file

FORMAT = "stylegan-unfinished-1"
EVERY = 10.0  # seconds
STATE, BEST = ".unfinished.pt", ".unfinished.safetensors"


class Unfinished:
    """Keeps the state of one optimisation beside its result.

    There are two files: `NAME.unfinished.pt`, all that is needed to go on, and `NAME.unfinished.safetensors`, the best
    latents so far, which may stand for seeds already.

    Args:
        stem: The result without its ending, such as `figures/me`; None: nothing is kept.
        command: What the optimisation depends on, as JSON types.
    """

    def __init__(self, stem: Path | None, command: Mapping[str, Any]) -> None:
        self.state = None if stem is None else stem.with_name(stem.name + STATE)
        self.best = None if stem is None else stem.with_name(stem.name + BEST)
        self._fingerprint = hashlib.sha256(json.dumps(command, sort_keys=True).encode()).hexdigest()
        self._last = monotonic()

    def read(self) -> dict[str, Any] | None:
        """What the same command kept before it was interrupted; None: nothing.

        Raises:
            UserError: The file is another command's, is damaged, or something else.
        """
        if self.state is None or not self.state.exists():
            return None
        require_regular_file(self.state, "unfinished optimisation")
        try:
            content = plain(read_pickled(self.state))
            if (
                not isinstance(content, dict)
                or content.get("format") != FORMAT
                or not isinstance(content.get("state"), dict)
            ):
                raise UnreadableError("holds something else")
        except UnreadableError as error:
            raise UserError(
                f"{self.state} is damaged, or no unfinished optimisation: it {shown(error, 300)}; delete it to begin anew"
            ) from None
        if content.get("fingerprint") != self._fingerprint:
            raise UserError(
                f"{self.state} is an optimisation that was interrupted, of other pictures or settings; repeat its command to "
                "finish it, delete the file to give it up, or choose another out="
            )
        return content["state"]

    @property
    def due(self) -> bool:
        """Whether the last one kept is some seconds old."""
        return self.state is not None and monotonic() - self._last > EVERY

    def keep(self, state: Mapping[str, Any], best: Latents | None, G: Generator, network: str) -> None:
        """Write both files."""
        if self.state is None or self.best is None:
            return
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "fingerprint": self._fingerprint, "state": dict(state)}, buffer)
        atomic_write(self.state, buffer.getvalue())
        if best is not None:
            best.save(self.best, G, network)
        self._last = monotonic()

    def forget(self) -> None:
        """Remove both files: the result is written."""
        for path in (self.state, self.best):
            if path is not None:
                path.unlink(missing_ok=True)
