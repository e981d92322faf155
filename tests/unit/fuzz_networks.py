"""Reads thousands of odd files of networks: snapshots whose header, metadata or bytes were changed, and files of other tools
that hold other options and tensors than they should. See `fuzzing`.
"""

import contextlib
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import stylegan
from stylegan.errors import UserError
from stylegan.interop.card import model_card
from stylegan.interop.convert import save_public
from stylegan.interop.header import KEY
from stylegan.interop.networks import read_networks
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.golden.golden import load
from tests.unit import fuzzing, official_pickle
from tests.unit.official_pickle import Made
from tests.unit.public_pickle import Call, dumps, network_call
from tests.unit.test_rosinality import discriminator_state, generator_state
from tests.unit.tiny import tiny_pair

PROVENANCE = {"data": {"name": "x", "images": 10}, "nimg": 8, "seconds": 3, "loss": {"r1": 1.0}, "optim": {"G_lr": 0.1}}
LAYOUTS = ("F32", "F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E5M2", "X")


def alias_free(**options: Any) -> Any:
    """A tiny StyleGAN3 generator."""
    config = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4, num_layers=3, num_critical=1, **options)
    return config.build(resolution=(8, 8), channels=3, c_dim=0)


def change_snapshot(content: bytes, rng: random.Random) -> bytes:
    """Change the bytes, the header or the metadata of a snapshot."""
    length = int.from_bytes(content[:8], "little")
    match rng.randrange(6):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            return fuzzing.flip(content, rng, range(length + 8))
    header = json.loads(content[8 : 8 + length])
    metadata = json.loads(header["__metadata__"][KEY])
    for part in rng.choices(
        ["header", "metadata", "companions", "provenance", "model", "model"], k=rng.choice([1, 1, 2])
    ):
        with contextlib.suppress(Exception):  # a second change may not find what the first one took
            if part == "header":
                change_header(header, rng)
            else:
                fuzzing.change(metadata.get(part) or metadata, rng)
    text = json.dumps(metadata)
    if rng.random() < 0.05:
        text = rng.choice(
            ["[" * 100_000, "{}" * 9, f"{text[:-1]}, {text[1:]}", text[:-1], '{"format": 1e999}', "9" * 5000]
        )
    header.setdefault("__metadata__", {})[KEY] = text
    raw = json.dumps(header).encode()
    if rng.random() < 0.05:  # one name twice
        raw = raw[:-1] + b", " + raw[1:]
    return len(raw).to_bytes(8, "little") + raw + content[8 + length :]


def change_header(header: dict[str, Any], rng: random.Random) -> None:
    """Change what a header says of one tensor, exchange two, or rename one."""
    names = [name for name in header if name != "__metadata__"]
    name, other = rng.choice(names), rng.choice(names)
    match rng.randrange(5):
        case 0:
            header[name], header[other] = header[other], header[name]
        case 1:
            header[f"{name}x" if rng.random() < 0.5 else "x/" + name] = header.pop(name)
        case 2:
            header[name]["dtype"] = rng.choice(LAYOUTS)
        case 3:
            header[name]["shape"] = [
                rng.choice([0, 1, 2, 2**20, 2**40, 2**63]) for _ in range(rng.choice([0, 1, 4, 90]))
            ]
        case _:
            fuzzing.change(header[name], rng)


def odd_tensor(rng: random.Random) -> Any:
    """A tensor of another shape or type than any network's, or something else."""
    shape = [rng.choice([0, 1, 2, 3, 8]) for _ in range(rng.randrange(6))]
    match rng.randrange(4):
        case 0:
            return fuzzing.odd(rng)
        case 1:
            return torch.zeros([]).expand(shape)
        case 2:
            return torch.zeros(shape, dtype=rng.choice([torch.float16, torch.int64, torch.bool, torch.float64]))
        case _:
            return torch.full(shape, rng.choice([0.0, float("nan"), float("inf"), 1e38]))


def change_tensors(state: dict[str, Any], rng: random.Random) -> None:
    """Change a state_dict."""
    names = list(state)
    name, other = rng.choice(names), rng.choice(names)
    tensor = state[name]
    match rng.randrange(6):
        case 0:
            state[name] = state[other]
        case 1:
            del state[name]
        case 2 if isinstance(tensor, Tensor) and tensor.ndim:
            state[name] = tensor.narrow(rng.randrange(tensor.ndim), 0, rng.choice([0, 1]))
        case 3 if isinstance(tensor, Tensor):
            state[name] = rng.choice(
                [tensor[None], tensor.flatten(), tensor.mT if tensor.ndim > 1 else tensor.double()]
            )
        case 4:
            state[rng.choice([f"{name}x", f"b{2 ** rng.randrange(20)}.{name}", "", "x" * 1000])] = tensor
        case _:
            state[name] = odd_tensor(rng)


def change_call(call: Call, rng: random.Random) -> None:
    """Change the record of a module, or of one inside."""
    meta = call.arguments[0]
    state = meta["state"]
    modules = [module for module in state["_modules"].values() if isinstance(module, Call)]
    if modules and rng.random() < 0.6:
        return change_call(rng.choice(modules), rng)
    match rng.randrange(6):
        case 0 | 1 if state["_parameters"]:
            change_tensors(state["_parameters"], rng)
        case 2 if state["_buffers"]:
            change_tensors(state["_buffers"], rng)
        case 3:
            fuzzing.change(state.get("_init_kwargs") or state, rng)
        case 4:
            fuzzing.change(meta, rng)
        case _:
            state[rng.choice(list(state))] = odd_tensor(rng)


