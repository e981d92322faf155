"""`stylegan evaluate`: from names of files and metrics to one JSON line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console

from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.errors import UserError, nearest
from stylegan.files import atomic_path, sha256
from stylegan.inference import resolve_network
from stylegan.interop.networks import read_networks
from stylegan.metrics.features import feature_names
from stylegan.metrics.image_metrics import Detail
from stylegan.metrics.lpips import LPIPS
from stylegan.metrics.names import parse_all
from stylegan.metrics.report import record, result_table
from stylegan.metrics.runner import Evaluator, Settings
from stylegan.ops.backend import Backend, activate
from stylegan.ops.device import pick_device

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
    network: str,
    data: Path,
    names: Sequence[str],
    settings: Settings,
    *,
    repeats: int = 1,
    device: str = "auto",
    backend: Backend = Backend.auto,
) -> Evaluation:
    """Measure a saved network. Under torchrun all ranks call it and share the work.

    Args:
        network: `demo`, a run's folder, a snapshot, or a published network's file.
        data: The archive of real images.
        names: Metrics, see `stylegan.metrics.names`.
        settings: How.
        repeats: Measure with this many seeds, one after the other from the settings' own.
        device: auto, cpu, cuda or cuda:N.
        backend: Of the ops; `auto` builds the compiled ones for at least `WORTH_A_BUILD` images, else takes them if built.

    Raises:
        UserError: Something is wrong with the input; told before anything is computed.
    """
    if repeats < 1:
        raise UserError(f"--repeats {repeats}: it must be at least 1")
    requests = parse_all(list(names))
    place = pick_device(device)
    fakes = repeats * max(request.count for request in requests)
    started = perf_counter()
    with distributed.process_group(place, timeout=distributed.PREPARING):
        path = resolve_network(network)
        found = read_networks(path, only_generator=True)
        G = found.G_ema.to(place).eval().requires_grad_(False)
        evaluator = Evaluator(requests, open_reals(data, G.c_dim > 0), settings, place)
        ops = activate(backend, place, build_for_auto=fakes >= WORTH_A_BUILD)
        results = [evaluator.measure(G, settings.seed + i) for i in range(repeats)]
        about: dict[str, Any] = {"name": network if network == "demo" else path.name, "sha256": sha256(path)}
        about["nimg"] = found.provenance.get("nimg")
        line = record(evaluator, results, about, ops, perf_counter() - started) if distributed.is_main() else {}
    return Evaluation(line, evaluator.higher_is_better, results[0].details)


def open_reals(data: Path, conditional: bool) -> ImageDataset:
    """The real images, all of them and unmirrored; with labels where the network is conditional.

    Raises:
        UserError: It is no archive, or has no labels where they are needed.
    """
    if not conditional:
        return ImageDataset(data)
    if not ImageDataset(data).has_labels:
        raise UserError(
            f"{data} has no labels, and the network is conditional: it can only be measured on the labels of its data set; "
            "prepare it with --labels"
        )
    return ImageDataset(data, use_labels=True)


def weight_files(given: Sequence[str]) -> dict[str, Path]:
    """Files by network's name from `NAME=FILE`.

    Raises:
        UserError: Another form, an unknown network, or no such file.
    """
    known = [*feature_names(), LPIPS, "attributes"]
    files = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals:
            raise UserError(f"--weights {item}: give NAME=FILE, such as mobilenet_v2=mobilenet_v2-b0353104.pth")
        if name not in known:
            raise UserError(f"--weights {item}: there is no network {name}; {nearest(name, known)}")
        if not Path(path).is_file():
            raise UserError(f"--weights {item}: there is no such file")
        files[name] = Path(path).expanduser()
    return files


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
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for detail in found.details:
        console.print(detail.table())
        path = pictures / f"{detail.name}.png"
        with atomic_path(path) as temporary:
            detail.picture().save(temporary, format="PNG")
        console.print(f"picture: {path}", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        try:
            with out.open("a") as file:
                file.write(text + "\n")
        except OSError as error:
            raise UserError(f"cannot write {out}: {error.strerror}; the result is printed above") from None
