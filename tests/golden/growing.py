"""ProGAN's and StyleGAN1's networks as a recorded file describes them, at one of its stages."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from stylegan.models import progan, stylegan1
from stylegan.models.mapping import MappingConfig
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.progressive import TensorFlowName, by_our_names
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from tests.golden.golden import Golden

UNFUSED = 1 << 20


def names_of(network: Any, *, fused_from: int = UNFUSED) -> list[TensorFlowName]:
    """The table of a network; recorded ones of StyleGAN1 are too small to be fused."""
    if network.config.kind.startswith("stylegan1"):
        return list(stylegan1.tensorflow_names(network, fused_from=fused_from))
    return list(progan.tensorflow_names(network))


def network_of(golden: Golden, kwargs: dict[str, Any], prefix: str, *, fused_from: int = UNFUSED) -> Any:
    """A network of a file, with its weights: every parameter and buffer of ours is there, and the other way round."""
    names = golden.state(prefix)
    sizes = {"channel_base": 2 * kwargs["fmap_base"], "channel_max": kwargs["fmap_max"]}
    is_G = not any(name.startswith("FromRGB") for name in names)
    config: Any
    if not is_G:
        blurs = golden.name.startswith(("sg1", "train_sg1"))
        config = StyleGAN1DiscriminatorConfig(**sizes) if blurs else ProGANDiscriminatorConfig(**sizes)
    elif "mapping_layers" in kwargs:
        mapping = MappingConfig(
            num_layers=kwargs["mapping_layers"], hidden_dim=kwargs["mapping_fmaps"], w_avg_beta=0.995
        )
        config = StyleGAN1Config(z_dim=kwargs["latent_size"], w_dim=kwargs["dlatent_size"], mapping=mapping, **sizes)
    else:
        inputs = names["4x4/Dense/weight"].shape[0]
        config = ProGANConfig(z_dim=inputs - kwargs.get("label_size", 0), **sizes)
    side = kwargs["resolution"]
    network = config.build(resolution=(side, side), channels=3, c_dim=kwargs.get("label_size", 0))
    table = names_of(network, fused_from=fused_from)
    assert {theirs for theirs, _, _ in table} == set(names)
    network.load_state_dict(by_our_names(table, names))
    return network


def set_lod(network: Any, lod: float) -> None:
    """The stage that the papers' code calls so: an image halved so often, and faded towards the next smaller one."""
    level, side = int(lod), network.resolution[0]
    alpha = torch.tensor(1 - (lod - level), dtype=torch.float64) if lod > level else None
    network.set_stage((side >> level,) * 2, alpha)


def enlarged(network: Any, img: Tensor) -> Tensor:
    """An image as the papers' code shows it: always at full size."""
    return interpolate(img, network.resolution, mode="nearest")


def reduced(network: Any, img: Tensor, lod: float) -> Tensor:
    """An image of full size as it enters the layers of a stage."""
    return avg_pool2d(img, 1 << int(lod))


def compare_gradients(golden: Golden, network: Any, prefix: str, gradients: dict[str, Tensor | None]) -> int:
    """Of every parameter with all that the file has under a prefix; how many there are. Without a gradient is zero."""
    table = names_of(network)
    found = {theirs: (layout, ours) for theirs, layout, ours in table}
    keys = golden.state(prefix)
    for theirs, want in keys.items():
        layout, ours = found[theirs]
        gradient = gradients[ours]
        if gradient is None:
            assert not want.any(), theirs
            continue
        golden.assert_close(f"{prefix}{theirs}", _theirs(gradient, want, layout))
    for ours in {ours for theirs, _, ours in table if theirs not in keys} & gradients.keys():
        assert gradients[ours] is None or not keys, ours
    return len(keys)


def _theirs(t: Tensor, like: Tensor, layout: Any) -> Tensor:
    """The inverse of a layout: where every element of `like` went, ours comes from."""
    places = layout.ours(torch.arange(like.numel()).view(like.shape))
    back = torch.empty(like.numel(), dtype=t.dtype)
    back[places.flatten()] = t.detach().flatten()
    return back.view(like.shape)


def gradients_of(network: Any) -> dict[str, Tensor | None]:
    """What backward left, by name; buffers have none."""
    return {name: None if p.grad is None else p.grad.clone() for name, p in network.named_parameters()}


def lods(golden: Golden) -> Iterator[tuple[float, str]]:
    """Those of a file, and what begins the names of what belongs to them."""
    for lod in golden.config["lods"]:
        yield lod, f"out/lod{lod:g}"
