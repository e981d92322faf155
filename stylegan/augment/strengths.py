"""Which augmentations of the pipeline are on, how often and how strong: presets and single switches."""

from dataclasses import dataclass, field, fields
from typing import Any

from stylegan.errors import UserError, nearest
from stylegan.values import Range, check_values

GROUPS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
"""The categories of Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data" (ADA), figure 4."""

PRESETS = {
    **{name: (name,) for name in GROUPS},
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
}
"""The categories together, as in ADA, figure 4; `bgc` is what the paper recommends."""

CATEGORIES = tuple(name for names in GROUPS.values() for name in names)
NEED_COLOUR = ("hue", "saturation")


STRENGTH = Range(0, 100)


def _switch(text: str) -> Any:
    help_ = f"{text}: factor for its probability, 0 = off; null = as the preset says"
    return field(default=None, metadata={"help": help_, "range": STRENGTH})


@dataclass(frozen=True)
class Strengths:
    """Factors of the overall probability p by augmentation (0 is off), and how strong each is when it happens.

    The defaults of the strengths are those of ADA, appendix B.
    """

    xflip: float = 0
    rotate90: float = 0
    xint: float = 0
    scale: float = 0
    rotate: float = 0
    aniso: float = 0
    xfrac: float = 0
    brightness: float = 0
    contrast: float = 0
    lumaflip: float = 0
    hue: float = 0
    saturation: float = 0
    imgfilter: float = 0
    noise: float = 0
    cutout: float = 0
    xint_max: float = 0.125
    scale_std: float = 0.2
    rotate_max: float = 1.0
    aniso_std: float = 0.2
    xfrac_std: float = 0.125
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    hue_max: float = 1.0
    saturation_std: float = 1.0
    imgfilter_bands: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    imgfilter_std: float = 1.0
    noise_std: float = 0.1
    cutout_size: float = 0.5

    def factor(self, name: str) -> float:
        """The factor of the probability of one of `stylegan.augment.draws.NAMES`."""
        if name.startswith("imgfilter"):
            return self.imgfilter * self.imgfilter_bands[int(name.removeprefix("imgfilter"))]
        return getattr(self, name.removesuffix("_again"))

    def any_of(self, *groups: str) -> bool:
        """Whether some augmentation of these groups is on."""
        return any(getattr(self, name) > 0 for group in groups for name in GROUPS[group])


@dataclass
class PipeConfig:
    """Options of `AugmentPipe`."""

    preset: str | None = field(
        default="bgc", metadata={"help": f"{', '.join(PRESETS)}; null: only what is switched on below"}
    )
    xflip: float | None = _switch("mirror left and right")
    rotate90: float | None = _switch("quarter turns")
    xint: float | None = _switch("shift by whole pixels")
    scale: float | None = _switch("zoom")
    rotate: float | None = _switch("rotate by any angle")
    aniso: float | None = _switch("stretch in one direction")
    xfrac: float | None = _switch("shift by parts of pixels")
    brightness: float | None = _switch("brightness")
    contrast: float | None = _switch("contrast")
    lumaflip: float | None = _switch("swap dark and bright, keep the hue")
    hue: float | None = _switch("rotate the hue")
    saturation: float | None = _switch("saturation")
    imgfilter: float | None = _switch("amplify or damp bands of frequencies")
    noise: float | None = _switch("noise on every pixel")
    cutout: float | None = _switch("a grey rectangle")
    xint_max: float = field(default=0.125, metadata={"help": "range of xint as a share of the side", "range": STRENGTH})
    scale_std: float = field(default=0.2, metadata={"help": "log2 standard deviation of scale", "range": STRENGTH})
    rotate_max: float = field(default=1.0, metadata={"help": "range of rotate, 1 = full circle", "range": STRENGTH})
    aniso_std: float = field(default=0.2, metadata={"help": "log2 standard deviation of aniso", "range": STRENGTH})
    xfrac_std: float = field(
        default=0.125, metadata={"help": "standard deviation of xfrac as a share of the side", "range": STRENGTH}
    )
    brightness_std: float = field(
        default=0.2, metadata={"help": "standard deviation of brightness; images span 2", "range": STRENGTH}
    )
    contrast_std: float = field(
        default=0.5, metadata={"help": "log2 standard deviation of contrast", "range": STRENGTH}
    )
    hue_max: float = field(default=1.0, metadata={"help": "range of hue, 1 = full circle", "range": STRENGTH})
    saturation_std: float = field(
        default=1.0, metadata={"help": "log2 standard deviation of saturation", "range": STRENGTH}
    )
    imgfilter_bands: list[float] = field(
        default_factory=lambda: [1.0, 1.0, 1.0, 1.0],
        metadata={
            "help": "factors for the probabilities of the four bands, lowest frequencies first",
            "range": STRENGTH,
        },
    )
    imgfilter_std: float = field(
        default=1.0, metadata={"help": "log2 standard deviation of imgfilter", "range": STRENGTH}
    )
    noise_std: float = field(
        default=0.1, metadata={"help": "standard deviation of noise's standard deviation", "range": STRENGTH}
    )
    cutout_size: float = field(
        default=0.5, metadata={"help": "side of the cut-out as a share of the image's", "range": STRENGTH}
    )

    def __post_init__(self) -> None:
        if self.preset is not None and self.preset not in PRESETS:
            raise UserError(f"augment.pipe.preset={self.preset} is unknown; {nearest(self.preset, PRESETS)}")
        check_values(self, "augment.pipe")
        if len(self.imgfilter_bands) != 4:
            raise UserError(
                f"augment.pipe.imgfilter_bands={list(self.imgfilter_bands)} must be four numbers, lowest frequencies first"
            )

    def strengths(self, channels: int) -> Strengths:
        """Preset and switches together, for images of 1, 3 or 4 channels.

        Raises:
            UserError: Nothing is left on, or hue or saturation are asked for by name in grey images (in presets they are
                left out there).
        """
        if channels not in (1, 3, 4):
            raise UserError(f"images of {channels} channels cannot be augmented; convert them to 1, 3 or 4")
        on = {name for group in PRESETS.get(self.preset or "", ()) for name in GROUPS[group]}
        values = {name: float(name in on) for name in CATEGORIES}
        for name in CATEGORIES:
            asked = getattr(self, name)
            if channels == 1 and name in NEED_COLOUR:
                if asked:
                    raise UserError(
                        f"augment.pipe.{name}={asked:g}: images of one channel have no {name}; leave it out"
                    )
                values[name] = 0.0
            elif asked is not None:
                values[name] = float(asked)
        if not any(values.values()):
            raise UserError(
                f"augment.pipe: with preset={self.preset or 'null'} nothing is switched on; choose a preset, switch "
                "something on (augment.pipe.xflip=1), or say augment=none"
            )
        same: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(Strengths) if f.name not in CATEGORIES}
        return Strengths(**{**values, **same, "imgfilter_bands": tuple(self.imgfilter_bands)})
