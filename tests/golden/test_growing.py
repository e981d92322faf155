"""How ProGAN and StyleGAN1 are trained, against recorded numbers of the authors' code, with both kinds of ops: real images,
schedules, losses, and iterations across a fade."""

import copy
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stylegan.config.groups import read_experiment
from stylegan.losses.base import Batch, Phase
from stylegan.losses.logistic import LogisticConfig
from stylegan.losses.wgan_gp import WGANGPConfig
from stylegan.models.progressive import by_our_names
from stylegan.schedule import Dials, Now, Plan, Stage, StageConfig
from stylegan.training.adam import OptimConfig
from stylegan.training.batch import as_shown
from stylegan.training.state import ema_decay
from stylegan.training.step import OnNonfinite, accumulate_gradients, train_step
from tests.golden.golden import Golden, assert_displacement, load
from tests.golden.growing import compare_gradients, gradients_of, names_of, network_of
from tests.unit.training import Training, training_of

DRAWN: dict[str, Any] = {"z_mix": None, "constant_noise": True, "augment_real": None, "augment_fake": None}
STYLEGAN1 = LogisticConfig(r1_gamma=10, r1_interval=0, pl_weight=0, D_first=True, w_avg_twice=True, shared_cutoff=True)
# The official schedule's rounding may leave the layers of before a share of 1e-16 of the image for one evaluation more, where
# ours ends the fade: a fade that is longer by as much does the same.
ROUNDED = 1 + 1e-12


def pair_of(golden: Golden) -> tuple[Any, Any]:
    """G and D."""
    G, D = (network_of(golden, golden.config[f"{name}_kwargs"], f"param/{name}/") for name in ("G", "D"))
    return G, D


def now_at(training: Training, lod: float) -> Now:
    """The networks at a stage, and what it says."""
    side, level = training.state.G.resolution[0], int(lod)
    training.state.stage = None
    stage = Stage((side >> level, side >> level), 1 - (lod - level), training.plan.batch_size)
    training.state.enter(stage)
    return training.shown(training.plan.moment(0, stage))


def test_reals_fade() -> None:
    golden = load("pg_reals")
    for i, case in enumerate(golden.config["cases"]):
        x, lod = golden.tensor(f"case{i:02}/in/x"), case["lod"]
        if case.get("mirror"):
            mirrored = golden.tensor(f"case{i:02}/in/u") >= 0.5
            x = torch.where(mirrored, x.flip(3), x)
        alpha = torch.tensor(1 - lod % 1, dtype=torch.float64) if lod % 1 else None
        zero = torch.zeros([], dtype=torch.float64)
        shown = as_shown(x, Now(zero, (x.shape[2], x.shape[3]), len(x), alpha, {}, {}))
        img = interpolate(shown, (case["resolution"],) * 2, mode="nearest")
        golden.assert_close(f"case{i:02}/out/img", img)


def stages_of(row: dict[str, Any]) -> list[StageConfig]:
    """A recorded schedule as ours."""
    kwargs, final = row["kwargs"], row["resolution"]
    train, fade = kwargs.get("lod_training_kimg", 600), kwargs.get("lod_transition_kimg", 600)
    side, stages = kwargs.get("lod_initial_resolution", 4), []
    ranks, most = row.get("num_gpus", 1), kwargs.get("max_minibatch_per_gpu", {})
    while side <= final:
        batch = kwargs["minibatch_dict"].get(str(side), kwargs["minibatch_base"])
        batch = min(batch - batch % ranks, most.get(str(side), batch) * ranks)
        stages.append(
            StageConfig(
                start_kimg=train + (train + fade) * (len(stages) - 1) if stages else 0,
                resolution=side,
                fade_kimg=fade if stages else 0,
                batch_size=batch,
                lr=kwargs["G_lrate_dict"].get(str(side), 0.001),
            )
        )
        side *= 2
    return stages


