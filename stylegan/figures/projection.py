"""The figure `projection`: pictures of one's own as latents of a network, which may be tuned to show them still better."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from stylegan.errors import UserError, nearest, refusal, say
from stylegan.figures.base import Clip, Picture, Printed, Request
from stylegan.figures.optimising import optimise
from stylegan.figures.pixels import side_by_side, to_pixels
from stylegan.figures.sheet import Sheet
from stylegan.files import sha256
from stylegan.inference import adjusted, class_label, render, resolve_network
from stylegan.interop.companions import find_discriminator
from stylegan.interop.difference import add, difference, network_name
from stylegan.interop.latents import Latents, join
from stylegan.interop.snapshot import weights_sha256
from stylegan.latent.distance import Distance, Measure, choose_distance, psnr
from stylegan.latent.photographs import find_photographs, read_photographs
from stylegan.latent.projection import Schedule, Space
from stylegan.latent.search import Found, Search, SearchOptions, moved
from stylegan.latent.tuning import Locality, Tuning, published_options
from stylegan.latent.unfinished import Unfinished
from stylegan.memory import check_images
from stylegan.models.base import Discriminator, Generator
from stylegan.models.generator import StyleBased
from stylegan.values import COUNT, POSITIVE, Range, at_home

OTHERS = 100  # seeds whose pictures tell how far tuning moved all others


class Tune(StrEnum):
    """What is tuned besides the latent."""

    none = "none"
    pivotal = "pivotal"


@dataclass(frozen=True)
class _Tuned:
    """What tuning came to: the network as its difference will give it again, raw (`weights`) and rounded (`G`)."""

    weights: Generator
    G: Generator
    distances: list[float]
    others: tuple[float, float]
    note: str


@dataclass
class Projection(Printed):
    """Pictures of your own as latents of the network: a latent file, which stands wherever a seed does.

    Each picture is searched for in W (one w for all layers), W+ (`figure.space=w+`: nearer to it, but harder to edit) or z.
    `figure.tune=pivotal` then changes the network itself a little, so that it shows the picture still better, and keeps
    the change in a small file: `network=NET+me.tuned.safetensors`. As PNG or PDF it is a sheet, as MP4, GIF or WebP the way
    there. What is interrupted goes on by the same command.

    Example:
        >>> clip = Projection(pictures=["me.png"]).draw(stylegan.load_generator("demo"), Request([0]))
        >>> clip.still().image, clip.latents
    """

    makes: ClassVar = Clip
    keeps: ClassVar = True
    suffix: ClassVar = ".png"
    optimises: ClassVar = True
    pictures: list[str] = field(default_factory=list, metadata={"help": "files, or folders of them: me.jpg,you.png"})
    space: str | None = field(default=None, metadata={"help": "w, w+ or z; null: w, z for networks without w"})
    steps: int = field(default=1000, metadata={"help": "of the search", "range": Range(2, 1_000_000)})
    starts: int = field(default=1, metadata={"help": "how many are followed; the best counts", "range": Range(1, 1000)})
    noise: bool = field(default=False, metadata={"help": "look for the layer noise, too, as the paper does"})
    distance: Measure = field(
        default=Measure.auto,
        metadata={"help": "vgg16, discriminator or pixels; auto: the first that is at hand"},
    )
    align: bool = field(default=False, metadata={"help": "cut out the face, as FFHQ was aligned"})
    landmarks: str = field(
        default="mtcnn", metadata={"help": "of figure.align: a file, or the detector (see stylegan prepare --align)"}
    )
    tune: Tune = field(default=Tune.none, metadata={"help": "pivotal: tune the network around what was found"})
    tuned: str | None = field(
        default=None, metadata={"help": "where the change goes; null: beside out, NAME.tuned.safetensors"}
    )
    tune_steps: int = field(default=350, metadata={"help": "of tuning", "range": COUNT})
    tune_lr: float = field(default=3e-4, metadata={"help": "of tuning", "range": POSITIVE})
    locality: bool = field(default=False, metadata={"help": "tuning leaves pictures of latents around as they are"})
    frames: int = field(default=150, metadata={"help": "of a clip", "range": Range(2, 100_000)})
    fps: float = field(default=30.0, metadata={"help": "frames a second", "range": POSITIVE})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space is not None and self.space not in list(Space):
            raise UserError(f"figure.space={self.space}: {nearest(self.space, [space.value for space in Space])}")
        if self.tuned is not None and self.tune is Tune.none:
            raise UserError(f"figure.tuned={self.tuned} needs figure.tune=pivotal: nothing is tuned")
        if self.tuned is not None and Path(self.tuned).suffix != ".safetensors":
            raise UserError(f"figure.tuned={self.tuned}: give it a name that ends in .safetensors")

    def difference_place(self, out: Path) -> Path | None:
        """See `Figure`."""
        if self.tune is Tune.none:
            return None
        return out.with_suffix(".tuned.safetensors") if self.tuned is None else Path(at_home(self.tuned))

    def draw(self, G: Generator, request: Request) -> Clip:
        """See `Figure`. Pictures that cannot be read, and what this network does not have, are refused."""
        paths, space = self._checked(G, request)
        check_images(len(paths) * 4, G.channels, G.resolution, "number of figure.pictures")
        targets = read_photographs(paths, G.resolution, G.channels, self.landmarks if self.align else None)
        distance = choose_distance(
            self.distance, self._discriminator(request), G.resolution, next(G.parameters()).device
        )
        network = "" if request.network is None else network_name(resolve_network(request.network))
        kept = Unfinished(request.unfinished, self._command(G, request, targets, paths, distance))
        state = kept.read() or {"found": [], "search": None, "tuning": None}
        with adjusted(G, request.sampling):
            found = self._search(G, targets, paths, distance, space, request, kept, state, network)
            latents = join([item.latents for item in found])
            tuned = None
            if self.tune is Tune.pivotal:
                tuned = self._tune(G, targets, latents, distance, request, kept, state, network)
        before = torch.stack(list(render(G, latents, request.sampling)))
        after = None if tuned is None else torch.stack(list(render(tuned.G, latents, request.sampling)))
        facts = self._facts(found, targets, before, after, distance, space, tuned)
        ways = [item.way for item in found]
        count = len(ways[0]) + max(round(self.fps), 1)

        def frames(indices: Sequence[int]) -> Iterator[Tensor]:
            return _frames(G, ways, targets, before if after is None else after, indices, request)

        def still() -> Picture:
            return self._sheet(facts, targets, before, after)

        return Clip(
            count,
            frames,
            self.fps,
            loops=False,
            latents=latents,
            facts=facts,
            still=still,
            tuned=None if tuned is None else tuned.weights,
            done=kept.forget,
        )

    def _checked(self, G: Generator, request: Request) -> tuple[list[Path], Space]:
        """The files and the space; raises `UserError` for what does not go together."""
        if not self.pictures:
            raise UserError("figure.pictures: name a picture to look for, such as figure.pictures=me.jpg")
        sampling = request.sampling
        if sampling.truncation_psi not in (None, 1) or sampling.noise_mode != "const":
            raise UserError(
                "figure=projection looks for what the network itself shows: leave truncation_psi and noise_mode as they are"
            )
        class_label(G, sampling.class_idx)
        space = Space(self.space) if self.space else (Space.w if isinstance(G, StyleBased) else Space.z)
        if space is not Space.z and not isinstance(G, StyleBased):
            raise UserError(f"figure.space={space}: {G.config.kind} networks have no w; choose figure.space=z")
        if self.noise and G.noise_size == 0:
            raise UserError(f"figure.noise=true: {G.config.kind} networks have no layer noise; leave it out")
        return find_photographs(self.pictures, "figure.pictures"), space

    def _discriminator(self, request: Request) -> Discriminator | None:
        if self.distance not in (Measure.auto, Measure.discriminator) or request.network is None:
            return None
        return find_discriminator(request.network, resolve_network(request.network))

    def _command(
        self, G: Generator, request: Request, targets: Tensor, paths: Sequence[Path], distance: Distance
    ) -> dict[str, Any]:
        """All that the result depends on."""
        options = {name: str(value) for name, value in asdict(self).items() if name not in _LOOKS}
        return {
            "options": options,
            "pictures": [sha256(path) for path in paths],
            "network": weights_sha256(G.state_dict()),
            "distance": distance.name,
            "sampling": str(replace(request.sampling, batch=1)),
            "pixels": targets.sum(dim=(1, 2, 3)).tolist(),
        }

    def _search(
        self,
        G: Generator,
        targets: Tensor,
        paths: Sequence[Path],
        distance: Distance,
        space: Space,
        request: Request,
        kept: Unfinished,
        state: dict[str, Any],
        network: str,
    ) -> list[Found]:
        options = SearchOptions(space, Schedule(self.steps), self.starts, self.noise, self.frames)
        found: list[Found] = []
        for i, path in enumerate(paths):
            finished = i < len(state["found"])
            known = state["found"][i] if finished else state["search"] if i == len(state["found"]) else None
            with refusal(f"{kept.state} does not fit", "delete it to begin anew"):
                search = Search(G, targets[i], distance, options, request.sampling, path.name, known)

            def keep(search: Search = search) -> None:
                best = join([*(item.latents for item in found), search.found().latents])
                kept.keep({**state, "search": search.state_dict()}, best, G, network)

            optimise(
                search.advance,
                range(search.step, self.steps),
                f"looking for {path.name}",
                keep,
                kept,
                progress=request.progress,
            )
            if not finished:
                state["found"].append(search.state_dict())
            state["search"] = None
            found.append(search.found())
        return found

    def _tune(
        self,
        G: Generator,
        targets: Tensor,
        latents: Latents,
        distance: Distance,
        request: Request,
        kept: Unfinished,
        state: dict[str, Any],
        network: str,
    ) -> _Tuned:
        device = next(G.parameters()).device
        options = published_options(
            distance, steps=self.tune_steps, lr=self.tune_lr, locality=Locality() if self.locality else None
        )
        label = class_label(G, request.sampling.class_idx)
        points = latents.ws if isinstance(G, StyleBased) else latents.z
        assert points is not None
        tuning = Tuning(
            G,
            targets.to(device).float() / 127.5 - 1,
            points.to(device),
            distance,
            options,
            c=None if label is None else label.expand(len(points), -1).to(device),
            noise=None if latents.noise is None else latents.noise.to(device),
        )
        if state["tuning"] is not None:
            with refusal(f"{kept.state} does not fit", "delete it to begin anew"):
                tuning.load_state_dict(state["tuning"])

        def keep() -> None:
            kept.keep({**state, "tuning": tuning.state_dict()}, latents, G, network)

        left = range(tuning.step, 0 if tuning.stopped else options.steps)
        optimise(tuning.advance, left, "tuning", keep, kept, lambda: tuning.stopped, progress=request.progress)
        weights = tuning.finish()
        rounded = copy.deepcopy(G)
        add(rounded, difference(G, weights))
        with torch.no_grad():
            away = distance.between(tuning.images(rounded), tuning.targets).tolist()
        if options.threshold is None:
            note = f"No LPIPS is at hand, so that no threshold of it stopped the tuning: all {tuning.step} steps were done."
            say(note)
        else:
            why = f"at an LPIPS of {tuning.away:.3f}" if tuning.stopped else "by their number"
            note = f"The tuning was stopped after {tuning.step} steps, {why}."
        others = moved(G, rounded, distance, request.sampling, OTHERS)
        return _Tuned(weights, rounded, away, others, note)

    def _facts(
        self,
        found: Sequence[Found],
        targets: Tensor,
        before: Tensor,
        after: Tensor | None,
        distance: Distance,
        space: Space,
        tuned: _Tuned | None,
    ) -> dict[str, Any]:
        """What was found out, as JSON types."""
        decibels = psnr(before, targets).tolist()
        pictures: list[dict[str, Any]] = [
            {
                "name": item.latents.names[0],
                "distance_at_first": item.at_first,
                "distance": item.distance,
                "psnr": decibels[i],
            }
            for i, item in enumerate(found)
        ]
        facts: dict[str, Any] = {"compared_by": distance.name, "space": str(space), "projected": pictures}
        if tuned is not None and after is not None:
            for i, value in enumerate(psnr(after, targets).tolist()):
                pictures[i] |= {"distance_tuned": tuned.distances[i], "psnr_tuned": value}
            others = {"seeds": OTHERS, "distance": tuned.others[0], "psnr": tuned.others[1]}
            facts |= {"others_moved": others, "tuning": tuned.note}
        return facts

    def _sheet(self, facts: dict[str, Any], targets: Tensor, before: Tensor, after: Tensor | None) -> Picture:
        cells, captions = [], []
        for i, item in enumerate(facts["projected"]):
            row = [to_pixels(targets[i]), to_pixels(before[i])]
            words = [
                f"{item['name']}\nmean face: {item['distance_at_first']:.3g}",
                f"distance {item['distance']:.3g}\n{item['psnr']:.1f} dB",
            ]
            if after is not None:
                row.append(to_pixels(after[i]))
                words.append(f"distance {item['distance_tuned']:.3g}\n{item['psnr_tuned']:.1f} dB")
            cells.append(row)
            captions.append(words)
        columns = ["the picture", f"found in {facts['space']}", "network tuned"][: len(cells[0])]
        caption = f"Compared by {facts['compared_by']}."
        if after is not None:
            others = facts["others_moved"]
            caption += (
                f" {facts['tuning']} It moved the pictures of seeds 0 to {OTHERS - 1} by a distance of "
                f"{others['distance']:.3g}, to {others['psnr']:.1f} dB (medians)."
            )
        return self.sheet(Sheet(cells, columns, captions=captions, caption=caption))


_LOOKS = ("width_cm", "dpi", "labels", "font", "fps", "tuned", "pictures", "landmarks")


def _frames(
    G: Generator, ways: Sequence[Latents], targets: Tensor, last: Tensor, indices: Sequence[int], request: Request
) -> Iterator[Tensor]:
    """Each picture beside what the search has of it; at the end, what it came to."""
    length = len(ways[0])
    moving = [i for i in indices if i < length]
    images = [render(G, way[moving], request.sampling) if moving else iter(()) for way in ways]
    for i in indices:
        shown = [next(own) for own in images] if i < length else list(last)
        yield side_by_side(torch.stack([part for pair in zip(targets, shown, strict=True) for part in pair]), 2)
