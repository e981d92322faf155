"""How results are told: one JSON line with all that they depend on, and a table for people."""

import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table

import stylegan
from stylegan import distributed
from stylegan.data.archive import ImageDataset
from stylegan.errors import shown
from stylegan.metrics.runner import Evaluator, Measured
from stylegan.ops.backend import Active


def record(
    evaluator: Evaluator, results: Sequence[Measured], network: Mapping[str, Any], ops: Active, seconds: float
) -> dict[str, Any]:
    """What goes into the JSON line, as JSON types.

    Args:
        evaluator: What measured.
        results: One a seed, the settings' seed first, the following ones after it.
        network: What is known about the network.
        ops: Which were in use.
        seconds: How long it took.
    """
    settings, dataset = evaluator.settings, evaluator.dataset
    values = {name: [result.values[name] for result in results] for name in results[0].values}
    repeated = len(results) > 1
    spread = {name: statistics.stdev(numbers) for name, numbers in values.items()} if repeated else {}
    return {
        "results": {name: statistics.fmean(numbers) for name, numbers in values.items()},
        **({"spread": spread, "values": values} if repeated else {}),
        "network": dict(network),
        "data": describe(dataset),
        "fakes": results[0].fakes,
        "reals": results[0].reals,
        "seed": settings.seed,
        "repeats": len(results),
        "protocol": {
            "truncation_psi": 1,
            "noise_mode": "random",
            "xflip": False,
            "rounding": "uint8",
            "class_idx": settings.class_idx,
            "real_vs_real": settings.real_vs_real,
        },
        "weights_sha256": evaluator.weights,
        "resize": {network.name: network.resize for network in evaluator.networks.values()},
        "versions": versions(),
        "device": evaluator.device.type,
        "ops": ops.name,
        "threads": torch.get_num_threads(),
        "ranks": distributed.world_size(),
        "batch": settings.batch,
        "seconds": round(seconds, 1),
        "notes": [*evaluator.notes, *([ops.warning] if ops.warning else [])],
    }


def describe(dataset: ImageDataset) -> dict[str, Any]:
    """What is known about a data set, without a path of this machine."""
    info = dataset.info
    return {
        "name": dataset.name,
        "content_hash": dataset.content_hash,
        "images": len(dataset),
        "resolution": list(dataset.resolution),
        "channels": dataset.channels,
        "crop": info.crop or "unknown",
        "resize_filter": info.resize_filter or "unknown",
    }


def versions() -> dict[str, str]:
    """Of what the numbers depend on."""
    import torchvision  # not above: it takes a second

    return {
        "stylegan": stylegan.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def result_table(line: Mapping[str, Any], better: Mapping[str, bool]) -> Table:
    """The results of `record` for people.

    Args:
        line: What `record` gave.
        better: For each result, whether more is better.
    """
    data, network = line["data"], line["network"]
    title = f"{network.get('name', 'network')} against {data['name']}"
    caption = f"{line['fakes']} fakes, {line['reals']} reals, seed {line['seed']}, data {data['content_hash'][:12]}"
    caption += f", resized with {data['resize_filter']}"
    table = Table(title=escape(shown(title)), caption=escape(shown(caption)))
    table.add_column("metric")
    table.add_column("value", justify="right")
    spread = line.get("spread")
    if spread is not None:
        table.add_column(f"spread of {line['repeats']}", justify="right")
    table.add_column("better")
    for name, value in line["results"].items():
        extra = [] if spread is None else [f"{spread[name]:.3g}"]
        table.add_row(name, f"{value:.5g}", *extra, "higher" if better[name] else "lower")
    return table
