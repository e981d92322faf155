"""Snapshots: every bit survives, and every file that is not a good snapshot is refused by name."""

import copy
import json
import os
import pickle
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylegan.errors import UserError
from stylegan.interop.card import model_card
from stylegan.interop.header import FORMAT, KEY, LONGEST_HEADER, LONGEST_METADATA
from stylegan.interop.snapshot import read_companions, read_snapshot, weights_sha256
from stylegan.interop.snapshot_writer import add_provenance, save_snapshot
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config

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


def test_convolutions_can_be_kept_in_16_bits(tmp_path: Path, G: StyleBased) -> None:
    save_snapshot(
        tmp_path / "half.safetensors", G, provenance=PROVENANCE, companions={"G": copy.deepcopy(G)}, half=True
    )
    found = read_snapshot(tmp_path / "half.safetensors")
    kept = load_file(tmp_path / "half.safetensors")
    for name, tensor in G.state_dict().items():
        narrow = name.endswith("weight") and tensor.ndim == 4
        assert kept[name].dtype == kept[f"G/{name}"].dtype == (torch.float16 if narrow else tensor.dtype), name
        expected = tensor.half().float() if narrow else tensor
        assert bits(found.G.state_dict()[name]) == bits(expected), name
    assert found.metadata["weights_sha256"] == weights_sha256(found.G.state_dict())
    assert found.metadata["companions"]["G"]["weights_sha256"] == weights_sha256(found.G.state_dict())
    assert read_companions(tmp_path / "half.safetensors")["G"].state_dict().keys() == G.state_dict().keys()


def test_what_16_bits_cannot_hold_is_refused(tmp_path: Path, G: StyleBased) -> None:
    large = copy.deepcopy(G)
    with torch.no_grad():
        large.get_parameter(_first_convolution(large))[0, 0, 0, 0] = -70000
    with pytest.raises(UserError, match=r"weight holds 7e\+04, more than float16 can"):
        save_snapshot(tmp_path / "half.safetensors", large, provenance={}, half=True)
    assert not list(tmp_path.iterdir())


def _first_convolution(G: StyleBased) -> str:
    return next(name for name, parameter in G.named_parameters() if parameter.ndim == 4)


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
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "it is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
        (lambda path: path.symlink_to("nowhere"), "there is no network file"),
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
        (lambda tensors, _: tensors.update({name: tensors[name].bfloat16()}), f"{name} as bfloat16"),
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


def with_text(path: Path, text: str) -> None:
    save_file({"w": torch.zeros(2)}, path, metadata={KEY: text})


BOTTOMLESS = 500_000
GOOD = {"format": FORMAT, "weights_sha256": "0" * 64, "model": {}}


@pytest.mark.parametrize(
    "text",
    [
        "[" * BOTTOMLESS,
        '{"a":' * BOTTOMLESS,
        "9" * 5000,
        json.dumps(GOOD)[:-1] + ', "x": NaN}',
        json.dumps(GOOD)[:-1] + ', "x": -Infinity}',
        json.dumps({**GOOD, "provenance": {"data": {"name": "\ud800"}}}),
        json.dumps({**GOOD, "x": "x" * LONGEST_METADATA}),
        json.dumps({**GOOD, "format": True}),
        json.dumps({**GOOD, "model": []}),
        json.dumps({**GOOD, "provenance": []}),
        json.dumps({**GOOD, "companions": {"E": {}}}),
        json.dumps({**GOOD, "companions": {"D": 1}}),
        json.dumps({**GOOD, "weights_sha256": None}),
    ],
)
def test_metadata_that_describe_no_network_are_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.safetensors"
    with_text(path, text)
    with pytest.raises(UserError, match="its metadata do not describe a network"):
        read_snapshot(path)


TINY_3 = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4, num_layers=3, num_critical=1)


@pytest.mark.parametrize("value", [2**16, 2**17, 2**20, 10**6, 2**32, 2**40, 2**63, 10**30, 10**400, -1, 0, 1e300, 0.5])
@pytest.mark.parametrize(
    ("of", "key"),
    [
        *((TINY, key) for key in ("z_dim", "w_dim", "channel_max", "mapping.num_layers", "mapping.hidden_dim")),
        *((TINY_3, key) for key in ("num_layers", "num_critical", "filter_size", "lrelu_upsampling", "margin_size")),
        *((TINY_3, key) for key in ("conv_kernel", "first_cutoff", "first_stopband", "last_stopband_rel")),
        *((config, key) for config in (TINY, TINY_3) for key in ("resolution", "channels", "c_dim")),
    ],
)
def test_a_small_file_cannot_ask_for_a_large_network(tmp_path: Path, of: Any, key: str, value: Any) -> None:
    """Some of these numbers are no network's, others only not this file's: it holds the tensors of another one."""
    if (key, value) == ("c_dim", 0):
        return  # as it is
    path = tmp_path / "a.safetensors"
    save_snapshot(path, of.build(resolution=(8, 8), channels=3, c_dim=0), provenance={})

    def lie(_: dict[str, Tensor], metadata: dict[str, Any]) -> None:
        model = metadata["model"]
        place = model if key in model else model["config"]
        *outer, last = key.split(".")
        for name in outer:
            place = place[name]
        place[last] = [value, value] if key == "resolution" else value

    rewrite(path, lie)
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"a\.safetensors (describes|lacks|holds)"):
        read_snapshot(path)
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_a_header_longer_than_any_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    header = b"{" + b" " * (LONGEST_HEADER + 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(UserError, match="a header of 16777225 bytes"):
        read_snapshot(path)


def test_reading_draws_no_random_numbers(file: Path) -> None:
    before = torch.get_rng_state()
    read_snapshot(file)
    assert torch.equal(torch.get_rng_state(), before)


def test_tensors_of_nobody_are_noticed(file: Path) -> None:
    rewrite(file, lambda tensors, _: tensors.update({"E/w": torch.zeros(1)}))
    with pytest.raises(UserError, match="holds a tensor E/w that belongs to none of its networks"):
        read_snapshot(file)


@pytest.mark.parametrize("odd", [1, [], "x", {"results": 3}, 10**400, -1, True, None])
@pytest.mark.parametrize("name", ["data", "nimg", "seconds", "loss", "optim", "augment", "augment_p", "metrics"])
def test_an_odd_provenance_is_left_out_of_the_card(file: Path, name: str, odd: Any) -> None:
    rewrite(file, lambda _, metadata: metadata["provenance"].update({name: odd}))
    assert model_card(file, read_snapshot(file)).startswith("---")
