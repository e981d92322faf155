"""What works on this machine, for `stylegan doctor`: found out by trying, not by looking at version numbers."""

import enum
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

import stylegan
from stylegan.errors import UserError
from stylegan.ops._build import cache_root, compiler, cuda_home, nvcc
from stylegan.ops.backend import load, reference_ops
from stylegan.ops.bias_act import bias_act
from stylegan.ops.filtered_lrelu import filtered_lrelu
from stylegan.ops.modulated_epilogue import modulated_epilogue
from stylegan.ops.upfirdn2d import setup_filter, upfirdn2d

PACKAGES = ("torch", "torchvision", "numpy", "hydra-core", "ninja", "safetensors")
NEEDED_SPACE = 2e9  # bytes; checkpoints and snapshots of one small run
TOLERANCE = 1e-5  # of compiled ops in float32, relative to the largest number of a result


class Verdict(enum.Enum):
    """How a finding is to be taken."""

    fine = "ok"
    absent = "absent"  # works without
    broken = "BROKEN"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    verdict: Verdict
    text: str

    @property
    def broken(self) -> bool:
        """Whether something is wrong that should be mended."""
        return self.verdict is Verdict.broken


def examine() -> Iterator[Finding]:
    """Everything that is looked at, in order; the ops are compiled if they are not in the cache."""
    found = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    yield Finding(
        "versions", Verdict.fine, f"stylegan {stylegan.__version__}, Python {platform.python_version()}, {found}"
    )
    capability = torch.backends.cpu.get_cpu_capability()
    yield Finding("processor", Verdict.fine, f"{platform.machine()}, {os.cpu_count()} cores, torch uses {capability}")
    yield _compiler()
    yield _toolkit()
    yield _devices()
    yield _ops("cpu")
    if torch.cuda.is_available():
        yield _ops("cuda")
    yield _disk("cache", cache_root())
    yield _disk("working folder", Path.cwd())


def _compiler() -> Finding:
    try:
        command = compiler()
    except UserError as error:
        return Finding("compiler", Verdict.absent, f"{error}; without it the ops run in their slower reference form")
    return Finding("compiler", Verdict.fine, f"{' '.join(command)}: {_first_line([*command, '--version'])}")


def _toolkit() -> Finding:
    try:
        return Finding("CUDA toolkit", Verdict.fine, f"{nvcc()}, which belongs to {cuda_home()}")
    except UserError as error:
        return Finding("CUDA toolkit", Verdict.absent, str(error))


def _devices() -> Finding:
    if not torch.cuda.is_available():
        return Finding("CUDA devices", Verdict.absent, "torch sees none; training runs on the CPU")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Finding("CUDA devices", Verdict.fine, ", ".join(names))


def _ops(device: str) -> Finding:
    subject = f"ops on {device}"
    try:
        library = load(device)
    except UserError as error:
        return Finding(subject, Verdict.broken, str(error))
    wrong = [f"{name} by {error:.1g}" for name, error in op_errors(device).items() if not error <= TOLERANCE]
    if wrong:
        return Finding(
            subject,
            Verdict.broken,
            f"differ from the reference: {', '.join(wrong)}; use ops.backend=reference, and report it",
        )
    return Finding(subject, Verdict.fine, f"compiled ({library.parent}), equal to the reference")


def op_errors(device: str) -> dict[str, float]:
    """Largest difference of every compiled op from its reference, results and gradients, relative to the largest number."""
    compiled = _results(device)
    with reference_ops():
        reference = _results(device)
    errors = {}
    for name, tensors in compiled.items():
        pairs = zip(tensors, reference[name], strict=True)
        errors[name] = max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
    return errors


def _results(device: str) -> dict[str, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator).add(0.1).to(device).requires_grad_()

    x, b, d, noise = leaf(2, 5, 12, 10), leaf(5), leaf(2, 5), leaf(2, 1, 12, 10)
    low_pass, taps = setup_filter([1, 3, 3, 1]).to(device), setup_filter(range(1, 9)).to(device)
    calls = {
        "bias_act": (bias_act(x - 0.5, b, act="lrelu", clamp=1), [x, b]),
        "upfirdn2d": (upfirdn2d(x, low_pass, up=2, padding=[2, 1, 2, 1], gain=4), [x]),
        "filtered_lrelu": (filtered_lrelu(x - 0.5, taps, taps, b, up=2, down=2, padding=[8, 7, 8, 7]), [x, b]),
        "modulated_epilogue": (modulated_epilogue(x - 0.9, d, noise, b, act="lrelu"), [x, d, noise, b]),
    }
    results = {}
    for name, (y, inputs) in calls.items():
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), [x])
        results[name] = [t.detach() for t in (y, *first, *second)]
    return results


def _disk(subject: str, folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Finding(subject, Verdict.broken, f"{existing} cannot be written to")
    free = shutil.disk_usage(existing).free
    verdict = Verdict.fine if free >= NEEDED_SPACE else Verdict.broken
    return Finding(subject, verdict, f"{folder}: {free / 1e9:.1f} GB free")


def _first_line(command: list[str]) -> str:
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return (result.stdout.strip().splitlines() or [f"exit code {result.returncode}"])[0]
