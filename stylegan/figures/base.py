"""What a figure is: options and `draw`; what it is asked for, and what it gives.

A new figure is a file with a class derived from `Figure`, and a line in `stylegan.figures.table`.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.page import WIDEST, Lettering, Page
from stylegan.figures.seeds import parse_seeds
from stylegan.figures.sheet import Print, Sheet
from stylegan.inference import Sampling, Seeds
from stylegan.interop.latents import Latents
from stylegan.models.base import Generator
from stylegan.run_dir import is_run_dir
from stylegan.values import Range, at_home, check_values

WIDTH = Range(1, 120)  # cm, of the largest posters
DPI = Range(10, 2400)


@dataclass(frozen=True)
class Request:
    """What a figure shows.

    Attributes:
        seeds: One a latent: whole numbers from 0 to 2^32 - 1, or `Latents` that were kept; what the figure does with them is
            its own.
        sampling: How images are made of the latents.
        progress: Show a progress bar on a terminal's stderr.
        network: What was typed for the network: a figure about a run reads its folder.
        unfinished: The file of the result without its ending, beside which an optimisation keeps what it has so far
            (`latent.unfinished`); None: nowhere.
    """

    seeds: Seeds
    sampling: Sampling = field(default_factory=Sampling)
    progress: bool = False
    network: str | None = None
    unfinished: Path | None = None

    def run_folder(self, figure: str) -> Path:
        """The folder of the run that `network` names; raises `UserError` where it is none."""
        folder = Path(at_home(self.network or ""))
        if self.network is None or not is_run_dir(folder):
            raise UserError(
                f"{figure} is about a run, and network={self.network} is none; give the folder of a run, runs/NAME"
            )
        return folder

    @property
    def named(self) -> str:
        """The first few of the seeds and latents, for a caption."""
        names = [f"seed {item}" if isinstance(item, int) else item.names[0] for item in self.items[:8]]
        return ", ".join(names) + (f" and {len(self.items) - 8} more" if len(self.items) > 8 else "")

    @property
    def items(self) -> list[int | Latents]:
        """The seeds, with each of several `Latents` for itself: one item an image."""
        return [one for item in self.seeds for one in (item if isinstance(item, Latents) else [item])]


@dataclass(frozen=True)
class Picture:
    """A figure that is one picture; a notebook shows it.

    Attributes:
        page: What is drawn.
        facts: What was found out, as JSON types; it goes into the record.
        latents: Of the images, in their order, where the figure keeps them.
        sized: Whether it was laid out for print, so that its file says how many pixels an inch has.
    """

    page: Page
    facts: Mapping[str, Any] = field(default_factory=dict)
    latents: Latents | None = None
    sized: bool = True

    @staticmethod
    def of(image: Image.Image, width_cm: float = 17.0, latents: Latents | None = None) -> "Picture":
        """A picture that is an image and nothing else, in its own mode."""
        page = Page(image.width, image.height, image.width / width_cm * 2.54, mode=image.mode)
        page.image(0, 0, image)
        return Picture(page, latents=latents, sized=False)

    @cached_property
    def image(self) -> Image.Image:
        """As pixels: mode L, RGB or RGBA."""
        return self.page.picture()

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.image.save(content, format="PNG")
        return content.getvalue()


@dataclass(frozen=True)
class Pictures:
    """A figure that is many pictures, of which only a batch is in memory at a time.

    Attributes:
        images: Each with the seed or latent that it was made of. They are drawn as they are asked for, once.
        latents: Finds those of the images, where the figure keeps them.
        facts: What was found out, as JSON types.
    """

    images: Iterator[tuple[int | Latents, Image.Image]]
    latents: Callable[[], Latents] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """A figure that moves, of which only a batch of frames is in memory at a time.

    Attributes:
        count: Its frames, from 0 on.
        frames: The frames of some numbers, in that order, drawn as they are asked for: uint8 [C, H, W], all of one size.
        fps: Frames a second.
        strip: How many of them a film strip shows.
        loops: Whether the last frame precedes the first.
        latents: Of the key frames.
        facts: What was found out, as JSON types.
        still: Draws what stands for it as PNG or PDF; None: a film strip.
        tuned: The network after it was tuned, where it was; its difference from the one before is kept.
        done: What is to be done when all is written.
    """

    count: int
    frames: Callable[[Sequence[int]], Iterator[Tensor]]
    fps: float
    strip: int = 8
    loops: bool = True
    latents: Latents | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    still: Callable[[], Picture] | None = None
    tuned: Generator | None = None
    done: Callable[[], None] = lambda: None


Result = Picture | Pictures | Clip


@dataclass
class Figure(ABC):
    """A kind of figure: a dataclass of its options, which are checked as it is made.

    Options that name seeds or latent files have `"seeds": True` in their metadata; `chosen` reads them.

    Attributes:
        makes: What `draw` gives; from it follows what `out` may be, before anything is drawn.
        keeps: Whether there are latents that `latents=FILE` can keep.
        optimises: Whether its latents are the result of a long search: they are kept without being asked for, and what an
            interruption leaves is, too.
        suffix: Of its file where none is named; empty: the first that it can have.
        truncates: Whether it chooses psi by itself.
    """

    makes: ClassVar[type[Picture] | type[Pictures] | type[Clip]] = Picture
    keeps: ClassVar[bool] = False
    optimises: ClassVar[bool] = False
    suffix: ClassVar[str] = ""
    truncates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_values(self, "figure")
        for option in fields(self):
            if option.metadata.get("seeds") and getattr(self, option.name) is not None:
                self.chosen(option.name)

    def chosen(self, option: str) -> list[int | Latents]:
        """The seeds and latents that an option names; raises `UserError` where it names none, or a file cannot be read."""
        return parse_seeds(getattr(self, option), f"figure.{option}")

    def difference_place(self, out: Path) -> Path | None:
        """Where the difference of a tuned network goes, for a figure that goes to `out`; None: none is tuned."""
        return None

    @abstractmethod
    def draw(self, G: Generator, request: Request) -> Result:
        """Draw. Nothing is written: `stylegan.figures.writing` does.

        Args:
            G: A generator in eval mode.
            request: The latents, and how to make images of them.

        Raises:
            UserError: This network, or what is asked for, cannot make such a figure.
        """


@dataclass
class Printed(Figure):
    """A figure with labels, laid out for print."""

    width_cm: float = field(default=17.0, metadata={"help": "width in print; a column has 8 to 9", "range": WIDTH})
    dpi: float | None = field(
        default=None, metadata={"help": "pixels an inch; null: whole multiples of the images' pixels", "range": DPI}
    )
    labels: bool = field(default=True, metadata={"help": "write what rows, columns and images are"})
    font: str | None = field(default=None, metadata={"help": ".ttf or .otf file for labels in other scripts"})

    def __post_init__(self) -> None:
        super().__post_init__()
        Lettering(self.font)
        if self.dpi is not None and self.width_cm / 2.54 * self.dpi > WIDEST:
            asked = f"figure.width_cm={self.width_cm:g} figure.dpi={self.dpi:g}"
            raise UserError(
                f"{asked}: that is more than {WIDEST} pixels from left to right; choose less of one of them"
            )

    def sheet(self, sheet: Sheet, facts: Mapping[str, Any] | None = None, latents: Latents | None = None) -> Picture:
        """A sheet as a picture of the size that is wanted, without its text where none is wanted."""
        if not self.labels:
            sheet = Sheet(sheet.cells, gap=sheet.gap)
        size = Print(self.width_cm, self.dpi, Lettering(self.font))
        return Picture(sheet.page(size), facts or {}, latents)
