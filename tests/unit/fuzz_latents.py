"""Reads thousands of odd files of latents, weight differences, directions, scores and unfinished searches. See `fuzzing`."""

import contextlib
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path

import torch

from stylegan.errors import refusal
from stylegan.figures.seeds import parse_seeds
from stylegan.inference import Sampling, load_generator, locate, render, sample
from stylegan.interop.difference import KEY as DIFFERENCE
from stylegan.interop.difference import save_difference
from stylegan.interop.latents import KEY as LATENTS
from stylegan.interop.latents import read_latents
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.latent.direction_file import KEY as DIRECTIONS
from stylegan.latent.direction_file import Direction, read_directions, save_directions
from stylegan.latent.distance import Distance, at_several_scales
from stylegan.latent.projection import Schedule
from stylegan.latent.scores import read_scores
from stylegan.latent.search import Search, SearchOptions
from stylegan.latent.unfinished import Unfinished
from tests.unit import fuzzing
from tests.unit.fuzz_networks import change_header
from tests.unit.tiny import tiny_pair


def change_file(content: bytes, key: str, rng: random.Random) -> bytes:
    """Change the bytes, the header or the metadata of a safetensors file with one metadata key."""
    length = int.from_bytes(content[:8], "little")
    match rng.randrange(5):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            return fuzzing.flip(content, rng, range(length + 8))
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"][key])
    for part in rng.choices(["header", "about"], k=rng.choice([1, 1, 2])):
        with contextlib.suppress(Exception):  # a second change may not find what the first one took
            if part == "header":
                change_header(header, rng)
            else:
                fuzzing.change(about, rng)
    text = rng.choice(["[" * 100_000, "9" * 5000, "{}", "null"]) if rng.random() < 0.05 else json.dumps(about)
    if rng.random() < 0.95:
        header["__metadata__"] = {key: text}
    else:
        header["__metadata__"] = rng.choice([None, [], 5, {key: 5}, {}])
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + content[8 + length :]


def change_scores(content: bytes, rng: random.Random) -> bytes:
    """Change cells, rows or bytes of a table."""
    if rng.random() < 0.3:
        return fuzzing.flip(content, rng)
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(rng.choice([1, 1, 3])):
        row = rng.choice(rows)
        match rng.randrange(4):
            case 0:
                row[rng.randrange(len(row))] = str(fuzzing.odd(rng))[:200_000]
            case 1:
                row.append("1")
            case 2:
                rows.remove(row)
            case _:
                rows.append(rng.choice(rows))
        if not rows:
            return b""
    return "\n".join(",".join(row) for row in rows).encode(errors="surrogatepass")


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """A network, and a genuine file of each kind with everything in it."""
    G = tiny_pair()[0].eval().requires_grad_(False)
    tuned = copy.deepcopy(G)
    for parameter in tuned.synthesis.parameters():
        parameter.add_(torch.ones_like(parameter), alpha=0.01)
    path, network = folder / "kept.safetensors", folder / "G.safetensors"
    save_snapshot(network, G, provenance={})
    latents = locate(G, [0, 1, 2], Sampling(noise_mode="random"))
    latents.save(path, G, "tiny.safetensors")
    genuine = {LATENTS: path.read_bytes()}
    save_difference(path, G, tuned, network="tiny.safetensors", made={"figure": "projection"})
    genuine[DIFFERENCE] = path.read_bytes()
    vectors = torch.eye(G.w_dim)
    save_directions(path, [Direction(f"pca:{i}", vectors[i], 1.0) for i in range(3)], G, "tiny.safetensors", {})
    genuine[DIRECTIONS] = path.read_bytes()
    kept = Unfinished(folder / "me", {})
    options = SearchOptions(schedule=Schedule(4))
    distance, target = Distance("pixels", at_several_scales), torch.zeros(3, 16, 16, dtype=torch.uint8)
    search = Search(G, target, distance, options, Sampling(), "me.png")
    for _ in range(2):
        search.advance()
    kept.keep({"search": search.state_dict()}, None, G, "")
    assert kept.state is not None
    unfinished, state = kept.state.read_bytes(), kept.state
    table = b"seed,age,smile\n" + b"\n".join(f"{i},{i % 7},{i % 5}".encode() for i in range(40))

    def make(rng: random.Random) -> Callable[[], str | None]:
        kind = rng.choice([LATENTS, LATENTS, DIFFERENCE, DIRECTIONS, "scores", "unfinished"])
        which = rng.choice(["", "", ":0", ":1-2", ":2-9", ":9", ":1-0"])
        if kind in genuine:
            path.write_bytes(change_file(genuine[kind], kind, rng))
        elif kind == "scores":
            path.write_bytes(change_scores(table, rng))
        else:
            state.write_bytes(fuzzing.flip(unfinished, rng))

        def show() -> None:
            if kind == LATENTS:
                read_latents(path)
                list(render(G, locate(G, parse_seeds([f"{path}{which}", 7]), Sampling(batch=4)), Sampling(batch=4)))
            elif kind == DIFFERENCE:
                list(sample(load_generator(f"{network}+{path}", ops="reference"), [1], Sampling(batch=1)))
            elif kind == DIRECTIONS:
                read_directions(path, G)
            elif kind == "scores":
                read_scores(path)
            else:
                known = kept.read()
                with refusal("the state does not fit", "delete it"):
                    Search(G, target, distance, options, Sampling(), "me.png", (known or {})["search"]).advance()

        return show

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_latents", prepare)
