"""Networks as a recorded file describes them, for the files that hold both G and D."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config
from stylegan.models.discriminator import StyleGAN2Discriminator
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig
from stylegan.models.r3gan import R3GANConfig, R3GANDiscriminatorConfig
from stylegan.models.r3gan_public import our_names
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.golden.golden import Golden

STYLEGAN3_OPTIONS = (
    "channel_base", "channel_max", "num_layers", "num_critical", "margin_size", "conv_kernel", "magnitude_ema_beta", "w_dim",
    "z_dim",
)  # fmt: skip


def stylegan3_config(kwargs: dict[str, Any]) -> StyleGAN3Config:
    """Theirs by our names."""
    named = {name: kwargs[name] for name in STYLEGAN3_OPTIONS if name in kwargs}
    mapping = MappingConfig(**kwargs.get("mapping_kwargs", {}))
    return StyleGAN3Config(**named, radial_filters=kwargs.get("use_radial_filters", False), mapping=mapping)


def build_pair(golden: Golden) -> tuple[StyleBased, StyleGAN2Discriminator]:
    """G and D of a file, with its initial weights."""
    g, d = golden.config["G_kwargs"], golden.config["D_kwargs"]
    side = g["img_resolution"]
    common = {"resolution": (side, side), "channels": g["img_channels"], "c_dim": g["c_dim"]}
    stylegan2 = StyleGAN2Config(
        z_dim=g["z_dim"],
        w_dim=g["w_dim"],
        channel_base=g["channel_base"],
        channel_max=g["channel_max"],
        mapping=MappingConfig(**g["mapping_kwargs"]),
    )
    G = (stylegan3_config(g) if golden.config.get("arch") == "sg3" else stylegan2).build(**common)
    D = DiscriminatorConfig(
        channel_base=d["channel_base"],
        channel_max=d["channel_max"],
        minibatch_std_group=d["epilogue_kwargs"]["mbstd_group_size"],
    ).build(
        **common,
    )
    with torch.no_grad():
        golden.load_into(G, "param/G/")
        golden.load_into(D, "param/D/")
    return G, D


def new_r3gan(kwargs: dict[str, Any]) -> Any:
    """An R3GAN network, G or D, of their options; its weights are new."""
    is_G, widths, groups = "NoiseDimension" in kwargs, kwargs["WidthPerStage"], kwargs["CardinalityPerStage"]
    ordered = (widths, groups) if is_G else (widths[::-1], groups[::-1])
    texts = [",".join(map(str, numbers)) for numbers in ordered]
    options: dict[str, Any] = {"widths": texts[0], "groups": texts[1], "expansion": kwargs["ExpansionFactor"]}
    options |= {"blocks": kwargs["BlocksPerStage"][0], "c_embed_dim": kwargs.get("ConditionEmbeddingDimension")}
    config = R3GANConfig(z_dim=kwargs["NoiseDimension"], **options) if is_G else R3GANDiscriminatorConfig(**options)
    side = 4 * 2 ** (len(widths) - 1)
    return config.build(resolution=(side, side), channels=3, c_dim=kwargs.get("ConditionDimension", 0))


def recorded_names(network: Any, theirs: Iterable[str]) -> dict[str, str]:
    """How a file calls the parameters of an R3GAN network, by our names; `theirs`: all names in the file."""
    names = list(theirs)
    places = {name: torch.tensor(i) for i, name in enumerate(names)}
    blocks = [network.config.blocks] * len(network.stage_names)
    return {ours: names[int(place)] for ours, place in our_names(places, network.stage_names, blocks).items()}


def by_our_names(golden: Golden, prefix: str, network: Any) -> dict[str, Tensor]:
    """What a file has under a prefix for the parameters of an R3GAN network, by our names."""
    state = golden.state(prefix)
    return {ours: state[theirs] for ours, theirs in recorded_names(network, state).items()}


def r3gan(golden: Golden, kwargs: dict[str, Any], prefix: str) -> Any:
    """An R3GAN network of a file, with its weights."""
    network = new_r3gan(kwargs)
    network.load_state_dict(by_our_names(golden, prefix, network))
    return network


def r3gan_pair(golden: Golden) -> tuple[Any, Any]:
    """G and D of a file."""
    G, D = (r3gan(golden, golden.config[f"{name}_kwargs"], f"param/{name}/") for name in ("G", "D"))
    return G, D
