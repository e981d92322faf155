"""What metrics are called: METRIC COUNT [_FEATURES], such as `fid50k` or `kid5k_mobilenet_v2`.

A name without features stands for the networks of the papers: Inception-v3 for fid, kid and is; VGG16 for pr and dc. Another
network is part of the name, since its numbers are other ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stylegan.errors import UserError, nearest
from stylegan.metrics.features import check_feature_name
from stylegan.metrics.metric import Metric
from stylegan.metrics.table import METRICS, check_metric

MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Request:
    """One metric as asked for.

    Attributes:
        name: As written.
        metric: The metric.
        count: How many fakes.
        count_text: As written: `50k`; empty where the name does not say.
        features: The feature network; empty where the metric takes none.
    """

    name: str
    metric: Metric[Any]
    count: int
    count_text: str
    features: str

    def output(self, name: str, features: str | None = None) -> str:
        """The full name of one of the metric's outputs.

        Args:
            name: The output.
            features: What the features turned out to be, for instance with the hash of foreign weights; None: as asked for.
        """
        used = self.features if features is None else features
        return f"{name}{self.count_text}" + (f"_{used}" if used != self.metric.features else "")


def parse(name: str) -> Request:
    """Read one name.

    Raises:
        UserError: It is none; the message proposes the nearest.
    """
    match = re.fullmatch(r"([a-z_]+?)(?:([0-9]{1,15})(k?)(?:_(.+))?)?", name)
    if match is None or match[1] not in METRICS:
        stem = re.split(r"[0-9]", name, maxsplit=1)[0]
        raise UserError(f"there is no metric {name}; {nearest(name, _examples(name[len(stem) :] or '50k'))}")
    metric = check_metric(match[1], METRICS[match[1]], METRICS)
    if match[2] is None and not metric.count:
        raise UserError(f"metric {name}: say how many images, such as {name}50k, or {name}5k where time is short")
    count = int(match[2]) * (1000 if match[3] else 1) if match[2] else metric.count
    if count < metric.least:
        raise UserError(f"metric {name}: {metric.name} needs at least {metric.least} images")
    if count > MOST_IMAGES:
        raise UserError(f"metric {name}: {MOST_IMAGES} images are the most; measure fewer, such as {match[1]}50k")
    if match[4] and not metric.features:
        raise UserError(f"metric {name}: {metric.name} takes no other features; leave out _{match[4]}")
    if match[4]:
        check_feature_name(match[4])
    text = f"{match[2]}{match[3]}" if match[2] else ""
    return Request(name, metric, count, text, match[4] or metric.features)


def parse_all(names: Sequence[str]) -> list[Request]:
    """Read several names, each once, in order. Raises `UserError` for wrong ones, or where there are none."""
    requests = [parse(name) for name in dict.fromkeys(name.strip() for name in names if name.strip())]
    if not requests:
        raise UserError("no metric is named; give some, such as --metrics fid50k,kid50k")
    return requests


def listed() -> list[str]:
    """All metrics for people, one a line: how one is named, and what it tells."""
    return [f"{name}: {metric.help}" for name, metric in zip(_examples("50k"), METRICS.values(), strict=True)]


def _examples(count: str) -> list[str]:
    """A name of every metric, with the count where one is needed."""
    return [name if metric.count else f"{name}{count}" for name, metric in METRICS.items()]
