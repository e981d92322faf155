"""Where a face's landmarks come from: a file, or a detector."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stylegan.data.labelling import read_named
from stylegan.data.labels import find_names
from stylegan.errors import UserError, say
from stylegan.opening import nearest_path

Landmarks = Callable[[str, Image.Image], np.ndarray]  # an image's name and the upright image -> [68, 5 or 4, 2]

MTCNN = "mtcnn"
PACKAGE = "facenet_pytorch"  # that holds the detector
# --no-deps: it asks for an older torch than it needs
INSTALL = "pip install --no-deps facenet-pytorch==2.6.0 && pip install requests tqdm"
_STAGES = ("pnet", "rnet", "onet")


def open_landmarks(where: str, names: Sequence[str], option: str = "--align ") -> Landmarks:
    """What finds the landmarks of an image, and raises `ValueError` with the reason where it cannot.

    Args:
        where: A JSON or CSV file of landmarks by image name, FFHQ's JSON file, a list such as CelebA's, `mtcnn`, or
            `mtcnn:FOLDER` with the detector's weights.
        names: The images' names.
        option: By what the user says where, in messages.

    Raises:
        UserError: The file cannot be used, or the detector is not installed.
    """
    if where == MTCNN or where.startswith(f"{MTCNN}:"):
        return _detector(where.partition(":")[2], option)
    return _from_file(Path(where), names, option)


def _from_file(file: Path, names: Sequence[str], option: str) -> Landmarks:
    """JSON: `{name: [[x, y], ...]}`, or FFHQ's. Else a table: a row per image, its name and then x and y of each point."""
    if not file.is_file():
        raise UserError(
            f"{option}{file}: there is no such file{nearest_path(file)}; give landmarks as JSON "
            f"{{image name: [[x, y], ...]}} or CSV, FFHQ's or CelebA's list, or {option}{MTCNN} for a detector"
        )
    found = read_named(file, names, _in_the_wild)
    keys, through = find_names(names, found.values)
    if not any(keys):
        raise UserError(
            f"{option}{file}: none of the {len(names)} images has landmarks there; the first image is {names[0]}: "
            f"{found.nearest(names[0])}"
        )
    if through:
        say(f"names in {file} are looked up {through}")
    key_of = dict(zip(names, keys, strict=True))

    def landmarks(name: str, image: Image.Image) -> np.ndarray:
        key = key_of[name]
        if key is None:
            raise ValueError(f"it has no landmarks in {file}")
        points = found.values[key]
        if isinstance(points, dict):  # FFHQ's
            size = points.get("pixel_size")
            if size != list(image.size):
                raise ValueError(
                    f"it has {image.width}x{image.height} pixels, but its landmarks in {file} belong to FFHQ's picture in the "
                    f"wild, of {size}"
                )
            points = points.get("face_landmarks")
        try:
            return np.asarray(points, np.float64).reshape(-1, 2)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"its landmarks in {file} are not numbers x and y of each point") from None

    return landmarks


def _in_the_wild(data: Any) -> Any:
    """Of FFHQ's JSON file, what belongs to the pictures in the wild, by their names; other content as it is."""
    if (
        not isinstance(data, dict)
        or not data
        or not all(isinstance(v, dict) and "in_the_wild" in v for v in data.values())
    ):
        return data
    pictures = [value["in_the_wild"] for value in data.values()]
    if not all(isinstance(picture, dict) and isinstance(picture.get("file_path"), str) for picture in pictures):
        raise ValueError("a picture in the wild has no file_path in it; get FFHQ's file again")
    return [(picture["file_path"], picture) for picture in pictures]


def _detector(weights: str, option: str) -> Landmarks:
    """MTCNN (Zhang et al. 2016) from the package facenet-pytorch, which holds its weights; the largest face counts."""
    try:
        from facenet_pytorch import MTCNN as Detector  # noqa: N811  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            f"{option}{MTCNN} needs the detector of the package facenet-pytorch: {INSTALL} (--no-deps: it asks for an older "
            "torch than it needs); or give a file of landmarks"
        ) from None
    detector = Detector(select_largest=True)
    for stage in _STAGES if weights else ():
        file = Path(weights) / f"{stage}.pt"
        if not file.is_file():
            raise UserError(
                f"{option}{MTCNN}:{weights}: there is no {file}; give a folder with pnet.pt, rnet.pt and onet.pt (the "
                f"package facenet-pytorch holds them in its folder data), or {option}{MTCNN} for the package's own"
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
