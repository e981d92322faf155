"""Snapshots: every bit survives, and every file that is not a good snapshot is refused by name."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylegan.errors import UserError
from stylegan.interop.snapshot import FORMAT, KEY, read_snapshot
from stylegan.interop.snapshot_writer import add_provenance, save_snapshot
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config

TINY = StyleGAN2Config(z_dim=16, w_dim=16, channel_base=128, channel_max=16, mapping=MappingConfig(num_layers=2))
PROVENANCE = {
    "data": {"name": "faces3d", "sha256": "ab" * 32, "licence": "CC0-1.0"},
    "nimg": 48000,
    "config": {"seed": 0},
}


@pytest.fixture(scope="module")
def G() -> StyleBased:
    torch.manual_seed(0)
    return TINY.build(resolution=(8, 16), channels=3, c_dim=2)


@pytest.fixture
def file(tmp_path: Path, G: StyleBased) -> Path:
    path = tmp_path / "a.safetensors"
    save_snapshot(path, G, provenance=PROVENANCE)
    return path


def rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> None:
    """Save a snapshot again after `change` has edited its tensors and metadata."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as opened:
        metadata = json.loads(opened.metadata()[KEY])
    change(tensors, metadata)
    save_file(tensors, path, metadata={KEY: json.dumps(metadata)})


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def test_every_bit_survives(tmp_path: Path, G: StyleBased) -> None:
    awkward = torch.tensor([0x7FC12345, -0x80000000, 1, 0x7F800000, -0x00412345], dtype=torch.int32).view(torch.float32)
    state = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in G.state_dict().items()}
    for tensor in state.values():
        if tensor.is_floating_point() and tensor.numel() >= len(awkward):
            tensor.view(-1)[: len(awkward)] = awkward  # a NaN with a payload, -0, a denormal, infinity, another NaN
    saved = copy.deepcopy(G)
    saved.load_state_dict(state)
    save_snapshot(tmp_path / "a.safetensors", saved, provenance={})
    loaded = read_snapshot(tmp_path / "a.safetensors").G.state_dict()
    assert list(loaded) == list(state)
    for name, tensor in state.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(loaded[name]) == bits(tensor), name


def test_metadata_survives(file: Path, G: StyleBased) -> None:
    snapshot = read_snapshot(file)
    assert snapshot.metadata["provenance"] == PROVENANCE
    assert snapshot.metadata["format"] == FORMAT
    assert snapshot.metadata["software"].startswith("stylegan ")
    assert (snapshot.G.resolution, snapshot.G.channels, snapshot.G.c_dim) == ((8, 16), 3, 2)
    assert list(snapshot.G.state_dict()) == list(G.state_dict())


def test_bytes_are_a_function_of_the_network(tmp_path: Path, file: Path, G: StyleBased) -> None:
    reordered = dict(reversed(PROVENANCE.items()))
    save_snapshot(tmp_path / "b.safetensors", read_snapshot(file).G, provenance=reordered)
    assert (tmp_path / "b.safetensors").read_bytes() == file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_provenance_must_be_json(tmp_path: Path, G: StyleBased) -> None:
    with pytest.raises(TypeError):
        save_snapshot(tmp_path / "a.safetensors", G, provenance={"path": Path("x")})
    with pytest.raises(ValueError, match="JSON"):
        save_snapshot(tmp_path / "a.safetensors", G, provenance={"loss": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, "there is no network file"),
        (lambda path: path.mkdir(), "cannot read"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(pickle.dumps({"G_ema": 1})), "is a Python pickle"),
        (lambda path: path.write_bytes(b"\x80"), "is a Python pickle"),
        (lambda path: torch.save({"G_ema": 1}, path), "is a PyTorch checkpoint"),
        (lambda path: path.write_text("<html>not found</html>"), "is not a safetensors file"),
        (lambda path: path.write_bytes(b"abc"), "is not a safetensors file"),
        (lambda path: save_file({"w": torch.zeros(2)}, path), "was not written by stylegan"),
        (lambda path: save_file({"w": torch.zeros(2)}, path, metadata={"format": "pt"}), "was not written by stylegan"),
        (lambda path: save_file({"w": torch.zeros(2)}, path, metadata={KEY: "{"}), "is damaged"),
        (lambda path: save_file({"w": torch.zeros(2)}, path, metadata={KEY: "[1]"}), "is damaged"),
        (lambda path: save_file({"w": torch.zeros(2)}, path, metadata={KEY: "{}"}), "is damaged"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, make: Callable[[Path], Any], what: str) -> None:
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(UserError, match=what) as caught:
        read_snapshot(path)
    assert str(path) in str(caught.value)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="pickle"):
        read_snapshot(path)
    assert not (tmp_path / "ran").exists()


def test_cut_files_are_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in (4, 8, 9, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"damaged|is not a safetensors"):
            read_snapshot(file)


def test_provenance_can_be_added_later_and_weights_stay(file: Path) -> None:
    before = read_snapshot(file)
    add_provenance(file, {"metrics": {"results": {"fid50k": 5.5}}, "nimg": 1})
    after = read_snapshot(file)
    assert after.metadata["provenance"] == {**PROVENANCE, "metrics": {"results": {"fid50k": 5.5}}, "nimg": 1}
    assert {k: v for k, v in after.metadata.items() if k != "provenance"} == {
        k: v for k, v in before.metadata.items() if k != "provenance"
    }
    for name, tensor in before.G.state_dict().items():
        assert bits(tensor) == bits(after.G.state_dict()[name]), name


def test_a_flipped_bit_is_noticed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="SHA-256"):
        read_snapshot(file)


def test_wrong_tensors_are_named(file: Path) -> None:
    content = file.read_bytes()
    name = "mapping.w_avg"
    changes: list[tuple[Callable[[dict[str, Tensor], dict[str, Any]], Any], str]] = [
        (lambda tensors, _: tensors.pop(name), f"lacks the tensor {name}"),
        (lambda tensors, _: tensors.update(extra=torch.zeros(1)), "holds a tensor extra"),
        (
            lambda tensors, _: tensors.update({name: torch.zeros(3)}),
            rf"{name} as float32 \[3\], where .* float32 \[16\]",
        ),
        (lambda tensors, _: tensors.update({name: tensors[name].half()}), f"{name} as float16"),
    ]
    for change, message in changes:
        file.write_bytes(content)
        rewrite(file, change)
        with pytest.raises(UserError, match=message):
            read_snapshot(file)


def test_unknown_format_and_kind_are_refused(file: Path) -> None:
    content = file.read_bytes()
    rewrite(file, lambda _, metadata: metadata.update(format=FORMAT + 1, software="stylegan 9.9"))
    with pytest.raises(UserError, match=r"stylegan 9\.9.*update stylegan"):
        read_snapshot(file)
    file.write_bytes(content)
    rewrite(file, lambda _, metadata: metadata["model"].update(kind="biggan"))
    with pytest.raises(UserError, match="biggan"):
        read_snapshot(file)
