"""Files of the StyleGAN2 implementation by rosinality (GitHub: rosinality/stylegan2-pytorch).

Such a file is a dictionary of state_dicts: `g_ema`, perhaps `g` and `d`, and where it was converted from weights for TensorFlow
`latent_avg`, the mean of w.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.interop.adapters import take_over
from stylegan.interop.pickled import TensorRecord
from stylegan.models.adapter import Foreign
from stylegan.models.base import Network
from stylegan.models.generator import StyleBased
from stylegan.models.stylegan2_rosinality import LATENT_AVG
from stylegan.models.truncation import MEAN_OF, measure_w_avg

GENERATORS = {"G_ema": "g_ema", "G": "g"}
DISCRIMINATOR = "d"


def is_rosinality(content: Any) -> bool:
    """Whether the content of a file looks like that project's."""
    return isinstance(content, dict) and any(isinstance(content.get(key), dict) for key in GENERATORS.values())


def networks_from_rosinality(
    content: Mapping[str, Any], only_generator: bool = False
) -> tuple[dict[str, Network], list[str]]:
    """Networks by our names (`G_ema`, `G`, `D`; as far as they are there), and what the user should know.

    Args:
        content: Of the file.
        only_generator: One generator alone, `G_ema` if there is one.

    Raises:
        UnreadableError: A tensor is missing, left over, or has another shape; names the first.
    """
    networks: dict[str, Network] = {}
    notes = []
    stored = content.get(LATENT_AVG)
    mean = stored.tensor() if isinstance(stored, TensorRecord) else None
    for ours, theirs in GENERATORS.items():
        if isinstance(content.get(theirs), dict):
            networks[ours] = G = take_over(Foreign(_tensors(content[theirs], theirs), {LATENT_AVG: mean}, theirs))
            if mean is None and isinstance(G, StyleBased):
                measure_w_avg(G)
                notes.append(
                    f"{ours}: the file has no latent_avg; the mean of w for truncation was measured on {MEAN_OF} latents"
                )
            if only_generator:
                return networks, notes
    if isinstance(content.get(DISCRIMINATOR), dict):
        networks["D"] = take_over(Foreign(_tensors(content[DISCRIMINATOR], DISCRIMINATOR), name=DISCRIMINATOR))
    return networks, notes


def _tensors(records: Mapping[Any, Any], name: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key, record in records.items():
        if not isinstance(key, str) or not isinstance(record, TensorRecord):
            raise UnreadableError(f"holds {name}.{str(key)[:60]} as something else than a tensor")
        tensors[key] = record.tensor()
    return tensors
