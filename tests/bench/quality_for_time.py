"""What networks and recipes reach in equal time: python tests/bench/quality_for_time.py OUT --weights mobilenet_v2-b0353104.pth

Each recipe trains for so many minutes on the same faces3d images, in turns of some minutes by exact resume, so that what else
the machine does meets all of them alike. At the end of each turn the network is kept. At last KID of all that was kept is
measured against faces that no training saw. OUT then holds `plot.png` (KID over minutes), `grid.png` (the same seeds of every
network) and `table.md`. Interrupted, it goes on where it was; with more minutes or recipes, it does what is missing.

Without `--recipe` the recipes are this project's networks at 32x32 pixels. Minutes are those of training itself: not of
starting, saving and measuring. The file of weights is torchvision's of that name.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from held_out import ROOT, kid, render
from PIL import Image

from stylegan import run_dir as layout
from stylegan.figures.axes import Line, Plot
from stylegan.figures.page import Page
from stylegan.figures.pixels import to_pixels
from stylegan.figures.sheet import Print, Sheet
from stylegan.files import atomic_write
from stylegan.inference import load_generator, sample
from stylegan.interop.snapshot import read_snapshot

GROWN = (
    "data.count=10000 model.G.z_dim=128 model.G.channel_base=2048 model.G.channel_max=64 model.D.channel_base=2048 "
    "model.D.channel_max=64 optim.G_lr=0.002 optim.D_lr=0.002 optim.reset_at_fades=true training.batch_size=8 "
    "training.stages=[{resolution:8},{start_kimg:10,resolution:16,fade_kimg:5},{start_kimg:25,resolution:32,fade_kimg:5}]"
)
NETWORKS = (
    f"ProGAN: experiment=progan_celebahq256 {GROWN}",
    f"StyleGAN1: experiment=stylegan1_ffhq1024 {GROWN} model.G.w_dim=128 model.G.mapping.num_layers=2 loss.r1_gamma=0.1 "
    "optim.ema_kimg=2.5",
    "StyleGAN2: experiment=demo data.resolution=32 loss.r1_gamma=0.1",
    "StyleGAN3-T: experiment=demo_stylegan3",
    "R3GAN: experiment=demo_r3gan",
)
COLUMNS = 16  # of the grid
ENDLESS = 100_000  # kimg


@dataclass(frozen=True)
class Point:
    """A kept network of a run.

    Attributes:
        minutes: Of training.
        nimg: Images shown to D.
        kid: Against the held-out faces.
    """

    minutes: float
    nimg: int
    kid: float


@dataclass(frozen=True)
class Recipe:
    """What is trained.

    Attributes:
        name: In figure and table.
        overrides: As of `train.py`.
    """

    name: str
    overrides: Sequence[str]

    def run_dir(self, out: Path) -> Path:
        """Where it is trained."""
        return out / "runs" / self.name.lower().replace(" ", "_")


def main() -> None:
    """Train what is missing, measure, then tell and draw."""
    options = parse(sys.argv[1:])
    out, recipes = options.out, [parse_recipe(text) for text in options.recipe or NETWORKS]
    out.mkdir(parents=True, exist_ok=True)
    shown, held_out = out / "faces.zip", out / "held-out.zip"
    render(shown, side=options.side, count=options.images, split="train")
    render(held_out, side=options.side, count=options.held_out, split="evaluation")
    turns = round(options.minutes / options.turn)
    for turn in range(1, turns + 1):
        for recipe in recipes:
            train(recipe, shown, turn * options.turn * 60, options)
    asked: dict[str, Any] = {"images": options.held_out, "weights": options.weights}
    points = {recipe.name: measure(recipe, held_out, out, asked) for recipe in recipes}
    floor = kid(last_network(recipes[0], out), out / "kid" / "floor.json", held_out, **asked, floor=True)
    title = (
        f"{options.title}: {options.minutes:g} minutes each, {options.side}x{options.side} pixels. {options.subtitle}"
    )
    table = as_table(title, recipes, points, floor, out)
    atomic_write(out / "table.md", table)
    draw(title, points).save(out / "plot.png")
    draw_grid(title, recipes, out).save(out / "grid.png")
    print(table)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for archives, runs, figures and table")
    parser.add_argument("--weights", type=Path, required=True, help="weights of MobileNetV2")
    parser.add_argument("--recipe", action="append", help='"NAME: OVERRIDES of train.py", once for each')
    parser.add_argument("--minutes", type=float, default=10, help="of training, for each recipe")
    parser.add_argument("--turn", type=float, default=2.5, help="minutes until the next recipe has its turn")
    parser.add_argument("--side", type=int, default=32, help="pixels of a side; recipes must agree")
    parser.add_argument("--images", type=int, default=10_000, help="to train on")
    parser.add_argument("--held-out", type=int, default=2000, help="faces to measure against, and generated ones")
    parser.add_argument("--title", default="Networks on faces3d", help="of figure and table")
    parser.add_argument("--subtitle", default="Untuned, one seed, CPU; not a ranking.", help="after it")
    options = parser.parse_args(arguments)
    options.out = options.out.resolve()
    return options


def parse_recipe(text: str) -> Recipe:
    """One of the command line."""
    name, colon, overrides = text.partition(":")
    if not colon:
        sys.exit(f'--recipe "{text}": write "NAME: experiment=... other.options=..."')
    return Recipe(name.strip(), overrides.split())


def train(recipe: Recipe, data: Path, seconds: float, options: argparse.Namespace) -> None:
    """Train, or go on with training, until a run is so many seconds old; then it is told to stop and keeps what it has."""
    run_dir = recipe.run_dir(options.out)
    if run_dir.exists() and trained(run_dir) >= seconds:
        return
    settings = [f"data.path={data}", f"run_dir={run_dir}", f"training.kimg={ENDLESS}", "logging.interval_kimg=0.128"]
    settings += [
        f"training.snapshot_kimg={ENDLESS}",
        f"training.checkpoint_kimg={ENDLESS}",
        "training.keep_checkpoints=1",
    ]
    command = [sys.executable, str(ROOT / "train.py"), *recipe.overrides, *settings]
    with subprocess.Popen(command, cwd=ROOT) as process:
        while process.poll() is None and not (run_dir.exists() and trained(run_dir) >= seconds):
            time.sleep(0.5)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    if trained(run_dir) < seconds:
        sys.exit(process.returncode or 1)


def trained(run_dir: Path) -> float:
    """Seconds of training so far."""
    stats = layout.read_stats(run_dir)
    return stats[-1]["elapsed"] if stats else 0.0


def last_network(recipe: Recipe, out: Path) -> Path:
    """What a run kept last."""
    return layout.snapshots(recipe.run_dir(out))[-1]


def measure(recipe: Recipe, held_out: Path, out: Path, asked: dict[str, Any]) -> list[Point]:
    """KID of all that a run kept."""
    points = []
    for snapshot in layout.snapshots(recipe.run_dir(out)):
        made = read_snapshot(snapshot).provenance
        record = out / "kid" / recipe.run_dir(out).name / f"{made['nimg']}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        value = kid(snapshot, record, held_out, **asked)
        points.append(Point(made["seconds"] / 60, made["nimg"], value))
    return [point for point in points if point.nimg]


def as_table(title: str, recipes: Sequence[Recipe], points: dict[str, list[Point]], floor: float, out: Path) -> str:
    """What was measured at the end, as Markdown."""
    lines = [f"{title}", "", "| | parameters of G | images | images/s | KID x 1000 |", "|---|---|---|---|---|"]
    for recipe in recipes:
        last = points[recipe.name][-1]
        G = load_generator(last_network(recipe, out))
        size, speed = sum(p.numel() for p in G.parameters()), last.nimg / last.minutes / 60
        lines.append(f"| {recipe.name} | {size:,} | {last.nimg:,} | {speed:.0f} | {1000 * last.kid:.1f} |")
    lines.append(f"| one half of the held-out faces against the other | | | | {1000 * floor:.2f} |")
    return "\n".join(lines) + "\n"


def draw(title: str, points: dict[str, list[Point]]) -> Image.Image:
    """KID over minutes."""
    lines = [Line(name, [p.minutes for p in run], [p.kid for p in run]) for name, run in points.items()]
    page = Page(1400, 700, 200)
    plot = Plot(lines, title, x="minutes of training", y="KID against held-out faces", log=True)
    plot.draw(page, 0, 0, page.width, page.height)
    return page.picture()


def draw_grid(title: str, recipes: Sequence[Recipe], out: Path) -> Image.Image:
    """The same seeds of every network, as trained."""
    cells = []
    for recipe in recipes:
        G = load_generator(last_network(recipe, out))
        cells.append([to_pixels(image) for image in sample(G, range(COLUMNS))])
    sheet = Sheet(cells, rows=[recipe.name for recipe in recipes], caption=title)
    return sheet.page(Print()).picture()


if __name__ == "__main__":
    main()
