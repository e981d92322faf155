"""From names of networks, data and metrics to numbers: `evaluate` for notebooks, and the command `stylegan evaluate`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError, nearest, say
from stylegan.files import atomic_path
from stylegan.inference import class_label, load_generator, resolve_network
from stylegan.interop.difference import network_name, network_sha256
from stylegan.interop.networks import read_networks
from stylegan.memory import check_images
from stylegan.metrics.features import feature_names
from stylegan.metrics.metric import Detail
from stylegan.metrics.names import parse_all
from stylegan.metrics.report import record, result_table
from stylegan.metrics.runner import Evaluator, Settings
from stylegan.metrics.table import METRICS
from stylegan.models.base import Generator
from stylegan.opening import refuse_other_than_file, require_regular_file
from stylegan.ops.backend import Backend, activate
from stylegan.ops.device import compute_exactly, pick_device
from stylegan.values import at_home

WORTH_A_BUILD = 10_000  # images; fewer of a small network take no longer than a compiler


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        line: See `stylegan.metrics.report.record`; on the first rank only.
        better: For each result, whether more is better.
        details: More about some results, of the first seed.
    """

    line: dict[str, Any]
    better: dict[str, bool]
    details: Sequence[Detail]


def evaluate(
    network: str | Path | Generator,
    data: str | Path | ImageDataset,
    metrics: Sequence[str],
    *,
    seed: int = 0,
    batch: int = 64,
    weights: Mapping[str, str | Path] | None = None,
    device: str | torch.device = "auto",
    progress: bool = False,
) -> dict[str, float]:
    """Measure a generator, as `stylegan evaluate` does; the numbers are the same to the bit.

        >>> G = stylegan.load_generator("runs/ffhq")
        >>> stylegan.evaluate(G, "ffhq256.zip", ["fid50k", "kid50k"])
        {'fid50k': ..., 'kid50k': ...}
        >>> stylegan.evaluate("demo", "faces.zip", ["attributes2k"])["attributes_coverage2k"]
        1.0

    Args:
        network: A loaded generator; or `demo`, a run's folder, a snapshot, or a published network's file.
        data: The real images: an archive, or one that is open. A conditional network needs their labels.
        metrics: Which, see `stylegan.metrics.names`.
        seed: Fixes latents, noise and subsets.
        batch: Images at once; another number changes latents and the last bits.
        weights: Files of weights by network's name, such as `{"mobilenet_v2": "mobilenet_v2-b0353104.pth"}`.
        device: Where a network that is loaded here computes: auto, cpu, cuda or cuda:N. A loaded one is measured where it is.
        progress: Show progress bars, on a terminal's stderr.

    Returns:
        The results by full name, in the order of `metrics`, but those that move the network's inputs last. Of several ranks
        only the first has all.

    Raises:
        UserError: Something is wrong with the input; told before anything is computed.
    """
    if isinstance(metrics, str):
        raise UserError(f"metrics={metrics!r}: give a list of names, such as ['fid50k']")
    requests = parse_all(metrics)
    files = weight_files([f"{name}={path}" for name, path in (weights or {}).items()])
    settings = Settings(seed, batch, weights=files, progress=progress)
    if isinstance(network, str | Path):
        place = pick_device(str(device))
        G = load_generator(network, place)
        activate(Backend.auto, place, build_for_auto=max(request.count for request in requests) >= WORTH_A_BUILD)
    else:
        G, place = network, next(network.parameters()).device
        if str(device) not in ("auto", place.type, str(place)):
            raise UserError(
                f"device={device}, but the network is on {place}: move it there first, with G.to({str(device)!r})"
            )
    evaluator = Evaluator(requests, open_reals(data, G.c_dim > 0), settings, place)
    was_training = G.training
    try:
        return evaluator.measure(G.eval()).values
    finally:
        G.train(was_training)


