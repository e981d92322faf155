"""How long an average of G should be: python tests/bench/kid_over_sigma.py RUN OUT --weights mobilenet_v2-b0353104.pth

RUN was trained on faces3d with power-function averages, for instance by
`python train.py data.resolution=32 loss.r1_gamma=0.1 optim.ema_power=[0.01,0.05,0.10]`. Averages of other lengths are made of
what it kept, as by `stylegan average`, and KID of each is measured against 2000 faces that it did not see. OUT then holds
`plot.png`, KID over sigma, and `result.json`. The file of weights is torchvision's of that name.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from held_out import kid, render

from stylegan import run_dir as layout
from stylegan.errors import UserError
from stylegan.figures.axes import Line, Plot
from stylegan.figures.page import Page
from stylegan.files import atomic_write
from stylegan.inference import load_generator
from stylegan.training.rebuild import average

SIGMAS = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.14, 0.2, 0.25)


def main() -> None:
    """Make the averages, measure, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("out", type=Path, help="folder for networks, measurements and plot")
    parser.add_argument("--weights", type=Path, required=True, help="weights of MobileNetV2")
    parser.add_argument("--held-out", type=int, default=2000, help="faces to measure against, and generated ones")
    options = parser.parse_args()
    run, out = options.run, options.out.resolve()
    ordinary = layout.snapshots(run)[-1]
    held_out = out / "held-out.zip"
    out.mkdir(parents=True, exist_ok=True)
    render(held_out, side=load_generator(ordinary).resolution[0], count=options.held_out, split="evaluation")
    asked: dict[str, Any] = {"images": options.held_out, "weights": options.weights}
    usual = kid(ordinary, out / "ordinary.json", held_out, **asked)
    found = {}
    for sigma in SIGMAS:
        network = out / f"sigma-{sigma:g}.safetensors"
        try:
            print(average(run, sigma, network, overwrite=True))
        except UserError as refusal:
            print(refusal)
            continue
        found[sigma] = kid(network, out / f"sigma-{sigma:g}.json", held_out, **asked)
    atomic_write(out / "result.json", json.dumps({"ordinary average": usual, "kid by sigma": found}, indent=1))
    lines = [
        Line("power-function averages", list(found), list(found.values())),
        Line("the ordinary average", [min(found), max(found)], [usual, usual]),
    ]
    page = Page(1400, 700, 200)
    Plot(
        lines, f"{run.name}: KID of its averages", x="sigma, relative to the training", y="KID against held-out faces"
    ).draw(page, 0, 0, page.width, page.height)
    page.picture().save(out / "plot.png")
    print(f"the ordinary average: {usual:.4f}; by sigma: {found}; {out / 'plot.png'}")


if __name__ == "__main__":
    main()
