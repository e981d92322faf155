"""Reads thousands of odd latent files, as seeds of a figure. See `fuzzing`."""

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path

from stylegan.figures.seeds import parse_seeds
from stylegan.inference import Sampling, locate, render
from stylegan.interop.latents import KEY, read_latents
from tests.unit import fuzzing
from tests.unit.fuzz_networks import change_header
from tests.unit.tiny import tiny_pair


def change_latents(content: bytes, rng: random.Random) -> bytes:
    """Change the bytes, the header or the metadata of a latent file."""
    length = int.from_bytes(content[:8], "little")
    match rng.randrange(5):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            return fuzzing.flip(content, rng, range(length + 8))
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"][KEY])
    for part in rng.choices(["header", "about"], k=rng.choice([1, 1, 2])):
        with contextlib.suppress(Exception):  # a second change may not find what the first one took
            if part == "header":
                change_header(header, rng)
            else:
                fuzzing.change(about, rng)
    text = rng.choice(["[" * 100_000, "9" * 5000, "{}", "null"]) if rng.random() < 0.05 else json.dumps(about)
    if rng.random() < 0.95:
        header["__metadata__"] = {KEY: text}
    else:
        header["__metadata__"] = rng.choice([None, [], 5, {KEY: 5}, {}])
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content[8 + length :]


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """A network, and a genuine file of its latents with everything in it."""
    G = tiny_pair()[0].eval().requires_grad_(False)
    path = folder / "latents.safetensors"
    locate(G, [0, 1, 2], Sampling(noise_mode="random")).save(path, G, "tiny.safetensors")
    genuine = path.read_bytes()

    def make(rng: random.Random) -> Callable[[], str | None]:
        path.write_bytes(change_latents(genuine, rng))
        which = rng.choice(["", "", ":0", ":1-2", ":2-9", ":9", ":1-0"])

        def show() -> None:
            read_latents(path)
            list(render(G, locate(G, parse_seeds([f"{path}{which}", 7]), Sampling(batch=4)), Sampling(batch=4)))

        return show

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_latents", prepare)
