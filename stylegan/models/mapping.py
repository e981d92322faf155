"""Mapping network z, c -> w (StyleGAN, section 2; labels as in StyleGAN2-ADA, appendix D), and the truncation trick."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylegan.errors import UserError
from stylegan.models.layers import FullyConnected, normalize_second_moment
from stylegan.ops.update import set_where_finite_
from stylegan.values import COUNT, LAYERS, POSITIVE, SHARE, check_values


@dataclass
class MappingConfig:
    """Options of `MappingNetwork`."""

    num_layers: int = field(default=8, metadata={"help": "fully connected layers", "range": LAYERS})
    hidden_dim: int | None = field(
        default=None, metadata={"help": "features between layers; null = width of w", "range": COUNT}
    )
    embed_dim: int | None = field(
        default=None, metadata={"help": "features of an embedded label; null = width of w", "range": COUNT}
    )
    lr_multiplier: float = field(
        default=0.01, metadata={"help": "learning rate relative to the other layers", "range": POSITIVE}
    )
    w_avg_beta: float = field(
        default=0.998,
        metadata={"help": "decay of the moving average of w, used by truncation", "weights": "alike", "range": SHARE},
    )

    def __post_init__(self) -> None:
        check_values(self, "mapping")


class MappingNetwork(nn.Module):
    """z [N, z_dim] and labels c [N, c_dim] -> ws [N, num_ws, w_dim], or [N, w_dim] with `num_ws=None` (discriminator).

    z and the embedded label are each scaled to a mean square of one, then concatenated.
    """

    w_avg: Tensor

    def __init__(self, config: MappingConfig, *, z_dim: int, c_dim: int, w_dim: int, num_ws: int | None):
        super().__init__()
        self.config = config
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, num_ws
        if z_dim + c_dim < 1:
            raise ValueError("a mapping network needs z or labels")
        embedded = (config.embed_dim or w_dim) if c_dim > 0 else 0
        if c_dim > 0:
            self.embed = FullyConnected(c_dim, embedded)
        hidden = config.hidden_dim or w_dim
        sizes = [z_dim + embedded, *[hidden] * (config.num_layers - 1), w_dim]
        for i in range(config.num_layers):
            layer = FullyConnected(sizes[i], sizes[i + 1], activation="lrelu", lr_multiplier=config.lr_multiplier)
            self.add_module(f"fc{i}", layer)
        if num_ws is not None:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self,
        z: Tensor | None,
        c: Tensor | None = None,
        truncation_psi: float | Tensor = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map and, for `truncation_psi` other than 1, move the first `truncation_cutoff` ws towards `w_avg`.

        Args:
            z: Standard normal [N, z_dim]; None if z_dim is 0.
            c: Labels [N, c_dim]; may be None if c_dim is 0.
            truncation_psi: 0 gives the average, 1 leaves w as it is (StyleGAN, appendix B); a tensor [] where it is to be an
                input of an exported network.
            truncation_cutoff: How many of the ws to truncate; None for all.
        """
        x = self.to_w(z, c)
        if self.num_ws is None:
            return x
        ws = x[:, None].repeat(1, self.num_ws, 1)
        if not isinstance(truncation_psi, Tensor) and truncation_psi == 1:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation_psi), ws[:, cutoff:]], dim=1)

    def to_w(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        """w [N, w_dim]; see `forward`."""
        parts = []
        if self.z_dim > 0:
            parts.append(normalize_second_moment(checked_vectors(z, self.z_dim, "z")))
        if self.c_dim > 0:
            parts.append(normalize_second_moment(self.embed(checked_vectors(c, self.c_dim, "labels c"))))
        x = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        layers = [getattr(self, f"fc{i}") for i in range(self.config.num_layers)]
        gains = [*(layer.input_gain for layer in layers[1:]), 1.0]
        for i, (layer, gain) in enumerate(zip(layers, gains, strict=True)):
            x = layer(x, gain, scaled=i > 0)
        return x

    @torch.no_grad()
    def update_w_avg(self, w_mean: Tensor) -> None:
        """One step of the moving average: w_avg <- lerp(w_mean, w_avg, w_avg_beta), with w_mean [w_dim] of a batch."""
        set_where_finite_(self.w_avg, w_mean.detach().lerp(self.w_avg, self.config.w_avg_beta))


def checked_vectors(x: Tensor | None, features: int, name: str) -> Tensor:
    """Latents or labels [N, features]; raises `UserError` for another shape. `name`: what they are, such as `z`."""
    if x is None or x.ndim != 2 or x.shape[1] != features:
        got = "none" if x is None else str(tuple(x.shape))
        raise UserError(f"the network needs {name} of shape (N, {features}), got {got}")
    return x
