"""`stylegan average`: the network that an average of another length would have been, from those that a run kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan import run_dir as layout
from stylegan.bars import with_bar
from stylegan.errors import UserError
from stylegan.interop.header import opened
from stylegan.interop.snapshot import Snapshot, read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.generator import StyleBased
from stylegan.models.truncation import measure_w_avg
from stylegan.run_dir import Power
from stylegan.training.power_average import LONGEST, coefficients
from stylegan.values import Range

MOST_ERROR = 0.05
_FACTOR = 1e-12  # of the largest: what counts for less is not read


def average(
    run_dir: str | Path, sigma: float, out: str | Path, *, kimg: float | None = None, overwrite: bool = False
) -> str:
    """Write the network with an average of length `sigma`.

    Args:
        run_dir: Of a run with `optim.ema_power`.
        sigma: The length, relative to the training: above 0, at most 0.25.
        out: The file, *.safetensors.
        kimg: Until when; None: until the last snapshot.
        overwrite: Replace `out`.

    Returns:
        What was done, and how near the profile comes to the one that was asked for.

    Raises:
        UserError: The run kept no such averages, what it kept cannot give this length within 5 %, or a file cannot be read or
            written.
    """
    run_dir, out = Path(run_dir), Path(out)
    Range(0, LONGEST, above=True).check(sigma, "--sigma")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: give it a name that ends in .safetensors")
    if out.exists() and not overwrite:
        raise UserError(f"--out {out} exists; choose another name, or replace it with --overwrite")
    kept = _kept(run_dir, kimg)
    nimg = kept[-1].nimg
    newest = read_snapshot(kept[-1].path)
    kept = _of_the_same_stage(kept, newest)
    factors, error = coefficients([k.nimg for k in kept], [k.sigma for k in kept], sigma, nimg)
    if not error <= MOST_ERROR:
        lengths = ", ".join(f"{length:g}" for length in sorted({k.sigma for k in kept}))
        raise UserError(
            f"--sigma {sigma:g}: what {run_dir} kept ({len(kept)} averages of the lengths {lengths}) gives this length with an "
            f"error of {error:.1%}, more than {MOST_ERROR:.0%}; ask for one nearer to these, or keep more "
            "(training.snapshot_kimg, optim.ema_power) next time"
        )
    G = newest.G
    parameters = _sum(kept, factors.tolist(), newest)
    with torch.no_grad():
        for name, parameter in G.named_parameters():
            parameter.copy_(parameters[name])
        if isinstance(G, StyleBased):
            measure_w_avg(G)
    about = {"sigma": sigma, "error": error, "of": sorted({k.sigma for k in kept}), "files": len(kept)}
    save_snapshot(out, G, provenance={**newest.provenance, "ema_power": about})
    return (
        f"{out}: the average of length {sigma:g} after {nimg / 1000:g} kimg, of {len(kept)} that {run_dir} kept; error of its "
        f"profile {error:.2%}"
    )


def _kept(run_dir: Path, kimg: float | None) -> list[Power]:
    """What a run kept until then, oldest first."""
    if not run_dir.is_dir():
        raise UserError(f"{run_dir} is no folder of a run; name one that was trained with optim.ema_power=0.05,0.10")
    found = [power for power in layout.powers(run_dir) if kimg is None or power.nimg <= kimg * 1000]
    if not found:
        until = "" if kimg is None else f" until {kimg:g} kimg"
        raise UserError(f"{run_dir} kept no averages{until}: train with optim.ema_power=0.05,0.10, which keeps them")
    return found


def _of_the_same_stage(kept: Sequence[Power], newest: Snapshot) -> list[Power]:
    """Those since the last stage of a network that grows: before, some of its layers were not trained."""
    stage = newest.provenance.get("stage")
    if stage is None:
        return list(kept)
    return [k for k in kept if _stage(k.path) == stage]


def _stage(path: Path) -> Any:
    """What a snapshot says of the stage at which it was kept; its weights are not read."""
    with opened(path) as (_, metadata):
        return metadata.get("provenance", {}).get("stage")


def _sum(kept: Sequence[Power], factors: Sequence[float], newest: Snapshot) -> dict[str, Tensor]:
    """The parameters, each average times its factor, added up in float64."""
    total: dict[str, Tensor] = {
        name: torch.zeros_like(parameter, dtype=torch.float64) for name, parameter in newest.G.named_parameters()
    }
    most = max(map(abs, factors))
    used = [(k, factor) for k, factor in zip(kept, factors, strict=True) if abs(factor) > _FACTOR * most]
    for k, factor in with_bar(used, "averaging", len(used), show=True):
        snapshot = read_snapshot(k.path)
        if snapshot.metadata["model"] != newest.metadata["model"]:
            raise UserError(f"{k.path} holds another architecture than {kept[-1].path}; they are not of one run")
        for name, parameter in snapshot.G.named_parameters():
            total[name] += factor * parameter.detach().double()
    return total
