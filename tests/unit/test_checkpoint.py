"""Checkpoints keep every bit, execute nothing, and are passed over when damaged."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan import run_dir as layout
from stylegan.augment.ada import ADAController
from stylegan.errors import UserError
from stylegan.models.metadata import model_metadata
from stylegan.training.checkpoint import (
    ADA,
    _is_ada,
    differences,
    newest_checkpoint,
    read_checkpoint,
    restore,
    save_checkpoint,
)
from tests.unit.test_step import batches, make_training
from tests.unit.tiny import tiny_pair


def about(**options: Any) -> dict[str, Any]:
    """What a checkpoint of the tiny networks says about itself, with other options of G."""
    networks = {name: model_metadata(network) for name, network in zip("GD", tiny_pair(), strict=True)}
    networks["G"]["config"].update(options)
    return {"architecture": networks, "content_hash": "abc", "fingerprint": "def", "environment": {"threads": 1}}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else None
    if items is None:
        return {prefix: tree}
    return {k: v for key, sub in items for k, v in flat(sub, f"{prefix}/{key}").items()}


def save(path: Path, nimg: int, keep: int = 10) -> dict[str, Any]:
    training = make_training()
    state = training.state
    training.step({p.name: batches(training, p.name, 1, 8) for p in training.phases})
    state.nimg, state.elapsed = nimg, 1.25
    save_checkpoint(layout.checkpoint_path(path, nimg), state, **about(), keep=keep)
    return flat(state.state_dict())


def test_round_trip(tmp_path: Path) -> None:
    saved = save(tmp_path, 48)
    state = make_training().state
    restore(state, read_checkpoint(layout.checkpoint_path(tmp_path, 48)), about()["architecture"])
    restored = flat(state.state_dict())
    assert saved.keys() == restored.keys()
    for key, value in saved.items():
        same = torch.equal(value, restored[key]) if isinstance(value, torch.Tensor) else value == restored[key]
        assert same, key
    assert (state.nimg, state.step, state.elapsed) == (48, 1, 1.25)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for nimg in (8, 16, 24):
        save(tmp_path, nimg, keep=2)
    assert [p.name for p in layout.checkpoints(tmp_path)] == ["state-000000016.pt", "state-000000024.pt"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_one_is_named_and_the_one_before_it_used(tmp_path: Path, damage: str) -> None:
    for nimg in (8, 16):
        save(tmp_path, nimg)
    path = layout.checkpoint_path(tmp_path, 16)
    content = bytearray(path.read_bytes())
    if damage == "flip":  # in a tensor: between its records a ZIP has bytes without meaning
        with zipfile.ZipFile(path) as archive:
            tensor = max((archive.read(record) for record in archive.infolist()), key=len)
        content[content.index(tensor) + len(tensor) // 2] ^= 1
    path.write_bytes({"flip": content, "cut": content[: len(content) // 2], "empty": b""}[damage])
    checkpoint, complaints = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.path == layout.checkpoint_path(tmp_path, 8)
    assert len(complaints) == 1 and str(path) in complaints[0] and "damaged" in complaints[0]
    layout.checkpoint_path(tmp_path, 8).unlink()
    with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
        newest_checkpoint(tmp_path)


def laughs() -> list[Any]:
    """Little to write, 2^60 values to show."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    return value


def put(*keys: Any, value: Any) -> Any:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def drop(*keys: Any) -> Any:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


