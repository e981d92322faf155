"""What every generator and every discriminator promises: all that training, losses, figures and metrics may rely on.

Base classes, not protocols: whoever trains, moves or saves a network needs `nn.Module` as well, and Python's types have no
name for "a module that also has these". What only some networks have is asked for: `StyleBased` (by `require_w`), `Growing`.
"""

from abc import abstractmethod
from dataclasses import Field
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from stylegan.errors import UserError, nearest
from stylegan.models.layers import Precision

CHANNELS = (1, 3, 4)
NOISE_MODES = ("random", "const", "none")
NetworkT_co = TypeVar("NetworkT_co", bound="Network", covariant=True)


class NetworkConfig(Protocol[NetworkT_co]):
    """The options of a network: a dataclass beside it, of JSON types, enums and dataclasses of these, with defaults.

    The metadata of a field hold its `help`, and perhaps `weights`: "any" where they do not depend on the option, "alike" where
    those trained under another value still mean the same.

    Attributes:
        kind: The name of the architecture, by which files and configurations know it; the same for all instances.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    kind: str

    def build(self, *, resolution: tuple[int, int], channels: int, c_dim: int) -> NetworkT_co:
        """A new network with random weights.

        Args:
            resolution: (H, W) of the images.
            channels: 1, 3 or 4.
            c_dim: Size of a label, 0 for none.

        Raises:
            UserError: A resolution or number of channels that it cannot make.
        """
        ...


class Network(nn.Module):
    """A network and all that is needed to build it again.

    Attributes:
        config: The options that it was built from; each class says which.
        resolution: (H, W) of the images; of a `Growing` network those that it makes in the end.
        channels: 1, 3 or 4.
        c_dim: Size of the labels, 0 for none.
    """

    config: Any

    def __init__(self, config: NetworkConfig[Any], *, resolution: tuple[int, int], channels: int, c_dim: int):
        super().__init__()
        if channels not in CHANNELS:
            raise UserError(
                f"images of {channels} channels cannot be made; convert them to 1 (grey), 3 (RGB) or 4 (RGBA)"
            )
        self.config, self.channels, self.c_dim = config, channels, c_dim
        self.resolution = (int(resolution[0]), int(resolution[1]))


class Generator(Network):
    """z [N, z_dim] and labels [N, c_dim] -> images [N, channels, H, W].

    Attributes:
        z_dim: Size of a latent.
        noise_size: Length of the flat noise of one image: the pixels of all noise layers; 0 for a network without.
        class_names: What its classes are called, in order; empty where its file does not say.
        weights_before: Hashes (`interop.snapshot.weights_sha256`) of the networks from which it was tuned.
    """

    z_dim: int
    noise_size: int = 0
    class_names: tuple[str, ...] = ()
    weights_before: tuple[str, ...] = ()

    @abstractmethod
    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        noise_mode: str = "const",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images of about [-1, 1]. Nothing is drawn from hidden state: the same arguments give the same images.

        Args:
            z: Standard normal [N, z_dim].
            c: Labels [N, c_dim]; may be None if c_dim is 0.
            noise_mode: `const`, the stored noise, the same for all images; `random`; or `none`. All are the same to a network
                without noise.
            noise: For `random`: standard normal [N, noise_size].
            generator: For `random`, instead of `noise`: what draws it.

        Raises:
            UserError: Unknown noise mode, random noise from nowhere, or an argument of another shape.
        """

    def stored_noise(self) -> Tensor:
        """What `noise_mode="const"` adds, in the form of `noise`: [noise_size]."""
        return torch.zeros(self.noise_size, device=next(self.parameters()).device)

    @property
    def precision(self) -> Precision:
        """The format in which convolutions compute."""
        return Precision.fp32

    def set_precision(self, precision: Precision) -> None:
        """Compute in another format than the network was trained in, for instance where fp16 is slow.

        Raises:
            UserError: The network knows no other.
        """
        if precision is not self.precision:
            raise UserError(
                f"precision={precision.value}: a {self.config.kind} network computes in {self.precision.value} only"
            )


class Discriminator(Network):
    """Images [N, channels, H, W] and labels [N, c_dim] -> logits [N, 1]."""

    @property
    def minibatch_group(self) -> int | None:
        """How many images are compared with each other: a batch must be a multiple of it, or smaller. None: the whole batch; 0:
        none are."""
        return 0

    @abstractmethod
    def forward(self, img: Tensor, c: Tensor | None = None, *, batches: int = 1) -> Tensor:
        """Logits [N, 1], positive for real.

        Args:
            img: [N, channels, H, W] in about [-1, 1].
            c: Labels [N, c_dim]; may be None if c_dim is 0.
            batches: Of how many equally large batches these are the images, one after another. Each gets the logits that
                it would get alone: no image is compared with those of another batch.

        Raises:
            UserError: Images of another shape, labels missing, or a batch that the groups of images do not divide.
        """

    @abstractmethod
    def features(self, img: Tensor) -> list[Tensor]:
        """What the blocks make of images [N, channels, H, W], one [N, C, h, w] each, from the image inwards; no image is
        compared with another."""


def noise_for(
    x: Tensor, size: int, noise_mode: str, noise: Tensor | None, generator: torch.Generator | None
) -> Tensor | None:
    """The flat noise that the arguments of `Generator.forward` ask for.

    Args:
        x: Something of the batch [N, ...], whose dtype and device count.
        size: The network's `noise_size`.
        noise_mode, noise, generator: The arguments.

    Returns:
        [N, size] for `random`, else None.

    Raises:
        UserError: See there.
    """
    if noise_mode not in NOISE_MODES:
        raise UserError(f"noise_mode {noise_mode!r} is unknown; {nearest(noise_mode, NOISE_MODES)}")
    if noise_mode != "random":
        if noise is not None or generator is not None:
            raise UserError(
                f"noise_mode={noise_mode!r} needs no noise; choose noise_mode='random' to use what is given"
            )
        return None
    shape = (x.shape[0], size)
    if noise is None and size == 0:
        return x.new_zeros(shape)
    if (noise is None) == (generator is None):
        raise UserError(
            f"noise_mode='random' needs either noise {shape} or generator=torch.Generator(), which draws it: a network by "
            "itself gives the same image again"
        )
    if noise is None:
        assert generator is not None
        noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=generator.device).to(x.device)
    if noise.shape != shape:
        raise UserError(f"noise must be {shape}, got {tuple(noise.shape)}")
    return noise
