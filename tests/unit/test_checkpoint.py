"""Checkpoints keep every bit, execute nothing, and are passed over when damaged."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.models.metadata import model_metadata
from stylegan.training.checkpoint import differences, newest_checkpoint, read_checkpoint, restore, save_checkpoint
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
