"""Where a face's landmarks come from: a file, or a detector."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylegan.data.labelling import read_labels
from stylegan.errors import UserError
from stylegan.files import nearest_path

Landmarks = Callable[[str, Image.Image], np.ndarray]  # an image's name and the upright image -> [68, 5 or 4, 2]

MTCNN = "mtcnn"
_STAGES = ("pnet", "rnet", "onet")


def open_landmarks(where: str, an_image: str) -> Landmarks:
    """What finds the landmarks of an image, and raises `ValueError` with the reason where it cannot.

    Args:
        where: A JSON or CSV file of landmarks by image name, `mtcnn`, or `mtcnn:FOLDER` with the detector's weights.
        an_image: Some image's name.

    Raises:
        UserError: The file cannot be used, or the detector is not installed.
    """
    if where == MTCNN or where.startswith(f"{MTCNN}:"):
        return _detector(where.partition(":")[2])
    return _from_file(Path(where), an_image)


def _from_file(file: Path, an_image: str) -> Landmarks:
    """JSON: `{name: [[x, y], ...]}`. CSV: a row per image, its name and then x and y of each point."""
    if not file.is_file():
        raise UserError(
            f"--align {file}: there is no such file{nearest_path(file)}; give "
            f"landmarks as JSON {{image name: [[x, y], ...]}} or CSV, or "
            f"--align {MTCNN} for a detector"
        )
    table, _ = read_labels(file, an_image)

    def landmarks(name: str, image: Image.Image) -> np.ndarray:
        if name not in table:
            raise ValueError(f"it has no landmarks in {file}")
        try:
            points = np.asarray(table[name], np.float64)
            return points.reshape(-1, 2)
        except (TypeError, ValueError):
            raise ValueError(f"its landmarks in {file} are not numbers x and y of each point") from None

    return landmarks


def _detector(weights: str) -> Landmarks:
    """MTCNN (Zhang et al. 2016) from the package facenet-pytorch, which holds its weights; the largest face counts."""
    try:
        from facenet_pytorch import MTCNN as Detector  # noqa: N811  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"--align {MTCNN} needs the detector of the package facenet-pytorch: pip install --no-deps "
            "facenet-pytorch==2.6.0 && pip install requests tqdm (--no-deps: it asks for an older torch than it needs); or "
            "give a file of landmarks"
        ) from None
    detector = Detector(select_largest=True)
    for stage in _STAGES if weights else ():
        file = Path(weights) / f"{stage}.pt"
        if not file.is_file():
            raise UserError(
                f"--align {MTCNN}:{weights}: there is no {file}; give a folder with pnet.pt, rnet.pt and onet.pt (the "
                f"package facenet-pytorch holds them in its folder data), or --align {MTCNN} for the package's own"
            )
        getattr(detector, stage).load_state_dict(torch.load(file, weights_only=True))
    lock = threading.Lock()  # torch uses all cores for one image already

    def landmarks(name: str, image: Image.Image) -> np.ndarray:
        with lock:
            _, _, points = detector.detect(image.convert("RGB"), landmarks=True)
        if points is None or len(points) == 0:
            raise ValueError("no face was found in it")
        return np.asarray(points[0], np.float64)

    return landmarks
