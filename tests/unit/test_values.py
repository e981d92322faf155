"""Every number of every configuration knows its range; a text is what can be written down; nothing asks for absurd amounts."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from stylegan.data.loader import DataConfig
from stylegan.errors import UserError
from stylegan.figures.config import GenerateConfig
from stylegan.figures.table import FIGURES
from stylegan.inference import Sampling
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.table import LOSSES
from stylegan.memory import check_memory, total_memory
from stylegan.metrics.runner import Settings
from stylegan.models.build import DISCRIMINATORS, GENERATORS
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.schedule import Ramp, StageConfig
from stylegan.training.config import ModelConfig, TrainConfig, TrainingConfig, resolved
from stylegan.training.memory import check_training_memory
from stylegan.training.watch import MetricsConfig
from stylegan.values import COUNT, DECAY, POSITIVE, SEED, SHARE, Range, check_text, check_values


def configurations() -> list[type[Any]]:
    """All dataclasses that settings stand in."""

    def within(kind: type[Any]) -> Iterator[type[Any]]:
        yield kind
        for hint in get_type_hints(kind).values():
            if is_dataclass(hint):
                yield from within(hint)  # pyright: ignore[reportArgumentType]

    tables = [GENERATORS, DISCRIMINATORS, LOSSES, FIGURES]
    roots = [TrainConfig, GenerateConfig, StageConfig, *(kind for table in tables for kind in table.values())]
    return list(dict.fromkeys(kind for root in roots for kind in within(root)))


def numbers_of(kind: type[Any]) -> dict[str, Any]:
    """Its fields that hold numbers, by name."""
    return {
        f.name: f
        for f in fields(kind)
        if f.metadata.get("schedule") or (re.search(r"\b(int|float)\b", str(f.type)) and "hint" not in str(f.type))
    }


@pytest.mark.parametrize("kind", configurations(), ids=lambda kind: kind.__name__)
def test_every_number_is_finite_and_in_its_range(kind: type[Any]) -> None:
    for name, f in numbers_of(kind).items():
        bound = f.metadata.get("range")
        assert isinstance(bound, Range) and math.isfinite(bound.low) and math.isfinite(bound.high), f"{kind} {name}"
        outside: list[Any] = [
            math.nan,
            math.inf,
            -math.inf,
            10**20,
            -(10**20),
            10**5000,
            bound.low - 1 - abs(bound.low),
        ]
        as_given = [[value] * 4 for value in outside] if "list" in str(f.type) else outside
        if f.metadata.get("schedule"):
            as_given += [{"start": 0, "end": value, "kimg": 1} for value in outside] + [Ramp(0, math.nan, 1)]
        for value in as_given:
            with pytest.raises(UserError, match=name):
                kind(**{name: value})


def test_whole_numbers_stay_whole() -> None:
    with pytest.raises(UserError, match=r"seed=1\.5 is no whole number"):
        TrainConfig(seed=1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match=r"training\.kimg='long' is no number"):
        TrainingConfig(kimg="long")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="batch=True is no number"):
        Sampling(batch=True)
    assert Settings(seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize(
    ("bound", "number", "says"),
    [
        (COUNT, 0, "n=0 must be at least 1"),
        (COUNT, 2**60, "n=1152921504606846976 must be at most 9007199254740992"),
        (POSITIVE, 0.0, "n=0 must be positive"),
        (SHARE, 1.5, "n=1.5 must be from 0 to 1"),
        (DECAY, 1.0, "n=1 must be from 0 to below 1"),
        (SEED, -1, "n=-1 must not be negative"),
        (SHARE, math.nan, "n=nan is no finite number"),
        (SHARE, math.inf, "no finite number"),
    ],
)
def test_a_range_says_what_it_takes(bound: Range, number: float, says: str) -> None:
    with pytest.raises(UserError) as caught:
        bound.check(number, "n")
    assert says in str(caught.value)
    bound.check(bound.high if not bound.below else bound.low, "n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "path is empty"),
        ("x" * 5000, "5000 characters"),
        ("a/" + "ü" * 200 + "/b", "more than 255 bytes"),
        ("b\udcff", "UTF-8"),
        ("a\0b", "UTF-8"),
        ("${oc.env:HOME}/x", "not looked up"),
    ],
)
def test_texts_that_no_setting_can_be(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_text(text, "path")
    with pytest.raises(UserError, match=rf"data\.path.*{says.removeprefix('path ')}"):
        DataConfig(path=text)
    with pytest.raises(UserError, match=r"metrics\.names"):
        MetricsConfig(names=[text])


def test_a_number_without_a_range_is_bounded_by_its_type() -> None:
    @dataclass
    class Mine:
        width: int = 3
        names: list[str] = field(default_factory=lambda: ["a"])

        def __post_init__(self) -> None:
            check_values(self, "mine")

    Mine(5)
    with pytest.raises(UserError, match=r"mine\.width"):
        Mine(10**19)


def test_memory_is_refused_only_where_there_is_too_little() -> None:
    there = total_memory()
    assert there is not None and 2**28 < there < 2**50
    check_memory(there, "pictures", "")
    with pytest.raises(UserError, match=r"pictures take 1\.1 TB of memory at least, and there are 3 GB in all; mend"):
        check_memory(1.1e12, "pictures", "mend", total=3 * 10**9)
    with pytest.raises(UserError, match="more bytes than can be counted"):
        check_memory(math.inf, "pictures", "mend")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": ModelConfig(G=StyleGAN2Config(z_dim=2**32))}, r"44 TB.*mapping\.fc0\.weight \[512, 4294967296\]"),
        ({"model": ModelConfig(G=StyleGAN3Config(w_dim=2**40))}, "model.G. holds inf numbers"),
        ({"model": ModelConfig(D=DiscriminatorConfig(channel_base=2**50, channel_max=2**31))}, "model.D"),
        ({"training": TrainingConfig(batch_size=10**9)}, "1000000000 images of 16x16 at once.*training.batch_size"),
        ({"training": TrainingConfig(grid_images=10**9)}, "training.grid_images"),
        ({"metrics": MetricsConfig(["fid50k"], batch=10**10)}, "metrics.batch"),
    ],
)
def test_absurd_amounts_are_refused_before_anything_is_built(options: dict[str, Any], says: str) -> None:
    shape = {"resolution": (16, 16), "channels": 3, "c_dim": 0}
    config = resolved(TrainConfig(**options), resolution=(16, 16), images=100, ranks=1)
    with pytest.raises(UserError, match=says) as caught:
        check_training_memory(config, shape)
    assert "of memory" in str(caught.value)


def test_networks_of_the_papers_are_not_absurd() -> None:
    shape = {"resolution": (1024, 1024), "channels": 3, "c_dim": 0}
    model = ModelConfig(G=StyleGAN2Config(mapping=MappingConfig(num_layers=8)))
    config = resolved(TrainConfig(model=model, loss=LogisticConfig()), resolution=(1024, 1024), images=100, ranks=1)
    check_training_memory(config, shape)
