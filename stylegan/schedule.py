"""What changes in the course of a training as a function of the image count: ramps of settings, and the stages of growing.

Everything is evaluated once an iteration, before it, and handed down: to who steers the iteration as a `Moment` of plain
numbers, to what runs on the device as a `Now`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.values import COUNT_OR_NONE, FINITE, KIMG_OR_NONE, NOT_NEGATIVE, Range, check_values


class Shape(Enum):
    """The course of a ramp."""

    linear = "linear"
    """A straight line."""
    cosine = "cosine"
    """Half a period of a cosine: level at both ends."""


@dataclass(frozen=True)
class Ramp:
    """A setting that goes from one value to another and stays there.

    Attributes:
        start, end: The values.
        kimg: Length of the way in thousands of images; 0: `end` from the beginning.
        shape: Its course.
    """

    start: float
    end: float
    kimg: float
    shape: Shape = Shape.linear

    def at(self, nimg: int) -> float:
        """The value after `nimg` images."""
        if nimg >= self.kimg * 1000:
            return self.end
        share = nimg / (self.kimg * 1000)
        if self.shape is Shape.cosine:
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share

    def __str__(self) -> str:
        course = "" if self.shape is Shape.linear else f", {self.shape.name}"
        return f"{self.start:g} to {self.end:g} in {self.kimg:g} kimg{course}"


# A setting that may change: its value, or its ramp. OmegaConf, which reads the annotations, knows no union with a dataclass.
if TYPE_CHECKING:
    Schedule = float | Ramp
else:
    Schedule = Any


def largest(schedule: Schedule) -> float:
    """The largest value that a setting has in the course of a training."""
    return max(schedule.start, schedule.end) if isinstance(schedule, Ramp) else schedule


def value_at(schedule: Schedule, nimg: int) -> float:
    """The value of a setting after `nimg` images."""
    return schedule.at(nimg) if isinstance(schedule, Ramp) else schedule


def scheduled(help: str, range: Range = FINITE) -> dict[str, Any]:
    """The metadata of a configuration's field that takes a `Schedule` within a range; `check_schedules` is called when it is
    made."""
    return {"help": f"{help} [or a ramp]", "schedule": True, "range": range}


def check_schedules(config: Any, group: str) -> None:
    """Turn what a person wrote into the schedules of a configuration, in place.

    Args:
        config: The dataclass; its fields marked by `scheduled` hold a number, `{start, end, kimg, shape}`, or None.
        group: Its name on the command line, such as `optim`.

    Raises:
        UserError: Something else, or a value out of its range.
    """
    for f in fields(config):
        value, name = getattr(config, f.name), f"{group}.{f.name}"
        if value is None or not f.metadata.get("schedule"):
            continue
        schedule = _parsed(value, name)
        object.__setattr__(config, f.name, schedule)
        if isinstance(schedule, Ramp):
            KIMG_OR_NONE.check(schedule.kimg, f"{name}.kimg")
        for number in (schedule.start, schedule.end) if isinstance(schedule, Ramp) else (schedule,):
            f.metadata["range"].check(number, name)


def _parsed(value: Any, name: str) -> Schedule:
    how = f"write a number, or a ramp such as '{name}={{start: 1, end: 0, kimg: 100, shape: linear}}'"
    if isinstance(value, Ramp):
        value = vars(value)
    if isinstance(value, Mapping):
        known = [f.name for f in fields(Ramp)]
        if unknown := [key for key in value if key not in known]:
            raise UserError(f"{name}: a ramp has no {unknown[0]}; {how}")
        if missing := [key for key in known[:3] if key not in value]:
            raise UserError(f"{name}: the ramp lacks {', '.join(missing)}; {how}")
        start, end, kimg = (_number(value[key], f"{name}.{key}", how) for key in known[:3])
        shape = value.get("shape", Shape.linear)
        if not isinstance(shape, Shape):
            if not isinstance(shape, str) or shape not in Shape.__members__:
                raise UserError(f"{name}.shape={shape}: choose {' or '.join(Shape.__members__)}")
            shape = Shape[shape]
        return Ramp(start, end, kimg, shape)
    return _number(value, name, how)


def _number(value: Any, name: str, how: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{name}={value} is no finite number; {how}")
    FINITE.check(value, name)
    return float(value)


def schedules_of(config: Any, prefix: str = "") -> dict[str, Schedule]:
    """All schedules of a configuration and of those within it, by their names on the command line.

    Raises:
        ValueError: One of them is still None: the configuration was not resolved.
    """
    found: dict[str, Schedule] = {}
    for f in fields(config):
        value, name = getattr(config, f.name), f"{prefix}{f.name}"
        if f.metadata.get("schedule"):
            if value is None:
                raise ValueError(f"{name} is not resolved")
            found[name] = value
        elif is_dataclass(value):
            found |= schedules_of(value, f"{name}.")
    return found


@dataclass
class StageConfig:
    """One stage of a training that grows; a stage lasts until the next one starts."""

    start_kimg: float = field(default=0.0, metadata={"help": "where it starts", "range": KIMG_OR_NONE})
    resolution: int = field(
        default=0, metadata={"help": "longer side of its images; 0: the data set's", "range": COUNT_OR_NONE}
    )
    fade_kimg: float = field(
        default=0.0, metadata={"help": "in so many kimg what is new in it fades in", "range": KIMG_OR_NONE}
    )
    batch_size: int = field(
        default=0, metadata={"help": "images of an iteration; 0: training.batch_size", "range": COUNT_OR_NONE}
    )
    lr: float = field(
        default=0.0, metadata={"help": "learning rate of G and D; 0: as in optim.", "range": NOT_NEGATIVE}
    )

    def __post_init__(self) -> None:
        check_values(self, "training.stages")


@dataclass(frozen=True)
class Stage:
    """What holds for some iterations of a training.

    Attributes:
        resolution: (H, W) of the images.
        alpha: How much of the stage's new layers counts: from 0, the one before, to 1.
        batch_size: Images of an iteration over all ranks.
        lr: Learning rate of both networks; 0: as the settings say.
    """

    resolution: tuple[int, int]
    alpha: float
    batch_size: int
    lr: float = 0.0

    @property
    def layers(self) -> tuple[tuple[int, int], bool]:
        """All on which it depends what layers work: the resolution, and whether those of the one before do, too."""
        return self.resolution, self.alpha < 1


@dataclass(frozen=True)
class Moment:
    """What holds in one iteration.

    Attributes:
        nimg: Real images shown before it.
        stage: The stage of the training.
        settings: The value of every scheduled setting, by its name on the command line, such as `optim.G_lr`.
    """

    nimg: int
    stage: Stage
    settings: Mapping[str, float]


@dataclass(frozen=True)
class Plan:
    """The course of a training.

    Attributes:
        schedules: Of the settings, by name.
        stages: In order; the first starts at 0. Sizes that are 0 are the constants below.
        repeats: A stage is looked up in every so many iterations and holds in between.
        resolution: (H, W) of the data set.
        batch_size: Images of an iteration where the stage does not say.
        resets: Optimisers forget all where layers begin to fade in, and where they have.
    """

    schedules: Mapping[str, Schedule]
    stages: Sequence[StageConfig]
    repeats: int
    resolution: tuple[int, int]
    batch_size: int
    resets: bool = False

    def __post_init__(self) -> None:
        starts = [stage.start_kimg for stage in self.stages]
        if starts != sorted(set(starts)) or starts[:1] != [0]:
            raise UserError(
                f"training.stages: start_kimg of the stages is {starts}: the first is 0, each other one larger"
            )
        side = max(self.resolution)
        for stage in self.stages:
            size = stage.resolution or side
            factor = side // size
            halved = size * factor == side and factor & (factor - 1) == 0
            if not halved or any(n % factor for n in self.resolution):
                raise UserError(
                    f"training.stages: resolution={stage.resolution} is not the data set's {side}, halved some times"
                )
        sizes = [0, *(stage.resolution or side for stage in self.stages)]
        for number, (stage, before) in enumerate(zip(self.stages, sizes, strict=False)):
            if stage.fade_kimg and (number == 0 or (stage.resolution or side) <= before):
                raise UserError(
                    f"training.stages: fade_kimg={stage.fade_kimg:g} of the stage that starts at {stage.start_kimg:g} kimg: "
                    "only what a stage has beyond the one before it fades in, and that is nothing here"
                )

    def stage(self, nimg: int) -> Stage:
        """The stage after `nimg` images. One that fades in begins when there is something to be seen of it."""
        config = next(
            stage
            for stage in reversed(self.stages)
            if nimg > stage.start_kimg * 1000 or (nimg == stage.start_kimg * 1000 and not stage.fade_kimg)
        )
        fade, since = config.fade_kimg * 1000, nimg - config.start_kimg * 1000
        return Stage(
            self._resolution_of(config),
            min(since / fade, 1.0) if fade > 0 else 1.0,
            config.batch_size or self.batch_size,
            config.lr,
        )

    def stage_of(self, config: StageConfig) -> Stage:
        """What a stage demands at the most: where it fades, the layers of the one before are in use, too."""
        alpha = 0.5 if config.fade_kimg else 1.0
        return Stage(self._resolution_of(config), alpha, config.batch_size or self.batch_size, config.lr)

    def batch_sizes(self) -> set[int]:
        """Of all stages."""
        return {stage.batch_size or self.batch_size for stage in self.stages}

    def resolutions(self) -> set[tuple[int, int]]:
        """Of all stages."""
        return {self._resolution_of(stage) for stage in self.stages}

    def _resolution_of(self, stage: StageConfig) -> tuple[int, int]:
        H, W = self.resolution
        factor = max(H, W) // (stage.resolution or max(H, W))
        return H // factor, W // factor

    def moment(self, nimg: int, stage: Stage) -> Moment:
        """What holds after `nimg` images, while `stage` is held."""
        settings = {name: value_at(schedule, nimg) for name, schedule in self.schedules.items()}
        if stage.lr:
            settings |= {"optim.G_lr": stage.lr, "optim.D_lr": stage.lr}
        return Moment(nimg, stage, settings)

    def iterations(self, nimg: int, stage: Stage | None, held: int) -> Iterator[tuple[int, Stage, int]]:
        """Of every iteration from here on, without end, what is known ahead of time: the image count, the stage, and in how
        many iterations it held before.

        Args:
            nimg: Images so far.
            stage: The one looked up last; None at the beginning of a training.
            held: In how many iterations it held since.
        """
        while True:
            if stage is None or held == self.repeats:
                stage, held = self.stage(nimg), 0
            yield nimg, stage, held
            nimg, held = nimg + stage.batch_size, held + 1

    def batches(self, nimg: int, stage: Stage | None, held: int) -> Iterator[tuple[int, int]]:
        """Image count and batch size of those iterations."""
        return ((count, found.batch_size) for count, found, _ in self.iterations(nimg, stage, held))


@dataclass(frozen=True)
class Now:
    """What the phases of an iteration may know of it.

    What differs from one iteration to the next lies on the device, as scalars float64 [] at addresses that stay: a captured
    graph reads them anew. What is a plain number here may enter shapes and branches; a graph serves as long as it stays.

    Attributes:
        nimg: Real images shown before it.
        resolution: (H, W) of the images.
        batch_size: Images over all ranks.
        alpha: How much of what the stage brings counts; None where nothing fades in.
        settings: The value of every scheduled setting, by its name on the command line, such as `loss.r1_gamma`.
        largest: By the same names a number that the value does not exceed; 0 where that is 0.
    """

    nimg: Tensor
    resolution: tuple[int, int]
    batch_size: int
    alpha: Tensor | None
    settings: Mapping[str, Tensor]
    largest: Mapping[str, float]

    @property
    def shape(self) -> tuple[Any, ...]:
        """All that shapes and branches can depend on."""
        return self.resolution, self.batch_size, self.alpha is None, *self.largest.items()


class Dials:
    """The scalars of a training that `Now` shows.

    Args:
        plan: Of the training.
        alpha: Of its state, see `Now`.
        fixed: Let `largest` hold for the whole course of a setting, so that shapes stay; else for the iteration alone.
    """

    def __init__(self, plan: Plan, alpha: Tensor, *, fixed: bool) -> None:
        names = ["nimg", *plan.schedules]
        self._plan, self._alpha, self._fixed = plan, alpha, fixed
        self._scalars = dict(zip(names, torch.zeros(len(names), dtype=torch.float64, device=alpha.device), strict=True))
        self._shown = dict.fromkeys(names, 0.0)

    def turn(self, now: Moment) -> Now:
        """Let them show what holds now."""
        for name, value in {"nimg": float(now.nimg), **now.settings}.items():
            if value != self._shown[name]:
                self._shown[name] = value
                self._scalars[name].fill_(value)  # travels as an argument of a kernel: nobody waits
        most = {k: max(v, largest(self._plan.schedules[k])) if self._fixed else v for k, v in now.settings.items()}
        scalars, stage = dict(self._scalars), now.stage
        return Now(
            scalars.pop("nimg"),
            stage.resolution,
            stage.batch_size,
            self._alpha if stage.alpha < 1 else None,
            scalars,
            {name: most[name] if value else 0.0 for name, value in now.settings.items()},
        )
