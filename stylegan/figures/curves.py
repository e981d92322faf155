"""The figure `curves`: losses, metrics, augmentation and learning rates of a run over kimg."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stylegan import run_dir
from stylegan.errors import UserError
from stylegan.figures.axes import Line, Plot
from stylegan.figures.base import Picture, Printed, Request
from stylegan.figures.page import Lettering, Page
from stylegan.figures.sheet import SHARP
from stylegan.models.base import Generator

_COLUMNS = 2
_HEIGHT = 120.0  # of a plot, in points
# Title, logarithmic, and the statistics of stats.jsonl by the names that they get.
_PANELS: tuple[tuple[str, bool, dict[str, str]], ...] = (
    ("losses", False, {"loss/G": "G", "loss/D": "D"}),
    ("scores of D", False, {"scores/real": "real", "scores/fake": "generated"}),
    ("penalties", True, {"r1_penalty": "R1", "r2_penalty": "R2", "pl_penalty": "path length"}),
    ("norms of gradients", True, {"grad_norm/Gmain": "G", "grad_norm/Dmain": "D"}),
    ("augmentation", False, {"settings/augment.p": "p", "augment/p": "p", "signs/real": "mean sign of D(real)"}),
    ("learning rates", False, {"settings/optim.G_lr": "G", "settings/optim.D_lr": "D"}),
)


@dataclass
class Curves(Printed):
    """A run over kimg: losses, scores, penalties, augmentation, learning rates and metrics.

    `network` is the folder of a run. What the run did not record is left out; each metric gets a plot.

    Example:
        >>> Curves().draw(stylegan.load_generator("runs/demo"), Request([0], network="runs/demo")).image
    """

    def draw(self, G: Generator, request: Request) -> Picture:
        """See `Figure`. Where `network` is no run's folder, or the run recorded nothing yet, it is refused."""
        folder = request.run_folder("figure=curves")
        stats, metrics = run_dir.read_stats(folder), run_dir.read_metrics(folder)
        plots = [plot for title, log, names in _PANELS if (plot := _plot(title, log, names, stats))]
        results = [{"nimg": record["nimg"], **record["results"]} for record in metrics]
        for name in dict.fromkeys(name for record in results for name in record if name != "nimg"):
            plots += [plot] if (plot := _plot(name, False, {name: ""}, results)) else []
        if not plots:
            raise UserError(f"network={request.network}: this run has recorded nothing yet; let it train for a while")
        dpi = self.dpi or SHARP
        width, height = round(self.width_cm / 2.54 * dpi), round(_HEIGHT / 72 * dpi)
        columns = _COLUMNS if self.width_cm > 10 else 1
        page = Page(width, -(-len(plots) // columns) * height, dpi, Lettering(self.font))
        for i, plot in enumerate(plots):
            plot.draw(page, i % columns * width / columns, i // columns * height, width / columns, height)
        return Picture(page, {"records": len(stats), "plots": [plot.title for plot in plots]})


def _plot(title: str, log: bool, names: dict[str, str], records: Sequence[dict[str, Any]]) -> Plot | None:
    """One plot; None where no record has anything of it."""
    lines: list[Line] = []
    for key, name in names.items():
        known = [(record["nimg"] / 1000, _value(record.get(key))) for record in records if key in record]
        if any(math.isfinite(y) and (y > 0 or not log) for _, y in known) and name not in [line.name for line in lines]:
            lines.append(Line(name, [x for x, _ in known], [y for _, y in known]))
    return Plot(lines, title, "kimg", log=log) if lines else None


def _value(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
