"""What a loss is: phases that declare what they need and get just that; a value per image comes back, and what steers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stylegan.augment.blur import blurred
from stylegan.augment.pipe import Augmentation
from stylegan.models.base import Discriminator, Generator
from stylegan.models.generator import StyleBased
from stylegan.schedule import Now


class Reals(Enum):
    """Which training images of an iteration a phase takes."""

    first = "first"  # those that count as shown
    second = "second"  # as many others


@dataclass(frozen=True)
class Needs:
    """What a phase reads of its batch. What is drawn, and augmented on its way to D, follows from this alone.

    Attributes:
        reals: Training images with their labels, for D; None: none.
        latents: z, labels, layer noise and style mixing for generated images.
        fakes: The same, for generated images that D sees.
        labels_of_reals: Generated images take the labels of the training images.
        mixing_prob: Share of the generated images that take their later layers from a second latent.
        shared_cutoff: All of a batch take as many, or none does.
        constant_noise: Layers take their constant noise.
        path_noise: A random direction for every generated image (path length regularisation).
        mixing_factor: One uniform number an image, to mix a training image with a generated one (WGAN-GP).
        shrink: The phase takes one image of this many.
    """

    reals: Reals | None = None
    latents: bool = False
    fakes: bool = False
    labels_of_reals: bool = False
    mixing_prob: float = 0.0
    shared_cutoff: bool = False
    constant_noise: bool = False
    path_noise: bool = False
    mixing_factor: bool = False
    shrink: int = 1

    def __post_init__(self) -> None:
        if self.labels_of_reals and self.reals is None:
            raise ValueError("labels_of_reals: such a phase needs reals")
        if (self.mixing_prob or self.constant_noise or self.path_noise) and not (self.latents or self.fakes):
            raise ValueError("mixing_prob, constant_noise, path_noise: such a phase needs latents or fakes")
        if not 0 <= self.mixing_prob <= 1 or self.shrink < 1:
            raise ValueError(f"mixing_prob={self.mixing_prob} is from 0 to 1, shrink={self.shrink} at least 1")
        if self.shrink > 1 and (self.reals or self.fakes):
            raise ValueError("shrink: D compares the images of a batch and must see all of them")


_UNDECLARED: Any = object()


class UndeclaredError(RuntimeError):
    """A loss reads what its phase does not declare, or gives something else than it declares."""


@dataclass(frozen=True, repr=False, eq=False)  # both would read what is not declared
class Batch:
    """The images and all random numbers that one phase of one iteration uses, for N images.

    Nothing is drawn inside a loss: a test can inject what it likes, and a batch is the same on one rank or four. Reading what
    the phase does not declare raises an `UndeclaredError`.

    Attributes:
        phase: The phase's name.
        real: Training images [N, C, H, W], float32 in [-1, 1].
        real_c: Their labels [N, c_dim].
        augment_real: What happens to them on their way to D; None: nothing.
        z: Latents [N, z_dim], standard normal.
        c: Labels of the generated images [N, c_dim].
        z_mix: Second latents for style mixing [N, z_dim]; None: nothing is mixed.
        mixing_cutoff: The layer from which an image takes its second latent, int64 [N]; `num_ws` means never.
        constant_noise: Whether layers take their constant noise. If not:
        noise: Layer noise [N, noise_size], standard normal.
        augment_fake: What happens to generated images on their way to D, independently; None: nothing.
        path_noise: Random directions of path length regularisation [N, C, H, W], standard normal.
        mixing_factor: Uniform in [0, 1), [N].
        used: The names that were read.
    """

    phase: str
    real: Tensor = _UNDECLARED
    real_c: Tensor = _UNDECLARED
    augment_real: Augmentation | None = _UNDECLARED
    z: Tensor = _UNDECLARED
    c: Tensor = _UNDECLARED
    z_mix: Tensor | None = _UNDECLARED
    mixing_cutoff: Tensor = _UNDECLARED
    constant_noise: bool = _UNDECLARED
    noise: Tensor = _UNDECLARED
    augment_fake: Augmentation | None = _UNDECLARED
    path_noise: Tensor = _UNDECLARED
    mixing_factor: Tensor = _UNDECLARED
    used: set[str] = field(default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if value is _UNDECLARED:
            raise UndeclaredError(f"{self.phase} reads batch.{name}, which the needs of that phase do not declare")
        if name.startswith("augment_"):
            self.used.add(name)
        return value


@dataclass(frozen=True)
class Networks:
    """The networks that compete.

    Attributes:
        G: The generator.
        D: The discriminator.
        pl_mean: The mean path length so far, a scalar tensor.
        loss_scale: Factor under which gradients pass through the networks, so that small ones do not vanish in float16. A
            penalty multiplies what it differentiates by it and divides the gradient; whoever calls backward does the same.
    """

    G: Generator
    D: Discriminator
    pl_mean: Tensor
    loss_scale: float = 1.0


class LossOutput(NamedTuple):
    """What a loss gives back; it changes nothing itself.

    Attributes:
        loss: Value per image [N]; its mean is minimised.
        stats: Values per image for people, by the name under which they are logged; the progress line shows `loss/G`, `loss/D`
            and `signs/real`.
        signs: Signs of D's logits at training images [N], which ADA follows.
        means: What the moving averages of a style-based generator follow, [w_dim + num_magnitudes].
        pl_mean: The new mean path length.
    """

    loss: Tensor
    stats: dict[str, Tensor]
    signs: Tensor | None = None
    means: Tensor | None = None
    pl_mean: Tensor | None = None


STEERING = ("signs", "means", "pl_mean")
LossFn = Callable[[Networks, Batch, Now], LossOutput]


@dataclass(frozen=True)
class Phase:
    """One part of an iteration.

    Attributes:
        name: Also the name of its random streams.
        network: `G` or `D`: the one that it trains.
        loss: What it minimises.
        needs: What that reads.
        gives: What of `STEERING` it returns.
        interval: It runs in every interval-th iteration, its gradient multiplied by as much.
        then_average: G_ema moves after it; of the phases of a loss exactly one says so.
    """

    name: str
    network: str
    loss: LossFn
    needs: Needs
    gives: tuple[str, ...] = ()
    interval: int = 1
    then_average: bool = False

    def __post_init__(self) -> None:
        if self.network not in ("G", "D"):
            raise ValueError(f"{self.name}: network={self.network!r} must be G or D")
        if not isinstance(self.interval, int) or self.interval < 1:
            raise ValueError(
                f"{self.name}: interval={self.interval!r} must be a whole number of iterations, at least 1"
            )
        if unknown := set(self.gives) - set(STEERING):
            raise ValueError(
                f"{self.name}: gives={self.gives} names {unknown.pop()!r}; there are {', '.join(STEERING)}"
            )


def check_output(phase: Phase, batch: Batch, output: LossOutput) -> None:
    """Raise an `UndeclaredError` where a loss does otherwise than its phase says."""
    for name in STEERING:
        if (name in phase.gives) != (getattr(output, name) is not None):
            raise UndeclaredError(f"{phase.name}: `gives` must name {name} if its loss gives that, and only then")
    for name, shown in (("augment_real", phase.needs.reals is not None), ("augment_fake", phase.needs.fakes)):
        if shown and name not in batch.used:
            raise UndeclaredError(f"{phase.name} never reads batch.{name}: what D sees goes through `seen_by_D`")
    if output.loss.ndim != 1:
        raise UndeclaredError(
            f"{phase.name}: its loss is of shape {list(output.loss.shape)}, not a value per image [N]"
        )


def run_mapping(G: StyleBased, batch: Batch) -> Tensor:
    """Map the latents of a batch to ws [N, num_ws, w_dim], with style mixing (StyleGAN, section 3.1).

    Each image has its own cut-off, so that a batch can be split in any way.
    """
    if batch.z_mix is None:
        return G.mapping(batch.z, batch.c)
    # Both latents in one pass: half the ops, and one gradient for each weight.
    ws, second = G.mapping(torch.cat([batch.z, batch.z_mix]), torch.cat([batch.c, batch.c])).chunk(2)
    keep = torch.arange(ws.shape[1], device=ws.device) < batch.mixing_cutoff[:, None]
    return torch.where(keep[:, :, None], ws, second)


def layer_noise(batch: Batch) -> dict[str, Any]:
    """The noise of a batch, as `Generator.forward` and `Synthesis.forward` take it."""
    return {"noise_mode": "const"} if batch.constant_noise else {"noise_mode": "random", "noise": batch.noise}


def generate(G: Generator, batch: Batch, *, measure: bool = False) -> tuple[Tensor, Tensor | None]:
    """The images [N, C, H, W] of a batch; and with `measure` what G's moving averages follow, see `LossOutput.means`."""
    if not isinstance(G, StyleBased):
        return G(batch.z, batch.c, **layer_noise(batch)), None
    ws, magnitudes = run_mapping(G, batch), []
    images = G.synthesis(ws, track=magnitudes if measure else None, **layer_noise(batch))
    if not measure:
        return images, None
    # The first layer's latent is the one that style mixing never replaces.
    w_mean = ws[:, 0].mean(dim=0)
    return images, torch.cat([w_mean, torch.stack(magnitudes)]) if magnitudes else w_mean


def side_ratio(networks: Networks, now: Now) -> float:
    """How often the side of a stage's images goes into that of the images in the end.

    Penalties on gradients are those by images of the final size, of which D would see the means over squares of pixels: so the
    papers' code trains networks that grow. The gradient by the small image is so many times as long.
    """
    return networks.D.resolution[0] / now.resolution[0]


def seen_by_D(images: Tensor, augmentation: Augmentation | None, now: Now) -> Tensor:
    """What D sees of images [N, C, H, W]: blurred, then augmented, training images and generated ones alike, or G would learn
    what is done to them (Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 2.1)."""
    if largest := now.largest.get("loss.blur_sigma", 0.0):
        images = blurred(images, now.settings["loss.blur_sigma"], largest)
    return images if augmentation is None else augmentation(images)
