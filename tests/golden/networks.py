"""Networks as a recorded file describes them, for the files that hold both G and D."""

from typing import Any

import torch

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


def r3gan(golden: Golden, kwargs: dict[str, Any], prefix: str, *, c_dim: int, resolution: int) -> Any:
    """An R3GAN network of a file, with its weights."""
    is_G, widths, groups = "NoiseDimension" in kwargs, kwargs["WidthPerStage"], kwargs["CardinalityPerStage"]
    ordered = (widths, groups) if is_G else (widths[::-1], groups[::-1])
    texts = [",".join(map(str, numbers)) for numbers in ordered]
    options: dict[str, Any] = {"widths": texts[0], "groups": texts[1], "expansion": kwargs["ExpansionFactor"]}
    options |= {"blocks": kwargs["BlocksPerStage"][0], "c_embed_dim": kwargs.get("ConditionEmbeddingDimension")}
    config = R3GANConfig(z_dim=kwargs["NoiseDimension"], **options) if is_G else R3GANDiscriminatorConfig(**options)
    network = config.build(resolution=(resolution, resolution), channels=3, c_dim=c_dim)
    network.load_state_dict(our_names(golden.state(prefix), network.stage_names, kwargs["BlocksPerStage"]))
    return network


def r3gan_pair(golden: Golden) -> tuple[Any, Any]:
    """G and D of a file."""
    found = []
    for name in ("G", "D"):
        kwargs = golden.config[f"{name}_kwargs"]
        c_dim, side = kwargs.get("ConditionDimension", 0), 4 * 2 ** (len(kwargs["WidthPerStage"]) - 1)
        found.append(r3gan(golden, kwargs, f"param/{name}/", c_dim=c_dim, resolution=side))
    return found[0], found[1]
