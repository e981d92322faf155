"""Networks as a recorded file describes them, for the files that hold both G and D."""

import torch

from stylegan.models.build import DiscriminatorConfig, StyleGAN2Config, build_discriminator, build_generator
from stylegan.models.discriminator import Discriminator
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import Generator
from tests.golden.golden import Golden


def build_pair(golden: Golden) -> tuple[Generator, Discriminator]:
    """G and D of a file, with its initial weights."""
    g, d = golden.config["G_kwargs"], golden.config["D_kwargs"]
    side = g["img_resolution"]
    common = {"resolution": (side, side), "channels": g["img_channels"], "c_dim": g["c_dim"]}
    G = build_generator(
        StyleGAN2Config(
            z_dim=g["z_dim"],
            w_dim=g["w_dim"],
            channel_base=g["channel_base"],
            channel_max=g["channel_max"],
            mapping=MappingConfig(**g["mapping_kwargs"]),
        ),
        **common,
    )
    D = build_discriminator(
        DiscriminatorConfig(
            channel_base=d["channel_base"],
            channel_max=d["channel_max"],
            minibatch_std_group=d["epilogue_kwargs"]["mbstd_group_size"],
        ),
        **common,
    )
    with torch.no_grad():
        golden.load_into(G, "param/G/")
        golden.load_into(D, "param/D/")
    return G, D
