"""All metrics. A new one is a class in a module of its own, and a line here."""

import re
from collections.abc import Mapping
from typing import Any

from stylegan.metrics.attributes import AttributeDistance
from stylegan.metrics.equivariance import Equivariance, Motion
from stylegan.metrics.fid import FrechetDistance
from stylegan.metrics.inception_score import InceptionScore
from stylegan.metrics.kid import KernelDistance
from stylegan.metrics.leaks import Leaks
from stylegan.metrics.metric import ImageMetric, Metric, NetworkMetric
from stylegan.metrics.ppl import Path, PathLength
from stylegan.metrics.precision_recall import DensityCoverage, PrecisionRecall


def check_metric(name: str, metric: object, others: Mapping[str, Metric[Any]]) -> Metric[Any]:
    """A line of the table, if its class says all that is asked of it.

    Raises:
        TypeError: It does not; the message names both.
    """
    line = f"METRICS[{name!r}]: {type(metric).__name__}"
    if not isinstance(metric, ImageMetric | NetworkMetric):
        raise TypeError(f"{line} is no instance of ImageMetric or NetworkMetric")
    for said in ("name", "help", "outputs"):
        if not getattr(metric, said, None):
            raise TypeError(f"{line} does not say its {said}")
    if metric.name != name or not re.fullmatch(r"[a-z_]*[a-z]", name):
        raise TypeError(f"{line} calls itself {metric.name!r}; both must be the same small letters and underscores")
    for other in others.values():
        if other.name != name and (common := {o.name for o in metric.outputs} & {o.name for o in other.outputs}):
            raise TypeError(f"{line} has the output {min(common)!r} in common with {other.name}")
    if isinstance(metric, ImageMetric) and metric.collected:
        collects, named = (_definer(type(metric), attribute) for attribute in ("collector", "collected"))
        if not issubclass(named, collects):
            raise TypeError(
                f"{line} collects what {named.__name__}.collected does not name: give it a `collected` of its own"
            )
    return metric


def _checked(metrics: dict[str, Metric[Any]]) -> dict[str, Metric[Any]]:
    for name, metric in metrics.items():
        check_metric(name, metric, metrics)
    return metrics


def _definer(cls: type, attribute: str) -> type:
    return next(base for base in cls.__mro__ if attribute in vars(base))


METRICS: dict[str, Metric[Any]] = _checked(
    {
        "fid": FrechetDistance(),
        "kid": KernelDistance(),
        "pr": PrecisionRecall(),
        "dc": DensityCoverage(),
        "is": InceptionScore(),
        "ppl_zfull": PathLength(Path(in_w=False, ends=False, crop=False)),
        "ppl_zfull_crop": PathLength(Path(in_w=False, ends=False, crop=True)),
        "ppl_zend": PathLength(Path(in_w=False, ends=True, crop=False)),
        "ppl_zend_crop": PathLength(Path(in_w=False, ends=True, crop=True)),
        "ppl_wfull": PathLength(Path(in_w=True, ends=False, crop=False)),
        "ppl_wfull_crop": PathLength(Path(in_w=True, ends=False, crop=True)),
        "ppl_wend": PathLength(Path(in_w=True, ends=True, crop=False)),
        "ppl_wend_crop": PathLength(Path(in_w=True, ends=True, crop=True)),
        "eqt": Equivariance("eqt", "equivariance to translation by whole pixels, dB", Motion()),
        "eqt_frac": Equivariance("eqt_frac", "equivariance to any translation, dB", Motion(fraction=True)),
        "eqr": Equivariance("eqr", "equivariance to rotation, dB", Motion(turn=True)),
        "attributes": AttributeDistance(),
        "leaks": Leaks(),
    }
)
