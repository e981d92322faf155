"""The network that reads attributes: the shipped one reads faces that it never saw; training learns, repeats, refuses."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stylegan.data.faces3d import render_faces
from stylegan.data.prepare import ensure_faces3d
from stylegan.errors import UserError
from stylegan.files import shipped
from stylegan.metrics import attribute_training as training
from stylegan.metrics.attribute_network import KEY, SHIPPED, label_table, load_attributes, to_input
from stylegan.metrics.attribute_training import LabelledFaces, TrainingOptions, accuracy, train_attributes
from tests.integration.images import write_archive


def faces(split: str, count: int) -> LabelledFaces:
    images, attributes = render_faces(range(count), split=split, resolution=32)
    return LabelledFaces(to_input(torch.from_numpy(images)), label_table(attributes, split))


def test_the_one_that_ships_reads_unseen_faces() -> None:
    network, _, about = load_attributes(torch.device("cpu"))
    report = accuracy(network, faces("evaluation", 300))
    for name in ("sex", "ancestry", "hair_colour", "beard", "glasses"):
        assert report[name]["accuracy"] > 0.85, (name, report[name])
    for name in ("skin_tone", "yaw", "hair_length"):
        assert report[name]["correlation"] > 0.9, (name, report[name])
    assert about["held_out"]["sex"]["accuracy"] > 0.9


def test_training_learns_and_repeats() -> None:
    some, unseen = faces("train", 256), faces("test", 128)
    networks = [train_attributes(some, TrainingOptions(epochs=4, seed=1)) for _ in range(2)]
    for a, b in zip(*(network.state_dict().values() for network in networks), strict=True):
        assert torch.equal(a, b)
    learned = accuracy(networks[0], unseen)["skin_tone"]
    assert learned["correlation"] > 0.6, learned  # 128 faces: chance stays below 0.3


def test_from_archive_to_weights_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "held_out_faces", lambda: faces("test", 32))
    archive, out = ensure_faces3d(resolution=16, count=64), tmp_path / "own.safetensors"
    text = training.train_and_save(archive, out, TrainingOptions(epochs=1))
    assert str(out) in text and "glasses" in text
    _, _, about = load_attributes(torch.device("cpu"), out)
    assert about["data"]["images"] == 64 and about["training"]["epochs"] == 1
    assert f"on the 64 faces of {archive}" in training.test_attributes(archive, out)


@pytest.mark.filterwarnings("error")
def test_one_face_has_no_correlation() -> None:
    network, _, _ = load_attributes(torch.device("cpu"))
    report = accuracy(network, faces("test", 1))
    assert report["age"].keys() == {"error"} and report["sex"].keys() == {"error", "accuracy"}


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive, broken = write_archive(tmp_path / "noise.zip"), tmp_path / "broken.safetensors"
    broken.write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"noise\.zip holds no attributes; `stylegan prepare faces3d"):
        training.train_and_save(archive, tmp_path / "out.safetensors", TrainingOptions())
    with pytest.raises(UserError, match=r"--out out\.pt: give it a name that ends in \.safetensors"):
        training.train_and_save(archive, Path("out.pt"), TrainingOptions())
    monkeypatch.setattr(training, "train_attributes", lambda *_: pytest.fail("it trained before it looked"))
    with pytest.raises(UserError, match=r"cannot write .*out\.safetensors"):
        training.train_and_save(ensure_faces3d(resolution=16, count=64), archive / "out.safetensors", TrainingOptions())
    with pytest.raises(UserError, match="--epochs 0: it must be at least 1"):
        TrainingOptions(epochs=0)
    with pytest.raises(UserError, match=r"broken\.safetensors is not a network that reads"):
        training.test_attributes(archive, broken)
    tensors = load_file(shipped(SHIPPED))
    for header in ({KEY: "[" * 50_000}, {KEY: "[]"}, {KEY: "{}"}, {}):
        save_file(tensors, broken, header)
        with pytest.raises(UserError, match="is not a network that reads"):
            training.test_attributes(archive, broken)
    with pytest.raises(UserError, match="there is no such file"):
        training.test_attributes(archive, tmp_path / "missing.safetensors")
