"""Rendered faces that no training saw, and KID against them: what benchmarks of trained networks share."""

import json
import subprocess
import sys
from pathlib import Path

from stylegan.files import atomic_write
from stylegan.metrics.evaluate import evaluate_saved
from stylegan.metrics.runner import Settings

ROOT = Path(__file__).resolve().parents[2]
FEATURES = "mobilenet_v2"


def render(archive: Path, *, side: int, count: int, split: str) -> None:
    """Make an archive of `count` faces of `side` x `side` pixels where it is missing."""
    if not archive.exists():
        faces = ["faces3d", str(archive), f"--resolution={side}", f"--count={count}", f"--split={split}"]
        run("-m", "stylegan.cli", "prepare", *faces)


def run(*arguments: str) -> None:
    """Start Python in the clone's folder, and end with its code where it fails."""
    code = subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode
    if code:
        sys.exit(code)


def kid(network: Path, record: Path, held_out: Path, *, images: int, weights: Path, floor: bool = False) -> float:
    """KID of a network against the held-out faces.

    Args:
        network: A file of a network.
        record: Where what `stylegan evaluate` tells is kept; if it is there, it is read instead.
        held_out: An archive of `render`.
        images: How many are generated.
        weights: The file of MobileNetV2's weights, torchvision's `mobilenet_v2-b0353104.pth`.
        floor: Instead one half of the held-out faces against the other.
    """
    if not record.exists():
        settings = Settings(real_vs_real=floor, weights={FEATURES: weights})
        found = evaluate_saved(str(network), held_out, [f"kid{images}_{FEATURES}"], settings)
        atomic_write(record, json.dumps(found.line))
    (value,) = json.loads(record.read_text())["results"].values()
    return value
