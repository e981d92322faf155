"""Step 3: how often an iteration waits for the host, and where; what its kernels are."""

import warnings
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from stylegan.ops.backend import Backend, activate
from stylegan.training.graphs import WARM_UP
from tests.gpu.steps.iteration import Iteration, Recipe
from tests.gpu.steps.record import Record, run, seconds, synchronize, torch_settings

NEEDS = 3.0  # seconds that a measurement is given
STEPS = {"all four phases": 0, "Gmain and Dmain": 1}


def step(record: Record) -> None:
    """Plain, with ADA's augmentations, and in bf16."""
    activate(Backend.compiled, record.device)
    name, side, batch = ("demo64", 16, 4) if record.tiny else ("paper256", 256, 8)
    recipes = {
        "plain": Recipe(name, side, batch),
        "with ADA": Recipe(name, side, batch, augment=True),
        "bf16": Recipe(name, side, batch, "bf16"),
        "bf16, graphs": Recipe(name, side, batch, "bf16", graphs=True),
    }
    with torch_settings():
        for title, recipe in recipes.items():
            iteration = Iteration(recipe, record.device)
            for _ in range(0 if record.tiny else WARM_UP + 1):
                iteration.run()
            for which, number in STEPS.items():
                record.attempt(f"{title}, {which}: syncs", lambda i=iteration, n=number: syncs(i, n), NEEDS)
            for which, number in STEPS.items():
                if record.device.type == "cuda" or number:
                    record.attempt(f"{title}, {which}: kernels", lambda i=iteration, n=number: kernels(i, n), NEEDS)


def syncs(iteration: Iteration, number: int) -> dict[str, Any]:
    """Warnings of torch's sync debug mode in one iteration, by the line of Python that caused them."""
    iteration.state.step = number
    synchronize(iteration.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if iteration.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("warn")
        try:
            iteration.whole()
        finally:
            if iteration.device.type == "cuda":
                torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{'/'.join(w.filename.split('/')[-3:])}:{w.lineno}"
        for w in caught
        if "called a synchronizing" in str(w.message)
    )
    return {"count": sum(places.values()), "where": dict(places.most_common())}


def kernels(iteration: Iteration, number: int) -> dict[str, Any]:
    """What the device does in one iteration: number and time of kernels and copies, the longest ones, and the time it idles."""
    iteration.state.step = number
    synchronize(iteration.device)
    wall = seconds(iteration.device, iteration.whole)
    iteration.state.step = number
    cuda = iteration.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        iteration.whole()
        synchronize(iteration.device)
    time_of = lambda e: e.self_device_time_total if cuda else e.self_cpu_time_total  # noqa: E731
    events = [e for e in profiler.key_averages() if time_of(e) > 0]
    copies = sum(e.count for e in events if e.key.startswith(("Memcpy", "Memset")))
    busy = sum(time_of(e) for e in events) / 1e6
    longest = sorted(events, key=time_of, reverse=True)[:25]
    return {
        "kernels": sum(e.count for e in events) - copies,
        "copies": copies,
        "seconds": round(wall, 5),
        "busy_seconds": round(busy, 5),
        "longest": [{"name": e.key[:110], "count": e.count, "ms": round(time_of(e) / 1e3, 3)} for e in longest],
    }


if __name__ == "__main__":
    run(step)
