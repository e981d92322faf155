"""The styles of all layers of a synthesis network at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stylegan.models.layers import FullyConnected


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
        """`affines`: linear, all of the same gain, with bias."""
        scaled_ws = (ws * affines[0].weight_gain).index_select(1, self.order)
        styles: dict[int, Tensor] = {}
        for group, x in zip(self.groups, scaled_ws.split([len(group) for group in self.groups], dim=1), strict=True):
            w = torch.stack([affines[i].weight for i in group])
            b = torch.stack([b for i in group if (b := affines[i].bias) is not None])
            made = torch.baddbmm(b[:, :, None], w, x.permute(1, 2, 0)).mT.contiguous()  # so gradients lie as weights do
            styles.update(zip(group, made.unbind(), strict=True))
        return tuple(styles[i] for i in range(len(affines)))
