"""Pipes, devices and folders are refused by name before anything is read from them."""

import os
import socket
from pathlib import Path

import pytest

from stylegan.errors import UserError
from stylegan.inference import load_generator, resolve_network
from stylegan.interop.convert import convert
from stylegan.interop.networks import read_networks
from stylegan.opening import require_regular_file


def test_files_and_links_to_files_pass(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    for name in "ab":
        require_regular_file(tmp_path / name, "file")


def test_everything_else_is_refused_by_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("socket")
        expected = {
            tmp_path: "it is a folder",
            tmp_path / "fifo": "it is a pipe",
            tmp_path / "zero": "it is a device",
            tmp_path / "socket": "it is a socket",
            tmp_path / "loop": "symbolic links",
            tmp_path / "missing": "there is no network file",
            tmp_path / "file" / "x": "Not a directory",
            tmp_path / "a\0b": "null byte",
            tmp_path / ("x" * 5000): "too long",
            Path("/dev/null"): "it is a device",
        }
        for path, what in expected.items():
            for suffix_asks in (require_regular_file, lambda path, _: read_networks(path)):
                with pytest.raises(UserError, match=what) as caught:
                    suffix_asks(path, "network file")
                assert str(caught.value).isprintable() and len(str(caught.value)) < 400


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".safetensors", ""])
def test_whatever_its_name_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    os.mkfifo(path)
    for read in (load_generator, lambda path: convert(path, tmp_path / "b.pt")):
        with pytest.raises(UserError, match="it is a pipe"):
            read(path)


@pytest.mark.parametrize(
    "name", ["x" * 5000, "/".join(["x"] * 5000), "~nobody-of-this-name/x", "a\0b", "\x1b[31m" * 2000]
)
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_network(name)
    assert "network=" in str(caught.value)
