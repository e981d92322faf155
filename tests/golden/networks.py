"""Networks as a recorded file describes them, for the files that hold both G and D."""

from typing import Any

import torch

from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config
from stylegan.models.discriminator import StyleGAN2Discriminator
from stylegan.models.generator import StyleBased
from stylegan.models.mapping import MappingConfig
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
