"""What `pip install` gives: the wheel holds configurations and the embedded head, and works outside of the clone."""

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.command import ROOT


def test_a_wheel_works_outside_of_the_clone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(tmp_path / "site"),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    script = """
import stylegan, sys
from stylegan.files import shipped
assert stylegan.__file__.startswith(sys.argv[1]), stylegan.__file__
assert str(shipped("configs/train.yaml")).startswith(sys.argv[1])
assert shipped("datasets/faces3d/LICENSE-CC0.md").is_file()
assert (shipped("configs").parents[1] / "py.typed").is_file()
assert (shipped("configs").parents[1] / "web" / "static" / "main.js").is_file()
from stylegan.data.faces3d import render_faces
images, attributes = render_faces([0, 1], resolution=16)
assert images.shape == (2, 3, 16, 16) and images.std() > 10 and len(attributes) == 2
from stylegan.inference import Sampling, sample
G = stylegan.load_generator("demo")
assert next(iter(sample(G, [0], Sampling(batch=1)))).shape == (G.channels, *G.resolution)
"""
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-c", script, str(tmp_path / "site")]
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
