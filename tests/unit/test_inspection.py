"""`stylegan prepare --inspect`: what it tells and shows."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylegan import cli
from stylegan.data.archive import ArchiveInfo, ImageDataset
from stylegan.data.convert import encode_png
from stylegan.data.inspection import contact_sheet, describe
from stylegan.data.writer import ArchiveWriter
from stylegan.errors import UserError


def archive(path: Path, labels: list[int] | list[list[float]] | None = None, count: int = 6, channels: int = 3) -> Path:
    info = ArchiveInfo(
        name="noise", source="numpy", licence="CC0-1.0", crop="cover", resize_filter="box", class_names=("cat", "dog")
    )
    with ArchiveWriter(path, info) as writer:
        for i in range(count):
            pixels = np.full((8, 16, channels), 40 * i, np.uint8)
            writer.add(pixels, encode_png(pixels), labels[i] if labels else None)
    return path


def test_what_it_tells(tmp_path: Path) -> None:
    told = describe(archive(tmp_path / "a.zip", [0, 1, 1, 0, 2, 1])).splitlines()
    facts = {line[:11].strip(): line[11:] for line in told}
    assert facts["images"] == "6"
    assert facts["shape"] == "16x8 (width x height), 3 channels"
    assert facts["labels"] == "3 classes: cat (2), dog (3), 2 (1)"
    assert (facts["source"], facts["licence"], facts["crop"], facts["filter"]) == ("numpy", "CC0-1.0", "cover", "box")
    assert facts["hash"].startswith(ImageDataset(tmp_path / "a.zip").content_hash)
    assert "verified" in describe(tmp_path / "a.zip", verify=True)


def test_vectors_and_other_tools_archives(tmp_path: Path) -> None:
    labels = [[float(i), -1.0] for i in range(6)]
    assert "vectors of 2: 0 0..5, 1 -1..-1" in describe(archive(tmp_path / "a.zip", labels))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("x.png", encode_png(np.zeros((4, 4, 3), np.uint8)))
        file.writestr("dataset.json", json.dumps({"labels": None}))
    told = describe(tmp_path / "b.zip")
    assert "computed; the archive records none" in told and "licence    not recorded" in told


def test_a_changed_archive_is_found_out(tmp_path: Path) -> None:
    path = archive(tmp_path / "a")
    (path / "00000/img00000002.png").write_bytes(encode_png(np.zeros((8, 16, 3), np.uint8)))
    describe(path)
    with pytest.raises(UserError, match="was changed since it was prepared"):
        describe(path, verify=True)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_contact_sheet(tmp_path: Path, channels: int) -> None:
    sheet = contact_sheet(archive(tmp_path / "a.zip", channels=channels), tmp_path / "s.png", rows=2, columns=2)
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (16, 32, 3)
    shown = [0, 2, 3, 5]  # evenly spaced, the first and the last one among them
    for position, index in enumerate(shown):
        value = 40 * index
        alpha = value / 255 if channels == 4 else 1  # laid on white
        expected = value * alpha + 255 * (1 - alpha)
        found = pixels[8 * (position // 2) + 4, 16 * (position % 2) + 8]
        assert np.abs(found - expected).max() <= 2


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "faces.zip")

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["stylegan", "prepare", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0)

    assert run("--inspect", "faces.zip", "--strict") == 0
    out = capsys.readouterr().out
    assert "(verified)" in out and "sheet      faces.contact-sheet.png" in out
    assert (tmp_path / "faces.contact-sheet.png").is_file()
    assert run("--inspect", "nothing.zip") == 2
    assert "there is no archive nothing.zip" in capsys.readouterr().err
    assert run("--inspect", "faces.zip", "--resolution", "64") == 2
    assert "--resolution: only for making an archive" in capsys.readouterr().err
    assert run("faces.zip") == 2
    assert "stylegan prepare SOURCE DEST makes an archive" in capsys.readouterr().err
