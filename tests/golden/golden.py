"""Loading the recorded results of the reference implementations of the papers, and the rules for comparing with them.

An `.npz` holds `in/...`, `out/...` and `param/...` arrays (one file per network or op) and `config`, a JSON string with
the arguments and `tol`: for every key `atol` and `rtol`, and for gradients of networks `kink_atol`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
KINK_RELATIVE_L2 = 1e-3
DISPLACEMENT_RTOL = 1e-3


@dataclass
class Golden:
    """One file. `failed_forward` remembers outputs that disagreed, since they void the kink rule for gradients.

    Attributes:
        name: File name without its ending.
        config: Arguments, notes and tolerances.
        arrays: Everything else, by key.
        worst: Largest error so far as a share of its tolerance.
    """

    name: str
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    failed_forward: list[str] = field(default_factory=list)
    worst: float = 0.0

    def tensor(self, key: str) -> Tensor:
        """The array of a key."""
        return torch.from_numpy(self.arrays[key].copy())

    def get(self, key: str) -> Tensor | None:
        """The same, None if it is absent."""
        return self.tensor(key) if key in self.arrays else None

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`."""
        return [key for key in self.arrays if key.startswith(prefix)]

    def state(self, prefix: str = "param/") -> dict[str, Tensor]:
        """The state_dict stored under a prefix."""
        return {key.removeprefix(prefix): self.tensor(key) for key in self.keys(prefix)}

    def load_into(self, network: nn.Module, prefix: str = "param/") -> None:
        """Fill a network; names and shapes must agree exactly."""
        network.load_state_dict(self.state(prefix), strict=True)

    def assert_close(self, key: str, got: Tensor, tol: dict[str, float] | None = None) -> None:
        """Compare with the stored array under the tolerance stored for it; see `assert_close`."""
        assert_close(f"{self.name}:{key}", got, self.tensor(key), tol or self.config["tol"][key], self)


def load(name: str) -> Golden:
    """Read `NAME.npz` of this folder."""
    with np.load(HERE / f"{name}.npz", allow_pickle=False) as z:
        arrays = {key: z[key] for key in z.files}
    return Golden(name, json.loads(str(arrays.pop("config"))), arrays)


def assert_close(name: str, got: Tensor, want: Tensor, tol: dict[str, float], golden: Golden | None = None) -> None:
    """Elementwise |got - want| <= atol + rtol * |want|, with one exception for gradients.

    A single activation on the other side of a kink (leaky ReLU, clamp) moves single gradient elements by far more
    than rounding does. Where `tol` has `kink_atol`, errors up to that pass as long as the whole array's relative L2
    error stays below 1e-3, and never after a forward output of the same file has failed: then the kink is no excuse.
    """
    got = got.detach().to(torch.float64).cpu()
    want = want.to(torch.float64).cpu()
    assert got.shape == want.shape, f"{name}: shape {tuple(got.shape)} instead of {tuple(want.shape)}"
    error = (got - want).abs()
    allowed = tol["atol"] + tol["rtol"] * want.abs()
    share = float((error / allowed).max()) if error.numel() else 0.0
    if golden is not None:
        golden.worst = max(golden.worst, share)
    if share <= 1:
        return
    kink = tol.get("kink_atol")
    if kink is not None and not (golden and golden.failed_forward):
        relative = float(error.norm() / want.norm())
        if float(error.max()) <= kink and relative < KINK_RELATIVE_L2:
            return
    if kink is None and golden is not None:
        golden.failed_forward.append(name)
    raise AssertionError(f"{name}: error of {float(error.max()):.3g}, {share:.3g} times what is allowed")


def assert_displacement(
    name: str,
    got: dict[str, Tensor],
    want: dict[str, Tensor],
    initial: dict[str, Tensor],
    rtol: float = DISPLACEMENT_RTOL,
) -> None:
    """||got - want|| <= rtol * ||want - initial|| over all tensors of a network, parameters and moving averages.

    For training runs: Adam turns tiny gradients into full-size steps, so that single elements may differ.
    """
    assert got.keys() == want.keys() == initial.keys(), f"{name}: different names"
    error = sum(float((got[k].detach().double() - want[k].double()).square().sum()) for k in want) ** 0.5
    moved = sum(float((want[k].double() - initial[k].double()).square().sum()) for k in want) ** 0.5
    assert error <= rtol * moved, f"{name}: {error / moved:.3g} of the displacement, allowed {rtol:.3g}"
