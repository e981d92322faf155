"""Cropping faces as FFHQ does (Karras et al. 2018, "Progressive growing of GANs", appendix C; used again for FFHQ).

A square is laid on the face. With e from the left eye to the right one (as seen in the image) and m from the middle of
the eyes to the middle of the mouth, its horizontal axis has the direction of e - R m, where R turns by 90 degrees: for an
upright face both terms point the same way, and for one turned to the side the mouth steadies what the eyes say. Half its
side is the larger of 2 |e| and 1.8 |m|; its centre lies a tenth of m below the eyes.

Where the square reaches beyond the picture, the picture is mirrored at its edge and blurred the more the farther out.
What this gives is the published geometry, not the published pixels: compare FIDs with FFHQ on its own aligned images.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

_LARGEST = 4096  # pixels of the square's side that are kept before it is scaled


@dataclass(frozen=True)
class FaceSquare:
    """A square in an image, in pixels, whose origin is the corner of the first pixel: its centre, and the vector from it
    to the middle of its right side (x, y)."""

    centre: tuple[float, float]
    half: tuple[float, float]

    @property
    def side(self) -> float:
        """Pixels."""
        return 2 * float(np.hypot(*self.half))


def face_square(landmarks: np.ndarray) -> FaceSquare:
    """The square of the FFHQ convention.

    Args:
        landmarks: [68, 2] in the order of iBUG 300-W (dlib), [5, 2] (eyes, nose, corners of the mouth; left before right
            as seen in the image), or [4, 2] (the same without the nose); x and y of pixels' centres.

    Raises:
        ValueError: Another number of points, or the points coincide.
    """
    left_eye, right_eye, left_mouth, right_mouth = _four_points(np.asarray(landmarks, np.float64) + 0.5)
    eyes = (left_eye + right_eye) / 2
    across, down = right_eye - left_eye, (left_mouth + right_mouth) / 2 - eyes
    direction = across - np.array([-down[1], down[0]])
    length = float(np.hypot(*direction))
    if not length > 0:
        raise ValueError("its landmarks coincide")
    half = direction / length * max(2.0 * float(np.hypot(*across)), 1.8 * float(np.hypot(*down)))
    centre = eyes + 0.1 * down
    return FaceSquare((float(centre[0]), float(centre[1])), (float(half[0]), float(half[1])))


def crop_face(image: Image.Image, landmarks: np.ndarray, side: int) -> Image.Image:
    """The aligned face, a square of at least `side` pixels where the image has so many, to be scaled by `fit_image`.

    Args:
        image: Upright, as `convert_pixels` gives it.
        landmarks: See `face_square`.
        side: Pixels of the square that is wanted.

    Raises:
        ValueError: See `face_square`; or the face lies outside the image.
    """
    square = face_square(landmarks)
    (cx, cy), (hx, hy) = square.centre, square.half
    reach = abs(hx) + abs(hy) + 2  # of the turned square's bounding box, and what bicubic interpolation reads beside it
    left, top = int(np.floor(cx - reach)), int(np.floor(cy - reach))
    right, bottom = int(np.ceil(cx + reach)), int(np.ceil(cy + reach))
    if right <= 0 or bottom <= 0 or left >= image.width or top >= image.height or square.side > 20 * max(image.size):
        raise ValueError("its landmarks lie outside the image")
    region = _extended(image, (left, top, right, bottom), square.side)
    # Cut out at its own scale, so that the chosen filter alone decides how it is made smaller.
    size = int(np.clip(round(square.side), side, max(_LARGEST, side)))
    ax, ay = 2 * hx / size, 2 * hy / size  # one step to the right in the result; one down is (-ay, ax)
    x0, y0 = cx - left - hx + hy, cy - top - hy - hx
    return region.transform((size, size), Image.Transform.AFFINE, (ax, -ay, x0, ay, ax, y0), Image.Resampling.BICUBIC)


def _extended(image: Image.Image, box: tuple[int, int, int, int], side: float) -> Image.Image:
    """A region of an image that may reach beyond it: mirrored there, and blurred over a tenth of the square's side."""
    left, top, right, bottom = box
    outside = (max(-left, 0), max(-top, 0), max(right - image.width, 0), max(bottom - image.height, 0))
    region = image.crop((max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)))
    if not any(outside):
        return region
    pixels = np.asarray(region)
    widths = [(outside[1], outside[3]), (outside[0], outside[2]), (0, 0)][: pixels.ndim]
    padded = Image.fromarray(np.pad(pixels, widths, mode="symmetric"))
    blurred = padded.filter(ImageFilter.GaussianBlur(0.02 * side))
    beyond_x = _beyond(outside[0], region.width, outside[2])
    beyond_y = _beyond(outside[1], region.height, outside[3])
    weight = np.clip(np.maximum(beyond_x[None, :], beyond_y[:, None]) / (0.1 * side), 0, 1)
    return Image.composite(blurred, padded, Image.fromarray((weight * 255).round().astype(np.uint8)))


def _beyond(before: int, within: int, after: int) -> np.ndarray:
    """Along one direction, how many pixels each lies beyond the image."""
    return np.concatenate([np.arange(before, 0, -1), np.zeros(within), np.arange(1, after + 1)]).astype(np.float64)


def _four_points(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The eyes' middles and the mouth's corners."""
    if not np.isfinite(points).all():
        raise ValueError("its landmarks are not all finite")
    if points.shape == (68, 2):
        return points[36:42].mean(0), points[42:48].mean(0), points[48], points[54]
    if points.shape == (5, 2):
        return points[0], points[1], points[3], points[4]
    if points.shape == (4, 2):
        return points[0], points[1], points[2], points[3]
    raise ValueError(f"its landmarks have the shape {list(points.shape)}; give 68, 5 or 4 points of x and y")
