"""Step 7: images a second, made and looked at."""

from typing import Any

import torch

from stylegan.inference import load_generator, sample
from stylegan.metrics.features import as_rgb
from stylegan.metrics.inception import InceptionV3
from stylegan.models.layers import Precision
from stylegan.ops.backend import Backend, activate, reference_ops
from tests.gpu.steps.iteration import Recipe
from tests.gpu.steps.record import Record, free_memory, run
from tests.gpu.steps.speed_of_ops import tf32


def step(record: Record) -> None:
    """Networks of 256 pixels and Inception with random weights; the demo network as a user calls it."""
    activate(Backend.compiled, record.device)
    names, batches = (["demo64"], [1, 2]) if record.tiny else (["paper256", "stylegan3_t256"], [1, 8, 32, 128])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    for name in names:
        for precision in ("fp32", "bf16", "fp16")[: 1 if record.tiny else None]:
            record.attempt(f"sampling {name} {precision}", lambda n=name, p=precision: sampling(record, n, p, batches))
            free_memory(record.device)
    record.attempt("sampling demo as a user does", lambda: demo(record))
    for name in ("fp32", "tf32", "bf16"):
        record.attempt(f"inception {name}", lambda n=name: inception(record, n))


def sampling(record: Record, name: str, precision: str, batches: list[int]) -> dict[str, Any]:
    """Images/s by batch size, from latents on the device to images on the device; and once with the reference ops."""
    recipe = Recipe(name, 16 if record.tiny else 256, 1, precision)
    side = recipe.resolution
    with torch.device(record.device):
        G = recipe.config.model.G.build(resolution=(side, side), channels=3, c_dim=0)
    G.eval().requires_grad_(False)
    found: dict[str, Any] = {}
    with torch.inference_mode():
        for batch in batches:
            z = torch.randn(batch, G.z_dim, device=record.device)

            def make(z: torch.Tensor = z) -> object:
                return G(z, None, noise_mode="const")

            found[str(batch)] = round(batch / record.median(make), 1)
            if batch == batches[-2]:
                with reference_ops():
                    found[f"{batch}, reference ops"] = round(batch / record.median(make), 1)
    return found


def demo(record: Record) -> dict[str, Any]:
    """`sample` of the network that comes along: latents drawn on the CPU, images back on it."""
    found = {}
    for precision in (Precision.fp32, Precision.bf16)[: 1 if record.tiny else None]:
        G = load_generator("demo", record.device, precision)
        for batch in (2,) if record.tiny else (16, 128):
            seeds = range(2 * batch)
            seconds = record.median(lambda s=seeds, b=batch, G=G: list(sample(G, s, batch=b)), budget=0.1)
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
        tf32(name == "tf32"),
        torch.autocast(record.device.type, torch.bfloat16, enabled=name == "bf16"),
    ):
        seconds = record.median(lambda: network(as_rgb(images)), most=3 if record.tiny else 20)
    return {"images_per_second": round(batch / seconds, 1)}


if __name__ == "__main__":
    run(step)
