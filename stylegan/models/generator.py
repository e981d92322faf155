"""What all style-based generators have in common: a mapping network, and a synthesis network of some architecture."""

from abc import abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stylegan.errors import UserError, nearest
from stylegan.models.layers import Precision
from stylegan.models.mapping import MappingConfig, MappingNetwork

NOISE_MODES = ("random", "const", "none")


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

    @abstractmethod
    def forward(
        self, ws: Tensor, *, noise_mode: str = "random", noise: Tensor | None = None, track: list[Tensor] | None = None
    ) -> Tensor:
        """Make images of about [-1, 1].

        Args:
            ws: [N, num_ws, w_dim].
            noise_mode: `random`; `const`, the stored noise, the same for all images; or `none`.
            noise: For `random`: unit normal [N, noise_size], sliced layer by layer in order; None draws it.
            track: Receives the mean square of the input of every layer that keeps a moving average of it, which then counts
                it in already. Nothing is stored: `update_magnitudes` does.

        Raises:
            UserError: Unknown noise mode, or ws or noise of another shape.
        """

    @abstractmethod
    def set_precision(self, precision: Precision, reduced_blocks: int) -> None:
        """Choose the format in which the highest resolutions compute; parameters stay as they are."""

    def update_magnitudes(self, magnitudes: Tensor) -> None:
        """One step of the moving averages of layers' mean squares, [num_magnitudes], as `forward` tracked them."""

    def check_inputs(self, ws: Tensor, noise_mode: str, noise: Tensor | None) -> None:
        """Raise a `UserError` for what `forward` cannot use."""
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise UserError(f"the network needs ws of shape (N, {self.num_ws}, w_dim), got {tuple(ws.shape)}")
        if noise_mode not in NOISE_MODES:
            raise UserError(f"noise_mode {noise_mode!r} is unknown; {nearest(noise_mode, NOISE_MODES)}")
        if noise_mode == "random" and noise is not None and noise.shape != (ws.shape[0], self.noise_size):
            raise UserError(f"noise must be {(ws.shape[0], self.noise_size)}, got {tuple(noise.shape)}")


class Generator(nn.Module):
    """Mapping and synthesis network. `config` and the injected dimensions say all that is needed to build it again.

    Attributes:
        resolution: (H, W) of the images.
        channels: 1, 3 or 4.
        z_dim, c_dim, w_dim, num_ws: Sizes of z, labels and w, and number of ws.
    """

    def __init__(
        self,
        config: Any,
        mapping: MappingConfig,
        synthesis: Synthesis,
        *,
        resolution: tuple[int, int],
        channels: int,
        c_dim: int,
    ):
        """`config`: the architecture's options, with at least z_dim, w_dim, precision and reduced_blocks."""
        super().__init__()
        self.config = config
        self.resolution, self.channels = (int(resolution[0]), int(resolution[1])), channels
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = config.z_dim, c_dim, config.w_dim, synthesis.num_ws
        self.synthesis = synthesis
        self.mapping = MappingNetwork(mapping, z_dim=self.z_dim, c_dim=c_dim, w_dim=self.w_dim, num_ws=synthesis.num_ws)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        noise: Tensor | None = None,
    ) -> Tensor:
        """z [N, z_dim], c [N, c_dim] -> images [N, channels, H, W] of about [-1, 1]; options as in the two parts."""
        ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode, noise=noise)

    @torch.no_grad()
    def update_averages(self, means: Tensor) -> None:
        """One step of all moving averages: of w and, where the architecture has such, of layers' magnitudes.

        Args:
            means: [w_dim + num_magnitudes], what was measured on one (micro-)batch.
        """
        w_mean, magnitudes = means.split([self.w_dim, self.synthesis.num_magnitudes])
        self.mapping.update_w_avg(w_mean)
        self.synthesis.update_magnitudes(magnitudes)

    def set_precision(self, precision: Precision) -> None:
        """Compute in another format than the network was trained in, for instance where fp16 is slow."""
        self.config = replace(self.config, precision=precision)
        self.synthesis.set_precision(precision, self.config.reduced_blocks)