def official(family: str, version: int) -> dict[str, Any]:
    """What a file of the official code for TensorFlow holds, in its order."""
    made = official_pickle.networks(load(f"{family}_g_c3_r8"), load(f"{family}_d_c3_r8"), version)
    return dict(zip(("G", "D", "Gs"), made, strict=True))


def change_official(content: dict[str, Any], rng: random.Random) -> None:
    """Change a network of the official code for TensorFlow, or one of its components."""
    made = content[rng.choice(list(content))]
    if not isinstance(made, Made):
        content.clear()
        return
    components = [part for part in made.state.get("components", {}).values() if isinstance(part, Made)]
    if components and rng.random() < 0.7:
        made = rng.choice(components)
    match rng.randrange(4):
        case 0:
            fuzzing.change(made.state["static_kwargs"], rng)
        case 1 | 2:
            variables = {name: torch.from_numpy(np.array(value)) for name, value in made.state["variables"]}
            change_tensors(variables, rng)
            made.state["variables"] = [
                (name, value.numpy() if isinstance(value, Tensor) else value) for name, value in variables.items()
            ]
        case _:
            made.state[rng.choice(list(made.state))] = odd_tensor(rng)


def change_content(content: dict[str, Any], rng: random.Random) -> None:
    """Change one part of what other tools write."""
    if "Gs" in content:
        return change_official(content, rng)
    part = rng.choice(list(content))
    if isinstance(content[part], Call):
        change_call(content[part], rng)
    elif part == "init_kwargs":
        fuzzing.change(content[part], rng)
    elif isinstance(content[part], dict) and content[part]:
        change_tensors(content[part], rng)
    else:
        content[part] = odd_tensor(rng)


def encodable(value: Any) -> bool:
    """Whether Python itself can pickle it: no halves of characters."""
    try:
        dumps(value)
    except Exception:
        return False
    return True


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""
    G, D = tiny_pair(resolution=(8, 8))
    labelled = tiny_pair(resolution=(8, 8), c_dim=2)
    snapshots, path = list[bytes](), folder / "a.safetensors"
    with_companions = [(G, {"G": copy.deepcopy(G), "D": D}), (labelled[0], {"D": labelled[1]})]
    for network, companions in [(G, {}), (alias_free(), {}), *with_companions]:
        save_snapshot(path, network, provenance=PROVENANCE, companions=companions)
        snapshots.append(path.read_bytes())
    save_public(folder / "public.pt", {"G_ema": G, "D": D})
    public = torch.load(folder / "public.pt", weights_only=True)
    rosinality = {"g_ema": generator_state(), "d": discriminator_state(), "latent_avg": torch.zeros(8)}
    radial = alias_free(radial_filters=True, conv_kernel=1)
    tensors = [lambda: copy.deepcopy(public), lambda: copy.deepcopy(rosinality)]
    records: list[Callable[[], dict[str, Any]]] = [
        lambda: {"G_ema": network_call(G)},
        lambda: {"G": network_call(G), "D": network_call(D)},
        lambda: {"G_ema": network_call(radial)},
    ]
    growing: list[Callable[[], dict[str, Any]]] = [lambda: official("pg", 2), lambda: official("sg1", 3)]

    def written(rng: random.Random) -> Path:
        kind = rng.randrange(6)
        if kind < 3:
            path.write_bytes(change_snapshot(rng.choice(snapshots), rng))
            return path
        content = rng.choice({3: tensors, 4: records, 5: growing}[kind])()
        for _ in range(rng.choice([1, 1, 2])):
            before = copy.copy(content)
            with contextlib.suppress(Exception):  # a second change may not find what the first one took
                change_content(content, rng)
            content = content if encodable(content) else before
        if not encodable(content):
            content = {}
        if kind == 4:
            (folder / "a.pkl").write_bytes(dumps(content, rng.choice([2, 4])))
            return folder / "a.pkl"
        if kind == 5:
            (folder / "a.pkl").write_bytes(official_pickle.dumps(tuple(content.values()), rng.choice([2, 4])))
            return folder / "a.pkl"
        torch.save(content, folder / "a.pt", _use_new_zipfile_serialization=rng.random() < 0.5)
        return folder / "a.pt"

    def make(rng: random.Random) -> Callable[[], str | None]:
        file = written(rng)
        return lambda: use(file)

    return make


@torch.no_grad()
def use(file: Path) -> None:
    """Read a file, and make a picture and a card with what is accepted."""
    found = read_networks(file)
    assert all(found.report)
    G = stylegan.load_generator(file)
    for image in stylegan.sample(G, [0], stylegan.Sampling(class_idx=0 if G.c_dim else None, batch=1)):
        assert image.shape == (G.channels, *G.resolution)
    if file.suffix == ".safetensors":
        try:
            model_card(file, read_snapshot(file)).encode()
        except UserError as error:
            raise AssertionError("read once, then refused") from error


if __name__ == "__main__":
    fuzzing.judge("fuzz_networks", prepare)
