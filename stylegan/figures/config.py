"""Everything that generate.py can be told."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from stylegan.models.layers import Precision
from stylegan.ops.backend import SamplingOpsConfig


class NoiseMode(Enum):
    """Where the layer noise of an image comes from."""

    const = "const"
    random = "random"
    none = "none"


@dataclass
class GenerateConfig:
    """Everything that generate.py can be told."""

    network: str = field(
        default="demo",
        metadata={"help": "demo, a run's folder (its newest snapshot), or a file, also a published .pkl or .pt"},
    )
    figure: Any = "???"  # one of the figures' configurations
    seeds: Any = field(default="0-31", metadata={"help": "one image a seed: 0-31, [0,3,7] or 5"})
    out: str | None = field(default=None, metadata={"help": "file or folder; null: FIGURE.png here (images: a folder)"})
    overwrite: bool = field(default=False, metadata={"help": "replace what is at `out`"})
    truncation_psi: float = field(default=1.0, metadata={"help": "1: as trained; towards 0: towards the mean face"})
    truncation_cutoff: int | None = field(
        default=None, metadata={"help": "truncate only so many first layers; null: all"}
    )
    noise_mode: NoiseMode = field(default=NoiseMode.const, metadata={"help": "layer noise: const, random or none"})
    class_idx: int | None = field(default=None, metadata={"help": "class of a conditional network, from 0"})
    translate: list[float] | None = field(
        default=None, metadata={"help": "StyleGAN3: move the picture right and down, in picture sides: [0.1,0]"}
    )
    rotate: float | None = field(default=None, metadata={"help": "StyleGAN3: turn the picture clockwise, in degrees"})
    precision: Precision | None = field(
        default=None, metadata={"help": "format of the highest resolutions: fp32, bf16 or fp16; null: as trained"}
    )
    batch: int = field(default=16, metadata={"help": "images made at once"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda or cuda:N"})
    ops: SamplingOpsConfig = field(default_factory=SamplingOpsConfig)
    provenance: bool = field(
        default=True,
        metadata={"help": "write into the files that they are generated, and how; false: plain files without metadata"},
    )
