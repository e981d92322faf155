"""What all style-based generators have in common: a mapping network, and a synthesis network of some architecture."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.models.base import Generator, NetworkConfig, noise_for
from stylegan.models.layers import FullyConnected, Precision
from stylegan.models.mapping import MappingConfig, MappingNetwork
from stylegan.ops.affine import affine


class Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> images [N, channels, H, W]; an architecture is a class derived from it.

    Attributes:
        num_ws: How many ws it takes.
        noise_size: Length of the flat noise of one image: the pixels of all noise layers, 0 where there are none.
        num_magnitudes: How many means of squares it tracks, see `forward`; 0 where it does not.
    """

    num_ws: int
    noise_size: int
    num_magnitudes: int = 0

    @property
    @abstractmethod
    def style_maps(self) -> list[FullyConnected]:
        """The affine map that makes a style of each of the ws; where one makes several styles, that of its convolution."""

    @property
    def noise_shapes(self) -> list[tuple[int, int]]:
        """(H, W) of the noise of each layer, in the order of the flat noise; none where there is no noise."""
        return []

    @property
    def placing_ws(self) -> range:
        """Which of the ws turn and move the whole picture, rather than say how it looks; the first few, or none."""
        return range(0)

    @property
    def style_ranges(self) -> dict[str, range]:
        """What papers call `coarse`, `middle` and `fine`: which of the ws; only those that there are."""
        return {}

    @abstractmethod
    def forward(
        self,
        ws: Tensor,
        *,
        noise_mode: str = "const",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
        track: list[Tensor] | None = None,
    ) -> Tensor:
        """Make images of about [-1, 1].

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode, noise, generator: As of `Generator.forward`. Noise is sliced layer by layer in order.
            track: Receives the mean square of the input of every layer that keeps a moving average of it, which then counts
                it in already. Nothing is stored: `update_magnitudes` does.

        Raises:
            UserError: As `Generator.forward`, or ws of another shape.
        """

    @abstractmethod
    def set_precision(self, precision: Precision, reduced_blocks: int) -> None:
        """Choose the format in which the highest resolutions compute; parameters stay as they are."""

    def update_magnitudes(self, magnitudes: Tensor) -> None:
        """One step of the moving averages of layers' mean squares, [num_magnitudes], as `forward` tracked them."""

    def stored_noise(self) -> Tensor:
        """See `Generator.stored_noise`."""
        return torch.zeros(self.noise_size, device=next(self.parameters()).device)

    def checked_noise(
        self, ws: Tensor, noise_mode: str, noise: Tensor | None, generator: torch.Generator | None
    ) -> Tensor | None:
        """The noise to use, see `noise_for`; raises a `UserError` for what `forward` cannot use."""
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise UserError(f"the network needs ws of shape (N, {self.num_ws}, w_dim), got {tuple(ws.shape)}")
        return noise_for(ws, self.noise_size, noise_mode, noise, generator)


class Styles(nn.Module):
    """Styles of all layers: ws [N, num_ws, w_dim] -> [N, I] for each, those of equal length by one matrix product.

    On small networks an op takes longer to start than to run. The affine maps belong to their layers and are handed in.
    """

    order: Tensor

    def __init__(self, lengths: Sequence[int], uses: Sequence[int]):
        """The length of each style, and which of the ws it is made of."""
        super().__init__()
        self.groups = [[i for i, n in enumerate(lengths) if n == length] for length in dict.fromkeys(lengths)]
        order = torch.tensor([uses[i] for group in self.groups for i in group])
        self.register_buffer("order", order, persistent=False)

    def forward(self, ws: Tensor, affines: Sequence[FullyConnected]) -> tuple[Tensor, ...]:
        """`affines`: linear, all of the same gains, with bias."""
        ordered = [affines[i] for group in self.groups for i in group]
        sizes = [sum(affines[i].weight.shape[0] for i in group) for group in self.groups]
        ws = (ws * affines[0].input_gain).index_select(1, self.order).transpose(0, 1)
        weights = torch.cat([affine.weight for affine in ordered]).split(sizes)
        biases = torch.cat([b for affine in ordered if (b := affine.bias) is not None]).split(sizes)
        styles: dict[int, Tensor] = {}
        for group, x, w, b in zip(
            self.groups, ws.split([len(group) for group in self.groups]), weights, biases, strict=True
        ):
            made = affine(x, w.unflatten(0, (len(group), -1)), b.unflatten(0, (len(group), 1, -1)))
            styles.update(zip(group, made.unbind(), strict=True))
        return tuple(styles[i] for i in range(len(affines)))


class StyleConfig(NetworkConfig["StyleBased"], Protocol):
    """The options that every style-based generator has."""

    z_dim: int
    w_dim: int
    precision: Precision
    reduced_blocks: int
    mapping: MappingConfig


class StyleBased(Generator):
    """Mapping and synthesis network: z, c -> w -> images. Truncation, style mixing, path lengths and directions need w.

    Attributes:
        w_dim, num_ws: Size of w, and number of ws.
        mapping: z, c -> ws [N, num_ws, w_dim]; keeps the mean of w.
        synthesis: ws -> images.
        picture_truncation: psi and cutoff with which its paper shows pictures, unless it says another.
    """

    config: StyleConfig
    mapping_class: type[MappingNetwork] = MappingNetwork
    picture_truncation: tuple[float, int | None] = (1.0, None)

    def __init__(
        self, config: StyleConfig, synthesis: Synthesis, *, resolution: tuple[int, int], channels: int, c_dim: int
    ):
        super().__init__(config, resolution=resolution, channels=channels, c_dim=c_dim)
        self.z_dim, self.w_dim = config.z_dim, config.w_dim
        self.num_ws, self.noise_size = synthesis.num_ws, synthesis.noise_size
        self.synthesis = synthesis
        self.mapping = self.mapping_class(
            config.mapping, z_dim=self.z_dim, c_dim=c_dim, w_dim=self.w_dim, num_ws=self.num_ws
        )

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See `Generator`; truncation as in `MappingNetwork.forward`."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode, noise=noise, generator=generator)

    @torch.no_grad()
    def update_averages(self, means: Tensor) -> None:
        """One step of all moving averages: of w and, where the architecture has such, of layers' magnitudes.

        Args:
            means: [w_dim + num_magnitudes], what was measured on one (micro-)batch.
        """
        w_mean, magnitudes = means.split([self.w_dim, self.synthesis.num_magnitudes])
        self.mapping.update_w_avg(w_mean)
        self.synthesis.update_magnitudes(magnitudes)

    def stored_noise(self) -> Tensor:
        """See `Generator`."""
        return self.synthesis.stored_noise()

    @property
    def precision(self) -> Precision:
        """The format in which convolutions compute."""
        return self.config.precision

    def set_precision(self, precision: Precision) -> None:
        """See `Generator`; style-based ones know all."""
        self.config = replace(self.config, precision=precision)
        self.synthesis.set_precision(precision, self.config.reduced_blocks)


def require_w(G: Generator, what: str, instead: str) -> StyleBased:
    """The generator as one that has w.

    Args:
        G: Any generator.
        what: What needs w, as the beginning of a sentence: `style mixing`.
        instead: What to set to do without: `loss.style_mixing_prob=0`.

    Raises:
        UserError: It has none.
    """
    if not isinstance(G, StyleBased):
        raise UserError(f"{what} needs a network with w; {G.config.kind} has none: {instead}")
    return G
