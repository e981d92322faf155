"""What ADA does with few images: python tests/bench/ada_small_data.py OUT --weights mobilenet_v2-b0353104.pth

Renders 300 faces and 2000 held-out ones of 32x32 pixels, trains the demo's network at that size on the 300 without and with
adaptive augmentation, one after the other, and measures KID of every snapshot against the held-out faces. OUT then holds
`result.json` and `plot.png`: KID and D's sign statistic r_t, which ADA steers by, over the training; `kid/` has a record of
each measurement. Interrupted, it goes on where it was.

The file of weights is torchvision's of that name. With the default length each training takes about 20 minutes on one core
with AVX-512, and each of the 18 measurements about half a minute.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from pathlib import Path
from typing import Any

from held_out import FEATURES, ROOT, kid, render, run
from PIL import Image, ImageDraw, ImageFont

from stylegan import run_dir as layout
from stylegan.files import atomic_write

SIDE = 32
FLOOR = "a half of the held-out faces"
RUNS = {"none": "without augmentation", "ada": "ADA"}
INK, PALE, GRID = (40, 40, 40), (120, 120, 120), (228, 228, 228)
COLOURS = {"none": (110, 125, 145), "ada": (214, 84, 32), "p": (236, 170, 140), "floor": (90, 150, 90)}

Points = list[tuple[float, float]]
"""Values by kimg."""


@dataclass(frozen=True)
class Curve:
    """A line of a panel.

    Attributes:
        label: What the legend says.
        points: Thousands of images and the value there.
        colour: Of the line.
        dots: Whether the points themselves are marked.
    """

    label: str
    points: Points
    colour: tuple[int, int, int]
    dots: bool = False


def main() -> None:
    """Make what is missing, then tell and draw."""
    options = parse(sys.argv[1:])
    options.out.mkdir(parents=True, exist_ok=True)
    few, held_out = options.out / "few.zip", options.out / "held-out.zip"
    render(few, side=SIDE, count=options.images, split="train")
    render(held_out, side=SIDE, count=options.held_out, split="evaluation")
    for kind in RUNS:
        train(few, options.out / "runs" / kind, kind, options)
    kids = {kind: measure(kind, held_out, options) for kind in RUNS}
    asked: dict[str, Any] = {"images": options.held_out, "weights": options.weights}
    trained = layout.snapshots(options.out / "runs" / "none")[-1]
    lowest = kid(trained, options.out / "kid" / "floor.json", held_out, **asked, floor=True)
    result = {"floor": lowest, **{kind: curves(options.out / "runs" / kind, kids[kind]) for kind in RUNS}}
    atomic_write(options.out / "result.json", json.dumps(result, indent=1))
    draw(result, options).save(options.out / "plot.png")
    for kind, name in RUNS.items():
        listed = ", ".join(f"{kimg:g}: {value:.4f}" for kimg, value in result[kind]["kid"])
        print(f"{name}: {result[kind]['seconds'] / 60:.1f} minutes; KID by kimg {listed}")
    print(f"{FLOOR}: {lowest:.4f}; {options.out / 'plot.png'}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for archives, runs, result.json and plot.png")
    parser.add_argument("--weights", type=Path, required=True, help=f"weights of {FEATURES}")
    parser.add_argument("--images", type=int, default=300, help="to train on")
    parser.add_argument("--held-out", type=int, default=2000, help="faces to measure against, and generated ones")
    parser.add_argument("--kimg", type=float, default=72, help="length of each training")
    parser.add_argument("--speed-kimg", type=float, default=30, help="in how many kimg p may go from 0 to 1")
    parser.add_argument("--p-max", type=float, default=0.8, help="bound of p")
    parser.add_argument("--snapshot-kimg", type=float, default=8, help="kimg from one kept network to the next")
    parser.add_argument("--measure-every", type=float, default=8, help="kimg between measured ones, back from the last")
    parser.add_argument("--measure-from", type=float, default=0, help="leave out networks of fewer kimg")
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    return options


def train(data: Path, run_dir: Path, kind: str, options: argparse.Namespace) -> None:
    """Train or go on with training, where that is not done."""
    if layout.snapshot_path(run_dir, round(options.kimg * 1000)).exists():
        return
    every = options.snapshot_kimg
    run(
        str(ROOT / "train.py"),
        *["experiment=demo", f"data.resolution={SIDE}", "loss.r1_gamma=0.1", f"data.path={data}"],
        *[f"run_dir={run_dir}", f"training.kimg={options.kimg}"],
        *[f"training.snapshot_kimg={every}", f"training.checkpoint_kimg={every}", "logging.interval_kimg=0.5"],
        *[f"augment={kind}", f"augment.speed_kimg={options.speed_kimg}", f"augment.p_max={options.p_max}"],
    )


def measure(kind: str, held_out: Path, options: argparse.Namespace) -> Points:
    """KID of the snapshots of a run."""
    points = []
    start, end, every = (round(1000 * kimg) for kimg in (options.measure_from, options.kimg, options.measure_every))
    for snapshot in layout.snapshots(options.out / "runs" / kind):
        images = int(snapshot.stem.rpartition("-")[2])
        if images >= start and (end - images) % every == 0:
            record = options.out / "kid" / f"{kind}-{images / 1000:g}.json"
            value = kid(snapshot, record, held_out, images=options.held_out, weights=options.weights)
            points.append((images / 1000, value))
    return points


def curves(run_dir: Path, kids: Points) -> dict[str, Any]:
    """What the plot shows of a run: KID, r_t and p as pairs of kimg and value; and the seconds that the training took."""
    stats = layout.read_stats(run_dir)
    r_t = [(record["nimg"] / 1000, record["signs/real"]) for record in stats]
    p = [(record["nimg"] / 1000, record["augment/p"]) for record in stats if "augment/p" in record]
    return {"kid": kids, "r_t": r_t, "p": p, "seconds": stats[-1]["elapsed"]}


def smooth(points: Points, width: int = 4) -> Points:
    """Means over neighbouring values: r_t of half a kimg is a mean over few signs."""
    cut = [points[i : i + width] for i in range(0, len(points) - width + 1, width)]
    return [(part[-1][0], sum(value for _, value in part) / width) for part in cut]


def draw(result: dict[str, Any], options: argparse.Namespace) -> Image.Image:
    """The plot: KID on the left, r_t and p on the right."""
    image = Image.new("RGB", (1200, 460), "white")
    title = f"Demo network at {SIDE}x{SIDE}, {options.images} faces3d images, the same seed"
    ImageDraw.Draw(image).text((24, 12), title, INK, ImageFont.load_default(18))
    lowest, end = result["floor"], options.kimg
    kids = [Curve(RUNS[kind], result[kind]["kid"], COLOURS[kind], dots=True) for kind in RUNS]
    kids.append(Curve(f"floor: {FLOOR}", [(0, lowest), (end, lowest)], COLOURS["floor"]))
    panel(image, (0, 44), f"KID against {options.held_out} held-out faces (lower is better)", kids, end)
    signs = [Curve(f"r_t, {RUNS[kind]}", smooth(result[kind]["r_t"]), COLOURS[kind]) for kind in RUNS]
    signs.append(Curve("p of ADA", result["ada"]["p"], COLOURS["p"]))
    signs.append(Curve("target 0.6", [(0, 0.6), (end, 0.6)], PALE))
    panel(image, (600, 44), "r_t, mean sign of D at training images, and p", signs, end)
    return image


def panel(image: Image.Image, corner: tuple[int, int], title: str, lines: Sequence[Curve], kimg: float) -> None:
    """Axes from 0 on, curves and a legend, 600 x 410 pixels from the upper left corner on."""
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    x0, y0, width, height = corner[0] + 70, corner[1] + 36, 500, 320
    top = 1.4 * max(value for curve in lines for _, value in curve.points)  # the legend needs room

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return x0 + width * point[0] / kimg, y0 + height * (1 - max(point[1], 0.0) / top)

    pen.text((x0, corner[1] + 8), title, INK, ImageFont.load_default(14))
    for value in ticks(top):
        _, y = place((0, value))
        pen.line((x0, y, x0 + width, y), GRID)
        pen.text((x0 - 8, y), f"{value:.3g}", PALE, font, anchor="rm")
    for at in ticks(kimg):
        x, _ = place((at, 0))
        pen.line((x, y0, x, y0 + height), GRID)
        pen.text((x, y0 + height + 6), f"{at:.3g}", PALE, font, anchor="ma")
    pen.text((x0 + width, y0 + height + 24), "thousands of images shown to D", PALE, font, anchor="ra")
    for i, curve in enumerate(lines):
        places = [place(point) for point in curve.points]
        pen.line(places, curve.colour, 2, joint="curve")
        for x, y in places if curve.dots else []:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), curve.colour)
        x, y = x0 + 12 + (i // 2) * 240, y0 + 12 + 18 * (i % 2)
        pen.line((x, y, x + 24, y), curve.colour, 3)
        pen.text((x + 32, y), curve.label, INK, font, anchor="lm")


def ticks(top: float) -> list[float]:
    """About five round numbers from 0 to `top`."""
    unit = 10.0 ** floor(log10(top / 5))
    step = next(unit * factor for factor in (1, 2, 5, 10) if top / (unit * factor) <= 8)
    return [i * step for i in range(floor(top / step) + 1)]


if __name__ == "__main__":
    main()