def test_schedules() -> None:
    for row in load("pg_schedule").config["rows"]:
        side, stages = row["resolution"], stages_of(row)
        plan = Plan({}, stages, 4, (side, side), 4)
        for point in row["table"]:
            stage = plan.stage(point["kimg"] * 1000)  # type: ignore[arg-type]
            lod = (side // stage.resolution[0]).bit_length() - 1 + (1 - stage.alpha)
            assert lod == pytest.approx(point["lod"], abs=1e-9), point
            assert (stage.resolution[0], stage.batch_size, stage.lr) == (
                point["resolution"], point["minibatch"], point["G_lrate"],
            )  # fmt: skip
        changes, resets, before = [], [], None
        end = row["optimizer_resets"][-1][0] + 10000
        for nimg, stage, held in plan.iterations(0, None, 0):
            if nimg > end:
                break
            if held:
                continue
            if before is None or stage.layers != before.layers:
                resets.append(nimg)
            now = (stage.resolution, stage.batch_size, stage.lr)
            if before is None or now != (before.resolution, before.batch_size, before.lr):
                changes.append([nimg, stage.resolution[0], stage.batch_size, stage.lr])
            before = stage
        assert resets == [nimg for nimg, _ in row["optimizer_resets"]]
        assert changes == row["changes"]


RECIPES = {
    "progan_celebahq1024": ("pg-v2-8gpus", 1024),
    "progan_celebahq256": ("pg-v2-8gpus", 256),
    "stylegan1_ffhq1024": ("sg1-8gpu", 1024),
    "stylegan1_celebahq1024": ("sg1-8gpu", 1024),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_published_ones(name: str) -> None:
    config, rows = read_experiment(name), load("pg_schedule").config["rows"]
    (row,) = [row for row in rows if (row["preset"], row["resolution"]) == RECIPES[name]]
    recorded = stages_of(row)
    if config.loss.kind == "wgan_gp" and config.model.G.kind == "stylegan1":  # the public code's variant of this
        recorded = [replace(stage, lr=min(stage.lr, 0.002)) for stage in recorded]
    assert config.training.stages == recorded
    assert (config.training.repeats, config.training.kimg) == (4, row["total_kimg"])
    optim = config.optim
    assert (optim.beta1, optim.beta2, optim.eps, optim.tensorflow_eps, optim.reset_at_fades) == (
        0,
        0.99,
        1e-8,
        True,
        True,
    )
    if config.loss.kind == "logistic":
        assert config.loss == STYLEGAN1


@pytest.mark.parametrize("name", ["pg_loss_c0", "pg_loss_c3", "sg1_loss_c0", "sg1_loss_c3"])
@pytest.mark.usefixtures("ops")
def test_loss(name: str) -> None:
    golden, progan = load(name), name.startswith("pg")
    G, D = pair_of(golden)
    logistic = replace(STYLEGAN1, r1_gamma=golden.config.get("r1_gamma"), style_mixing_prob=0)
    inputs = {k: golden.tensor(f"in/{k}") for k in ("real", "z_D", "z_G")}
    size = len(inputs["real"])
    training = training_of(G, D, WGANGPConfig() if progan else logistic, batch_size=size)
    none = torch.zeros(size, 0)
    for lod in golden.config["lods"]:
        present = now_at(training, lod)
        for kind in ("D", "G"):
            given, c = dict(DRAWN), golden.get(f"in/c_{kind}")
            given |= {"z": inputs[f"z_{kind}"], "c": none if c is None else c}
            if kind == "D":
                given |= {"real": inputs["real"], "real_c": given["c"]}
                given |= {"mixing_factor": golden.tensor("in/mix").flatten()} if progan else {}
            phase, stats = training.phase(f"{kind}main"), defaultdict(list)
            optimizer = training.state.optimizer(kind)
            batches = [Batch(phase.name, **given)]
            outputs = accumulate_gradients(phase, training.networks, optimizer, batches, present, stats)
            start = f"out/lod{lod:g}/{kind}"
            golden.assert_close(f"{start}/loss", outputs[0].loss.mean())
            for theirs, ours in told(golden, start, progan).items():
                (value,) = stats[ours]
                golden.assert_close(f"{start}/stat/{theirs}", value)
            network = D if kind == "D" else G
            assert compare_gradients(golden, network, f"{start}/grad/", gradients_of(network))


def told(golden: Golden, start: str, progan: bool) -> dict[str, str]:
    """Our names of what is recorded beside a loss."""
    names = {"scores/real": "scores/real", "scores/fake": "scores/fake", "r1_penalty": "r1_penalty"}
    if progan:
        names = {"real_scores": "scores/real", "fake_scores": "scores/fake", "mixed_norms": "gradient_length"}
    return {k: v for k, v in names.items() if f"{start}/stat/{k}" in golden.arrays}


@pytest.mark.parametrize("name", ["train_pg_grow_22it", "train_sg1_grow_16it"])
@pytest.mark.usefixtures("ops")
def test_iterations_across_a_fade(name: str) -> None:
    golden, progan = load(name), name.startswith("train_pg")
    G, D = pair_of(golden)
    course, adam = golden.config["schedule_kwargs"], golden.config["adam"]
    stages = stages_of({"kwargs": {"minibatch_dict": {}, **course}, "resolution": G.resolution[0]})
    if any(0 < row["lod"] < 1e-12 for row in golden.config["plan"]):
        stages[1].fade_kimg *= ROUNDED
    average: dict[str, Any] = {"ema_beta": 0.999} if progan else {"ema_kimg": 0.02, "ema_rampup": 0}
    optim = OptimConfig(
        beta1=adam["beta1"], beta2=adam["beta2"], eps=adam["eps"], tensorflow_eps=True, reset_at_fades=True, **average
    )
    loss = WGANGPConfig() if progan else STYLEGAN1
    repeats = golden.config["minibatch_repeats"]
    training = training_of(G, D, loss, optim, batch_size=4, stages=stages, repeats=repeats)
    state, reset = training.state, []
    for optimizer in (state.G_opt, state.D_opt):
        forget = optimizer.forget
        optimizer.forget = lambda forget=forget: (reset.append(state.nimg), forget())[1]  # type: ignore[method-assign]
    initial = {key: copy.deepcopy(n.state_dict()) for key, n in (("G", G), ("D", D), ("Gs", G))}
    logs: dict[str, list[float]] = defaultdict(list)
    dials = Dials(training.plan, state.alpha, fixed=False)
    for step, planned in enumerate(golden.config["plan"]):
        now, start = training.now, f"in/it{step:02}"
        lod = (G.resolution[0] // now.stage.resolution[0]).bit_length() - 1 + (1 - now.stage.alpha)
        assert lod == pytest.approx(planned["lod"], abs=1e-9) and now.nimg == planned["nimg"]
        assert (now.stage.batch_size, now.stage.lr) == (planned["minibatch"], planned["G_lrate"])

        def draw(phase: Phase, present: Now, start: str = start, planned: Any = planned) -> Sequence[Batch]:
            kind, none = phase.network, torch.zeros(planned["minibatch"], 0)
            given: dict[str, Any] = {**DRAWN, "z": golden.tensor(f"{start}/z{kind}"), "c": none}
            if not progan:
                cutoff = torch.full([len(none)], planned[f"mix_{kind}"]["cutoff"])
                given |= {"z_mix": golden.tensor(f"{start}/z2{kind}"), "mixing_cutoff": cutoff}
            if kind == "D":
                real = golden.tensor(f"{start}/real")
                real = torch.where(golden.tensor(f"{start}/mirror") >= 0.5, real.flip(3), real)
                given |= {"real": as_shown(real, present), "real_c": none}
                given |= {"mixing_factor": golden.tensor(f"{start}/mix").flatten()} if progan else {}
            return [Batch(phase.name, **given)]

        logs["ema_beta"].append(ema_decay(now, training.config.optim.ema_rampup))
        report = train_step(state, training.phases, draw, now, dials, training.config.optim, OnNonfinite.stop)
        found = {key: part for values in report.values for key, part in values.split().items()}
        parts = ("loss/D", "loss/D_gp", "loss/D_drift", "loss/D_reg")
        logs["D_loss"].append(sum(float(found[part].mean()) for part in parts if part in found))
        logs["G_loss"].append(float(found["loss/G"].mean()))
        logs["scores_real"].append(float(found["scores/real"].mean()))
        if not progan:
            logs["w_avg_norm"].append(float(G.mapping.w_avg.norm()))
        if step == 0:
            compare(golden, "iter1", {"G": G, "D": D}, initial)
    assert set(reset) == {planned["nimg"] for planned in golden.config["plan"] if planned["reset"]}
    for key, values in logs.items():
        golden.assert_close(f"out/log/{key}", torch.tensor(values, dtype=torch.float64))
    compare(golden, "final", {"G": G, "D": D, "Gs": state.G_ema}, initial)


def compare(golden: Golden, when: str, networks: dict[str, Any], initial: dict[str, dict[str, Tensor]]) -> None:
    """Every element of networks, and how far they have moved."""
    for name, network in networks.items():
        start = f"out/{when}/{name}/"
        left_out = {key.removeprefix(start) for key in golden.config["not_compared"]}
        table, recorded = names_of(network), golden.state(start)
        recorded = {key: value for key, value in recorded.items() if key not in left_out}
        state = network.state_dict()
        for theirs, layout, ours in table:
            if theirs in recorded:
                tolerance = golden.config["tol"][f"{start}{theirs}"]
                want = layout.ours(recorded[theirs])
                error = (state[ours] - want).abs() - tolerance["atol"] - tolerance["rtol"] * want.abs()
                assert float(error.max()) <= 0, (start, theirs, float(error.max()))
        if name == "Gs":
            continue
        kept = [row for row in table if not ("G_mapping" in row[0] and row[0].endswith("weight"))]
        want = by_our_names(kept, recorded)
        got = {key: state[key] for key in want}
        assert_displacement(start, got, want, {key: initial[name][key] for key in want})
