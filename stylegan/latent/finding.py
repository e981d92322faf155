"""What `stylegan directions` does: find directions, keep them, and tell what they do to attributes."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stylegan.errors import UserError
from stylegan.files import atomic_write, shipped
from stylegan.inference import SHIPPED, Sampling, load, resolve_network
from stylegan.interop.difference import PLUS, network_name, summands
from stylegan.latent.direction_file import SUFFIX, save_directions
from stylegan.latent.effects import Effects, effects
from stylegan.latent.layer_names import style_layers
from stylegan.latent.named import Directions, attribute_columns, is_of_faces3d
from stylegan.metrics.attribute_network import load_attributes
from stylegan.models.generator import StyleBased
from stylegan.ops.backend import Backend, activate
from stylegan.ops.device import pick_device

_OTHERS = 3  # attributes besides the intended one that a line tells of


@dataclass(frozen=True)
class FindOptions:
    """What is looked for.

    Attributes:
        count: Principal components, and as many in closed form.
        layers: Which layers are moved.
        scores: A CSV file of scores by seed.
        classifier: A network that reads attributes.
        given: Directions that those of attributes and scores leave alone.
        class_idx: Of a conditional network.
        table: Where all effects go.
    """

    count: int = 10
    layers: str = "all"
    scores: Path | None = None
    classifier: Path | None = None
    given: tuple[str, ...] = ()
    class_idx: str | None = None
    table: Path | None = None


def find_directions(
    network: str, out: Path | None, options: FindOptions, *, device: str = "auto", overwrite: bool = False
) -> Iterator[str]:
    """Find, keep, and tell, line by line.

    Raises:
        UserError: The network cannot be read, has no such layers, a file cannot be read, or one is there already.
    """
    path = resolve_network(network)
    target = out or default_place(path)
    for file in filter(None, (target, options.table)):
        if file.exists() and not overwrite:
            raise UserError(f"{file} exists; choose another name, or replace it with --overwrite")
    if target.suffix != ".safetensors":
        raise UserError(f"--out {target}: give it a name that ends in .safetensors")
    place = pick_device(device)
    found = load(network)
    G = found.G_ema.to(place).eval().requires_grad_(False)
    activate(Backend.auto, place, build_for_auto=False)
    layers = style_layers(G, options.layers, "--layers") if isinstance(G, StyleBased) else []
    sampling = Sampling(class_idx=options.class_idx)
    known = Directions(G, sampling, classifier=options.classifier, scores=options.scores, progress=True)
    of_faces = is_of_faces3d(found.provenance)
    count = min(options.count, known.dim)
    names = [f"pca:{i}" for i in range(count)] if isinstance(G, StyleBased) else []
    names += [f"sefa:{i}" for i in range(count)]
    supervised = [*known.scores, *(attribute_columns() if of_faces or options.classifier is not None else ())]
    supervised = [name for name in dict.fromkeys(supervised) if name not in options.given]
    directions = [known.find(name, layers) for name in names]
    directions += [known.find(name, layers, options.given) for name in supervised]
    directions += [known.find(name, layers) for name in options.given if name not in names]
    if not directions:
        raise UserError("--count 0: there is nothing to find; give --scores or --classifier, or a larger count")
    about = {"layers": options.layers, "given": list(options.given), "class_idx": options.class_idx}
    save_directions(target, directions, G, network_name(path), about)
    yield f"{target}: {len(directions)} directions: {', '.join(direction.name for direction in directions)}"
    if of_faces or options.classifier is not None:
        reader = load_attributes(place, options.classifier)[0]
        told = [direction for direction in directions if direction.name not in names]
        measured = effects(G, told, reader, sampling, layers=layers, progress=True)
        yield from _lines(measured)
        if options.table is not None:
            atomic_write(options.table, _csv(measured))
            yield f"{options.table}: all of them"
    elif options.table is not None:
        raise UserError("--table needs attributes: the network was not trained on faces3d; give --classifier")


def default_place(network: Path) -> Path:
    """Beside the network's file; in the working directory where that comes with the project."""
    place = beside(network)
    return Path(place.name) if summands(network)[0] in map(shipped, SHIPPED.values()) else place


def beside(network: Path) -> Path:
    """Where directions lie beside their network; those of `NET+DIFFERENCE` beside NET, by the names of both."""
    parts = summands(network)
    return parts[0].with_name(PLUS.join(part.stem for part in parts) + SUFFIX)


def _lines(measured: Effects) -> Iterator[str]:
    yield (
        f"from -{measured.reach:g} to +{measured.reach:g} standard deviations of w, the mean over {measured.count} seeds, in "
        "standard deviations of each attribute:"
    )
    width = max(map(len, measured.names))
    yield f"{'direction':{width}}  intended  others, most first"
    for name in measured.names:
        own, others = measured.intended(name)
        rest = ", ".join(f"{other} {value:+.2f}" for other, value in others[:_OTHERS])
        yield f"{name:{width}}  {own:+8.2f}  {rest}"


def _csv(measured: Effects) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["direction", *measured.attributes])
    for name, row in zip(measured.names, measured.moved.tolist(), strict=True):
        writer.writerow([name, *(f"{value:.4f}" for value in row)])
    return text.getvalue()