MOMENTS = ("state", "G_opt", "state", 0)
CHANGES = {
    **{f"no {key}": drop(key) for key in ("format", "state", "architecture", "content_hash", "environment")},
    **{
        f"no {key} in the state": drop("state", key)
        for key in ("G", "D", "G_ema", "G_opt", "D_opt", "pl_mean", "ada", "stage", "seed", "nimg", "step", "held")
    },
    **{f"nimg={value!r}": put("state", "nimg", value=value) for value in ("8", None, 8.0, -8, True, 2**70)},
    **{f"elapsed={value!r}": put("state", "elapsed", value=value) for value in ("8", None, float("nan"), [])},
    **{f"ada={value!r}": put("state", "ada", value=value) for value in ("8", 1.0, {"p": 0.5}, [])},
    **{f"stage={value!r}": put("state", "stage", value=value) for value in ("8", {}, {"resolution": [4, 4]}, [])},
    "no weight": drop("state", "G", "mapping.fc0.weight"),
    "another weight": put("state", "G", "mapping.fc0.weight", value=torch.zeros(3)),
    "a weight of whole numbers": put("state", "D", "b4.out.bias", value=torch.zeros(1, dtype=torch.int64)),
    "a weight that is a text": put("state", "G_ema", "mapping.w_avg", value="x"),
    "one weight too many": put("state", "G_ema", "x", value=torch.zeros(1)),
    "no G": put("state", "G", value=None),
    "no moment": drop(*MOMENTS, "exp_avg"),
    "another moment": put(*MOMENTS, "exp_avg_sq", value=torch.zeros(3)),
    "a moment that is a number": put(*MOMENTS, "exp_avg_sq", value=1.0),
    "a moment of nothing": put("state", "G_opt", "state", 999, value={}),
    "no settings": put("state", "D_opt", "param_groups", value=[]),
    "settings of other parameters": put("state", "D_opt", "param_groups", 0, "params", value=[0]),
    "settings that are lists": put("state", "D_opt", "param_groups", 0, "eps", value=laughs()),
    "no architecture of D": drop("architecture", "D"),
    "another architecture": put("architecture", "G", "config", "w_dim", value=2**40),
    "an architecture of more": put("architecture", "G", "x", value=laughs()),
    "an environment without end": put("environment", "threads", value=laughs()),
    "no hash": put("content_hash", value=7),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_that_holds_something_else_is_named_and_the_one_before_it_used(tmp_path: Path, name: str) -> None:
    for nimg in (8, 16):
        save(tmp_path, nimg)
    path = layout.checkpoint_path(tmp_path, 16)
    content = torch.load(path, weights_only=True)
    CHANGES[name](content)
    torch.save(content, path)
    checkpoint, complaints = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.path == layout.checkpoint_path(tmp_path, 8)
    assert len(complaints) == 1 and str(path) in complaints[0] and len(complaints[0]) < 500


def test_the_controller_s_state_is_whole_by_its_keys_and_may_be_anything_that_it_can_become() -> None:
    kept: dict[str, Any] = ADAController(0.5, 0.6, 500.0, 4, 1.0).state_dict()
    assert set(kept) == ADA and _is_ada(kept) and _is_ada({**kept, "r_t": float("nan")}) and _is_ada(None)
    assert not _is_ada({**kept, "r_t": "x"})
    assert not any(_is_ada({key: value for key, value in kept.items() if key != left}) for left in kept)


def test_every_flipped_bit_of_the_directory_is_noticed_or_of_no_consequence(tmp_path: Path) -> None:
    saved = save(tmp_path, 8)
    path = layout.checkpoint_path(tmp_path, 8)
    content, passed = path.read_bytes(), 0
    start = content.index(b"PK\x01\x02")
    for at in range(start, len(content), max((len(content) - start) // 150, 1)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            found = flat(read_checkpoint(path).state)
        except UserError as error:
            assert str(path) in str(error)
            continue
        passed += 1
        for key, value in saved.items():
            assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value, at
    assert 0 < passed < 140


def test_archives_that_unpack_to_more_than_they_are_and_things_that_are_no_files(tmp_path: Path) -> None:
    save(tmp_path, 8)
    good = layout.checkpoint_path(tmp_path, 8)
    bomb = layout.checkpoint_path(tmp_path, 16)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("archive/data/999", bytes(10**8))
    os.mkfifo(layout.checkpoint_path(tmp_path, 24))
    layout.checkpoint_path(tmp_path, 32).mkdir()
    checkpoint, complaints = newest_checkpoint(tmp_path)
    assert checkpoint is not None and checkpoint.path == good
    assert [found in text for found, text in zip(("folder", "pipe", "compressed"), complaints, strict=True)] == [
        True
    ] * 3


class Canary:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["CANARY"],)


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_a_file_that_wants_to_run_code_is_refused(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", str(tmp_path / "ran"))
    path = tmp_path / "evil.pt"
    if form == "torch":
        torch.save({"format": "stylegan-checkpoint-1", "state": Canary()}, path)
    else:
        path.write_bytes(pickle.dumps(Canary()))
    with pytest.raises(UserError, match=r"evil\.pt"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_other_files_of_torch_and_missing_ones(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not a checkpoint of this framework"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(UserError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "missing.pt")


def test_another_architecture_is_refused_by_what_differs(tmp_path: Path) -> None:
    save(tmp_path, 8)
    state = make_training().state
    with pytest.raises(UserError, match=r"G\.config\.z_dim: 8 there, 16 here"):
        restore(state, read_checkpoint(layout.checkpoint_path(tmp_path, 8)), about(z_dim=16)["architecture"])


def test_weights_fit_networks_that_compute_otherwise_or_were_described_by_an_older_version(tmp_path: Path) -> None:
    save(tmp_path, 8)
    state = make_training().state
    checkpoint = read_checkpoint(layout.checkpoint_path(tmp_path, 8))
    restore(state, checkpoint, about(precision="bf16", reduced_blocks=1)["architecture"])
    for option in ("precision", "reduced_blocks"):
        del checkpoint.architecture["G"]["config"][option], checkpoint.architecture["D"]["config"][option]
    restore(state, checkpoint, about()["architecture"])


def test_differences() -> None:
    assert differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4}) == [
        "a.c: 2 there, 3 here",
        "d: None there, 4 here",
    ]