def evaluate_saved(
    network: str,
    data: Path,
    names: Sequence[str],
    settings: Settings,
    *,
    repeats: int = 1,
    device: str = "auto",
    backend: Backend = Backend.auto,
    class_idx: str | None = None,
) -> Evaluation:
    """Measure a saved network, with all that a record of it needs. Under torchrun all ranks call it and share the work.

    Args:
        network: `demo`, a run's folder, a snapshot, or a published network's file.
        data: The archive of real images.
        names: Metrics, see `stylegan.metrics.names`.
        settings: How.
        repeats: Measure with this many seeds, one after the other from the settings' own.
        device: auto, cpu, cuda or cuda:N.
        class_idx: Only this class of a conditional network, by its number or name, instead of that of the settings.
        backend: Of the ops; `auto` builds the compiled ones for at least `WORTH_A_BUILD` images, else takes them if built.

    Raises:
        UserError: Something is wrong with the input; told before anything is computed.
    """
    if repeats < 1:
        raise UserError(f"--repeats {repeats}: it must be at least 1")
    requests = parse_all(names)
    place = pick_device(device)
    compute_exactly()
    fakes = repeats * max(request.count for request in requests)
    started = perf_counter()
    with distributed.process_group(place, timeout=distributed.PREPARING):
        path = resolve_network(network)
        found = read_networks(path, only_generator=True)
        check_images(settings.batch, found.G_ema.channels, found.G_ema.resolution, "--batch")
        G = found.G_ema.to(place).eval().requires_grad_(False)
        if class_idx is not None and (label := class_label(G, class_idx)) is not None:
            settings = replace(settings, class_idx=int(label.argmax()))
        evaluator = Evaluator(requests, open_reals(data, G.c_dim > 0), settings, place)
        ops = activate(backend, place, build_for_auto=fakes >= WORTH_A_BUILD)
        results = [evaluator.measure(G, settings.seed + i) for i in range(repeats)]
        about: dict[str, Any] = {"name": network if network == "demo" else network_name(path)}
        about["sha256"] = network_sha256(path)
        about["nimg"] = found.provenance.get("nimg")
        line = record(evaluator, results, about, ops, perf_counter() - started) if distributed.is_main() else {}
    return Evaluation(line, evaluator.higher_is_better, results[0].details)


def open_reals(data: str | Path | ImageDataset, conditional: bool) -> ImageDataset:
    """The real images, unmirrored: all of an archive, or what is in use of one that is open.

    Args:
        data: The archive.
        conditional: Whether their labels are needed.

    Raises:
        UserError: It is no archive, has no labels where they are needed, or is open with mirror images.
    """
    opened = data if isinstance(data, ImageDataset) else ImageDataset(data)
    if opened.xflip:
        raise UserError(
            f"{opened.path} is open with xflip, and networks are measured against unmirrored images; open it without"
        )
    if not conditional or opened.label_dim > 0:
        return opened
    if not opened.has_labels:
        raise UserError(
            f"{opened.path} has no labels, and the network is conditional: it can only be measured on the labels of its data "
            "set; prepare it with --labels"
        )
    if opened is data:
        raise UserError(
            f"{opened.path} is open without labels, and the network is conditional; open it with use_labels=True"
        )
    return ImageDataset(opened.path, use_labels=True)


def weight_files(given: Sequence[str]) -> dict[str, Path]:
    """Files by network's name from `NAME=FILE`.

    Raises:
        UserError: Another form, an unknown network, or no such file.
    """
    known = [*feature_names(), *(name for metric in METRICS.values() for name in metric.weight_names)]
    files = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals:
            raise UserError(f"--weights {item}: give NAME=FILE, such as mobilenet_v2=mobilenet_v2-b0353104.pth")
        if name not in known:
            raise UserError(f"--weights {item}: there is no network {name}; {nearest(name, known)}")
        if name in files:
            raise UserError(f"--weights {name} is given twice; one file belongs to a network")
        files[name] = Path(at_home(path))
        require_regular_file(files[name], f"file of --weights {name}")
    return files


def check_places(out: Path | None, pictures: Path) -> None:
    """Raise `UserError` where `tell` could not write. Asked before anything is computed.

    Args:
        out: A file that a line will be appended to: new, empty, or with such lines.
        pictures: Where pictures will go.
    """
    if pictures.exists() and not pictures.is_dir():
        raise UserError(f"--pictures {pictures} is no folder; give the name of one")
    if out is None or not out.exists():
        return
    refuse_other_than_file(out)
    try:
        with out.open("rb") as file:
            begins = file.read(1)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror}; choose another file") from None
    if begins not in (b"", b"{"):
        raise UserError(f"--out {out} holds something else than what stylegan evaluate writes; choose another file")


def tell(found: Evaluation, out: Path | None, pictures: Path) -> None:
    """Print the JSON line on stdout and tables on stderr, and write pictures; the first rank does.

    Args:
        found: What was found.
        out: A file to append the line to, or None.
        pictures: Where pictures go.

    Raises:
        UserError: A file cannot be written.
    """
    if not found.line:
        return
    text = json.dumps(found.line)
    print(text)
    console = Console(stderr=True)
    console.print(result_table(found.line, found.better))
    for note in found.line["notes"]:
        say(f"note: {note}", console)
    for detail in found.details:
        console.print(detail.table())
        path = pictures / f"{detail.name}.png"
        with atomic_path(path) as temporary:
            detail.picture().save(temporary, format="PNG")
        say(f"picture: {path}", console)
    if out is not None:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("a") as file:
                file.write(text + "\n")
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}; the result is printed above") from None
