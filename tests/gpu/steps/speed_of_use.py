"""Step 7: images a second, made and looked at."""

from typing import Any

import torch

from stylegan.inference import Sampling, load_generator, sample
from stylegan.metrics.features import as_rgb
from stylegan.metrics.inception import InceptionV3
from stylegan.models.base import Generator
from stylegan.models.layers import Precision
from stylegan.ops.backend import Backend, activate, reference_ops
from tests.gpu.steps.iteration import Recipe
from tests.gpu.steps.record import Record, free_memory, run, torch_settings

NEEDS = 3.0  # seconds that a measurement is given


def step(record: Record) -> None:
    """Networks of 256 pixels and Inception with random weights; the demo network as a user calls it."""
    activate(Backend.compiled, record.device)
    with torch_settings():
        of_networks(record, "demo64" if record.tiny else "paper256")
        record.attempt("demo network, from seeds to images on the CPU", lambda: demo(record), NEEDS)
        for name in ("fp32", "tf32", "bf16"):
            record.attempt(f"inception {name}", lambda n=name: inception(record, n), NEEDS)
        if not record.tiny:
            of_networks(record, "stylegan3_t256")


def of_networks(record: Record, name: str) -> None:
    """A generator in each format with several batches, with the reference ops where they are compared."""
    batches, side = ([2], 16) if record.tiny else ([32, 1, 128], 256)
    for precision in ("fp32", "bf16", "fp16")[: 1 if record.tiny else None]:
        with torch.device(record.device):
            G = Recipe(name, side, 1, precision).config.model.G.build(resolution=(side, side), channels=3, c_dim=0)
        G.eval().requires_grad_(False)
        for batch in batches:
            kinds = (False, True) if batch == batches[0] else (False,)
            for reference in kinds:
                label = f"sampling {name} {precision}, batch {batch}" + ", reference ops" * reference
                record.attempt(label, lambda b=batch, r=reference, G=G: sampling(record, G, b, r), NEEDS)
        del G
        free_memory(record.device)


@torch.inference_mode()
def sampling(record: Record, G: Generator, batch: int, reference: bool) -> dict[str, float]:
    """Images/s, from latents on the device to images on the device."""
    z = torch.randn(batch, G.z_dim, device=record.device)

    def make() -> object:
        return G(z, None, noise_mode="const")

    if not reference:
        return {"images_per_second": round(batch / record.median(make), 1)}
    with reference_ops():
        return {"images_per_second": round(batch / record.median(make), 1)}


def demo(record: Record) -> dict[str, float]:
    """`sample` of the network that comes along: latents drawn on the CPU, images back on it."""
    G, found = load_generator("demo", record.device, Backend.compiled), {}
    for precision in (Precision.fp32, Precision.bf16)[: 1 if record.tiny else None]:
        for batch in (2,) if record.tiny else (16, 128):
            seeds, settings = range(2 * batch), Sampling(batch=batch, precision=precision)
            seconds = record.median(lambda s=seeds, settings=settings: list(sample(G, s, settings)), budget=0.1)
            found[f"{precision.value}, batch {batch}"] = round(len(seeds) / seconds, 1)
    return found


def inception(record: Record, name: str) -> dict[str, Any]:
    """Images/s of the papers' features."""
    with torch.device(record.device):
        network = InceptionV3().eval().requires_grad_(False)
    batch, side = (2, 32) if record.tiny else (64, 256)
    images = torch.randint(0, 256, [batch, 3, side, side], dtype=torch.uint8, device=record.device)
    with (
        torch.inference_mode(),
        torch_settings(tf32=name == "tf32"),
        torch.autocast(record.device.type, torch.bfloat16, enabled=name == "bf16"),
    ):
        seconds = record.median(lambda: network(as_rgb(images)))
    return {"images_per_second": round(batch / seconds, 1)}


if __name__ == "__main__":
    run(step)
