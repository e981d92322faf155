"""Everything that generate.py can be told."""

from dataclasses import dataclass, field
from typing import Any

from stylegan.inference import NoiseMode
from stylegan.models.layers import Precision
from stylegan.ops.backend import SamplingOpsConfig
from stylegan.values import COUNT, COUNT_OR_NONE, FINITE, SEED32, check_values


@dataclass
class GenerateConfig:
    """Everything that generate.py can be told. All fields of `Sampling` are among it, with the same defaults but for psi."""

    network: str = field(
        default="demo",
        metadata={
            "help": "demo, portrait, a run's folder (its newest snapshot), or a file, also a published .pkl or .pt"
        },
    )
    figure: Any = "???"  # one of stylegan.figures.table
    seeds: Any = field(
        default="0-31",
        metadata={
            "help": "one image a seed, from 0 to 2^32 - 1, or latent: 5 or 0-31 or 0-3,me.safetensors,7",
            "seeds": True,
        },
    )
    out: str | None = field(default=None, metadata={"help": "file or folder; null: here, named as the figure"})
    latents: str | None = field(
        default=None, metadata={"help": "keep the images' latents: NAME.safetensors, which may stand for seeds then"}
    )
    overwrite: bool = field(default=False, metadata={"help": "replace what is at `out`, and the JSON beside it"})
    truncation_psi: float | None = field(
        default=None,
        metadata={
            "help": "1: as trained; towards 0: towards the mean face; null: 1, but seeds of StyleGAN1 0.7 in 8 layers",
            "range": FINITE,
        },
    )
    truncation_cutoff: int | None = field(
        default=None, metadata={"help": "truncate only so many first layers; null: all", "range": COUNT_OR_NONE}
    )
    truncation_center: Any = field(
        default=None,
        metadata={"help": "truncate towards the nearest of these seeds or latents; null: the mean face", "seeds": True},
    )
    truncation_clusters: int | None = field(
        default=None,
        metadata={"help": "truncate towards the nearest of so many centres found in W; null: the mean", "range": COUNT},
    )
    noise_mode: NoiseMode = field(default=NoiseMode.const, metadata={"help": "layer noise: const, random or none"})
    noise_seed: int | None = field(
        default=None,
        metadata={
            "help": "noise_mode=random: one seed of the noise of all images; null: each one's own",
            "range": SEED32,
        },
    )
    class_idx: int | str | None = field(
        default=None,
        metadata={
            "help": "class of a conditional network: its number, from 0, or its name; figure=grid: all",
            "range": COUNT_OR_NONE,
        },
    )
    translate: list[float] = field(
        default_factory=lambda: [0.0, 0.0],
        metadata={"help": "StyleGAN3: move the picture right and down, in picture sides: 0.1,0", "range": FINITE},
    )
    rotate: float = field(
        default=0.0, metadata={"help": "StyleGAN3: turn the picture clockwise, in degrees", "range": FINITE}
    )
    precision: Precision | None = field(
        default=None, metadata={"help": "format of the highest resolutions: fp32, bf16 or fp16; null: as trained"}
    )
    batch: int = field(default=16, metadata={"help": "images made at once", "range": COUNT})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    ops: SamplingOpsConfig = field(default_factory=SamplingOpsConfig)
    provenance: bool = field(
        default=True,
        metadata={
            "help": "say in the files and a JSON beside them that they are generated, and how; false: plain files"
        },
    )

    def __post_init__(self) -> None:
        check_values(self)
