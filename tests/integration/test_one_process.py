"""One run_dir belongs to one process at a time; a run goes on only with the images it was trained on."""

import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stylegan import run_dir as layout
from stylegan.data.archive import METADATA, ImageDataset
from tests.integration.command import ROOT
from tests.integration.images import write_archive
from tests.integration.test_bad_input import Run, refused, run, short  # noqa: F401 (a fixture)

HOLD = """
import sys, time
from pathlib import Path
from stylegan.run_dir import sole_process
with sole_process(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Another process is in the folder; in the end it is killed, and can free nothing itself."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_the_second_process_in_a_run_dir_is_refused(run: Run, tmp_path: Path) -> None:  # noqa: F811
    archive = write_archive(tmp_path / "noise.zip")
    with held(tmp_path / "run"):
        refused(short(run, archive, "run_dir=run"), "run_dir=run is in use by another process")
        assert [path.name for path in (tmp_path / "run").iterdir()] == [layout.LOCK]
    assert short(run, archive, "run_dir=run").code == 0, "a process that was killed holds nothing"
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with held(tmp_path / "run"):
        refused(run("run_dir=run", "training.kimg=0.016"), "run_dir=run is in use by another process")
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before
    assert run("run_dir=run", "training.kimg=0.016").code == 0


def prepared(path: Path, source: Path, content_hash: str, images: list[int]) -> Path:
    """An archive of some of the pictures of another one that says of itself what it is told to say."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        names = sorted(name for name in old.namelist() if name != METADATA)
        for name, image in zip(names, images, strict=True):
            new.writestr(name, old.read(names[image]))
        info = {"count": len(names), "resolution": [16, 16], "channels": 3, "content_hash": content_hash}
        new.writestr(METADATA, json.dumps({"labels": None, **info}))
    return path


def test_an_archive_that_was_replaced_since_the_checkpoint(run: Run, tmp_path: Path) -> None:  # noqa: F811
    source = write_archive(tmp_path / "source.zip")
    archive, same, swapped = tmp_path / "noise.zip", list(range(20)), [*range(18), 19, 18]
    content_hash = ImageDataset(source).content_hash
    prepared(archive, source, content_hash, same)
    # Without the cache nothing reads the whole archive unless the files differ from those of the checkpoint.
    assert short(run, archive, "data.cache=false").code == 0
    before = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()}
    prepared(archive, source, content_hash, swapped)
    for cache in ("false", "true"):
        refused(
            run("run_dir=runs/debug", "training.kimg=0.016", f"data.cache={cache}"),
            f"{archive} was changed since it was prepared",
            "prepare it again",
        )
    prepared(archive, source, "", swapped)
    refused(run("run_dir=runs/debug", "training.kimg=0.016"), "is not the data set", "content hash")
    assert {p: p.read_bytes() for p in (tmp_path / "runs").rglob("*") if p.is_file()} == before
    with zipfile.ZipFile(prepared(archive, source, content_hash, same), "a") as more:
        more.writestr("README.txt", "other files, the same images")
    result = run("run_dir=runs/debug", "training.kimg=0.016", "data.cache=true")
    assert result.code == 0 and "images come decoded from" in result.err, result.err
