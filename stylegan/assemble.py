"""From a configuration to a job that can run: networks, optimisers, phases, data, logger, and where the run stands."""

import copy
import errno
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from torch import nn

import stylegan
from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.config.resume import continued
from stylegan.config.saved import check_unedited, save_config
from stylegan.data.archive import ImageDataset
from stylegan.data.loader import open_cache, open_dataset
from stylegan.errors import UserError
from stylegan.losses.base import Phase
from stylegan.losses.table import check_phases
from stylegan.models.growing import Growing
from stylegan.models.metadata import model_metadata
from stylegan.ops.backend import activate
from stylegan.ops.device import compute_exactly, pick_device
from stylegan.ops.memory import keep_freed_memory
from stylegan.schedule import Dials, Plan, StageConfig, schedules_of
from stylegan.training import loop
from stylegan.training.adam import Adam, OptimConfig, lazy_ratio
from stylegan.training.batch import Drawer
from stylegan.training.checkpoint import (
    Checkpoint,
    Interval,
    differences,
    environment,
    newest_checkpoint,
    restore,
)
from stylegan.training.config import TrainConfig, described, resolved
from stylegan.training.graphs import build_graphs
from stylegan.training.job import Job, rounds_of
from stylegan.training.logging import RunLogger, SilentLogger
from stylegan.training.memory import check_stages_memory, check_training_memory
from stylegan.training.saving import Keeper, take_up
from stylegan.training.state import TrainState
from stylegan.training.totals import Totals
from stylegan.training.transfer import start_from, warn_of_frozen
from stylegan.training.watch import build_watch

# Networks are initialised by torch's generator, which all threads share: two trainings must not draw from it at once.
_TORCH_RNG = threading.Lock()


def train(config: TrainConfig) -> Path:
    """Train from Python, on any thread; the same as train.py with these settings.

    >>> config = TrainConfig(run_dir="runs/mine", data=DataConfig(path="faces.zip"))
    >>> G = stylegan.load_generator(stylegan.train(config))

    Args:
        config: What to do. Where its `run_dir` holds a run already, that one goes on, and everything that the configuration
            says must agree with it but what may change, such as `training.kimg`.

    Returns:
        The run's folder.

    Raises:
        UserError: Something in the configuration cannot be done.
    """
    config, resuming = continued(config)
    run_training(config, resuming)
    return Path(config.run_dir or "")


def run_training(
    config: TrainConfig,
    resuming: bool,
    stop_request: AbstractContextManager[Callable[[], bool]] = nullcontext(lambda: False),  # noqa: B008 (it holds nothing)
) -> None:
    """Train what a configuration says, and tell where it ended.

    Args:
        config: With `run_dir`.
        resuming: Whether that holds the run already.
        stop_request: Entered while iterations run; it gives what is asked before each whether to stop.

    Raises:
        UserError: As `training_job` and `training.loop.train`.
    """
    run_dir, kimg = config.run_dir, config.training.kimg
    with training_job(config, resuming) as job:
        if job.state.nimg >= config.training.total_nimg:
            Keeper(job).complete()
            job.logger.message(f"{run_dir} is finished at {kimg:g} kimg; give a larger training.kimg= to go on")
            return
        with stop_request as stop:
            finished = loop.train(job, stop)
        stopped = (
            f"stopped at {job.state.nimg / 1000:.3f} kimg; `python train.py {quote(f'run_dir={run_dir}')}` goes on. "
        )
        job.logger.message(
            f"{'' if finished else stopped}Look at {run_dir}: fakes-*.png (reals.png), "
            f"`tensorboard --logdir {quote(str(run_dir))}`, "
            f"`python generate.py {quote(f'network={run_dir}')} seeds=0-31`"
        )


@contextmanager
def training_job(config: TrainConfig, resuming: bool) -> Iterator[Job]:
    """Everything that `training.loop.train` needs. All that can be wrong with the input is found before a file is written.

    Args:
        config: What is asked for, with `run_dir`; what follows from the data is filled in here.
        resuming: Whether the run's folder holds it already.

    Raises:
        UserError: The data set, the numbers, the folder, the checkpoint or `init_from` do not fit; another process is in
            the folder; or the disk became full.
    """
    config.check_together()
    device = pick_device(config.device)
    run_dir = Path(config.run_dir or "")
    with distributed.process_group(device), _full_disk(run_dir), ExitStack() as folder:
        if resuming and distributed.is_main():  # before the checkpoint is chosen: the other process may write another
            folder.enter_context(layout.sole_process(run_dir))
        compute_exactly(tf32=config.training.tf32)
        dataset = _dataset(config)
        ranks = distributed.world_size()
        config = resolved(config, resolution=dataset.resolution, images=len(dataset), ranks=ranks)
        if device.type == "cpu":
            keep_freed_memory()
        check_training_memory(config, _shape(dataset), ranks=ranks, device=device)
        state, phases = _new_state(config, dataset, device)
        plan = build_plan(config, dataset.resolution)
        if config.training.stages and not all(isinstance(network, Growing) for network in (state.G, state.D)):
            raise UserError(
                f"training.stages: model.G={config.model.G.kind} and model.D={config.model.D.kind} do not both grow; leave the "
                "stages out, or choose networks that do"
            )
        _check_stages(plan, state)
        estimate = []
        if config.training.stages:
            estimate = [check_stages_memory(config, _shape(dataset), plan, ranks=ranks, device=device)]
        architecture = {"G": model_metadata(state.G), "D": model_metadata(state.D)}
        cache, cache_note = open_cache(config.data, dataset)
        ops = activate(config.ops.backend, device)
        here = environment(device, ranks, ops.name)
        interval, notes = _find_start(config, state, dataset, architecture, here, resuming)
        if resuming and distributed.is_main():  # after the checkpoint's own objections, which say more
            check_unedited(run_dir / layout.CONFIG)

        def tell(text: str) -> None:
            job.logger.message(text)

        graphs = build_graphs(config.training.cuda_graphs, device, ranks, tell)
        fixed = device.type == "cuda"  # a shape that depends on a value would have to wait for it
        job = Job(
            config=config,
            state=state,
            plan=plan,
            dials=Dials(plan, state.alpha, fixed=fixed),
            phases=phases,
            drawer=_drawer(config, plan, dataset, fixed=fixed),
            dataset=dataset,
            cache=cache,
            device=device,
            run_dir=run_dir,
            totals=Totals(config.logging.interval_kimg, state.nimg, config.training.total_nimg, device),
            logger=SilentLogger(),
            architecture=architecture,
            environment=here,
            provenance=_provenance(config, dataset),
            rounds=rounds_of(config.training, plan, state.D.minibatch_group),
            graphs=graphs,
            watch=build_watch(config.metrics, dataset, state.G_ema, config.seed, device, run_dir),
        )
        if distributed.is_main():
            if not resuming:
                folder.enter_context(layout.sole_process(run_dir))
                if layout.is_run_dir(run_dir):
                    raise UserError(f"run_dir={run_dir} became a run of another process meanwhile; choose another one")
            save_config(config, run_dir / layout.CONFIG)
            notes += layout.forget_after(run_dir, state.nimg)
            total, resumed = config.training.total_nimg, interval is not None
            job.logger = folder.enter_context(RunLogger(run_dir, config.logging, state.nimg, total, resumed=resumed))
        if interval is not None:
            take_up(job, interval)
        distributed.barrier()
        warnings = [f"warning: {ops.warning}"] if ops.warning else []
        labels = [f"labels: {dataset.labels_told}"] if dataset.has_labels else []
        planned = [_planned_space(config, state)] if state.power else []
        for note in [
            *warnings,
            *notes,
            cache_note,
            *labels,
            *planned,
            *estimate,
            _summary(config, dataset, state, ops.name),
        ]:
            job.logger.message(note)
        yield job


def build_plan(config: TrainConfig, resolution: tuple[int, int]) -> Plan:
    """The course of a resolved configuration's training on images of (H, W).

    Raises:
        UserError: Stages that do not follow one another, or that the networks cannot go through.
    """
    training = config.training
    assert training.batch_size is not None, "the configuration is resolved"
    stages = training.stages or [StageConfig()]
    resets = config.optim.reset_at_fades
    return Plan(schedules_of(config), stages, training.repeats, resolution, training.batch_size, resets)


def _check_stages(plan: Plan, state: TrainState) -> None:
    """Raise `UserError` for a stage that the networks cannot be at, rather than when its time comes."""
    for network in (state.G, state.D):
        if isinstance(network, Growing):
            for resolution in [*plan.resolutions(), network.resolution]:
                network.set_stage(resolution, None)


@contextmanager
def _full_disk(run_dir: Path) -> Iterator[None]:
    """Where writing fails for want of room, say from where the run can go on. Anything else passes."""
    try:
        yield
    except (OSError, UserError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        text = str(error) if isinstance(error, UserError) else f"cannot write in {run_dir}: {cause.strerror}"
        if layout.is_run_dir(run_dir):
            kept = layout.checkpoints(run_dir)
            start = f"from {kept[-1]}" if kept else "from its beginning"
            text += f"; make room, then `python train.py run_dir={run_dir}` goes on {start}"
        raise UserError(text) from error


def _dataset(config: TrainConfig) -> ImageDataset:
    """Open the data set. The first rank makes it where it must be made, and finds its content hash, for which every image of
    an archive that does not state it must be read; the others wait and take both over."""
    opened: list[ImageDataset] = []

    def content_hash() -> str:
        opened.append(open_dataset(config.data))
        return opened[0].content_hash

    known = distributed.from_main(f"content_hash of {config.run_dir}", content_hash)
    dataset = opened[0] if opened else open_dataset(config.data)
    dataset.info = replace(dataset.info, content_hash=known)
    return dataset


def _drawer(config: TrainConfig, plan: Plan, dataset: ImageDataset, *, fixed: bool) -> Drawer:
    """What draws; images are augmented in every size that a stage shows."""
    build = config.augment.build
    built = {size: build(channels=dataset.channels, resolution=size, fixed=fixed) for size in plan.resolutions()}
    augment = {size: pipe for size, pipe in built.items() if pipe is not None}
    return Drawer(dataset if dataset.label_dim else None, augment or None)


def _new_state(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> tuple[TrainState, list[Phase]]:
    """Networks as the seed initialises them, the same on all ranks, their optimisers, and what trains them.

    Raises:
        UserError: The networks cannot be of this size, or the loss needs more of them than they have.
        ValueError: The loss is at fault, see `check_phases`.
    """
    shape = _shape(dataset)
    with _TORCH_RNG, torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G = config.model.G.build(**shape).to(device)
        D = config.model.D.build(**shape).to(device)
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    ada = config.augment.build_controller(device)
    phases = config.loss.phases(G)
    check_phases(phases, G, adapts=ada is not None)
    G_opt, D_opt = (build_optimizer(n, name, phases, config.optim) for name, n in (("G", G), ("D", D)))
    power = {sigma: copy.deepcopy(G_ema) for sigma in config.optim.ema_power}
    zero = torch.zeros([], device=device)
    return TrainState(G, D, G_ema, G_opt, D_opt, zero, config.seed, ada=ada, power=power), phases


def _shape(dataset: ImageDataset) -> dict[str, Any]:
    """What networks are built with."""
    return {"resolution": dataset.resolution, "channels": dataset.channels, "c_dim": dataset.label_dim}


def build_optimizer(network: nn.Module, name: str, phases: Sequence[Phase], optim: OptimConfig) -> Adam:
    """Adam of a network (`G` or `D`), corrected for the phases that train it."""
    ratio = lazy_ratio([phase.interval for phase in phases if phase.network == name])
    return Adam(list(network.parameters()), eps=optim.eps, ratio=ratio, tensorflow_eps=optim.tensorflow_eps)


def _find_start(
    config: TrainConfig,
    state: TrainState,
    dataset: ImageDataset,
    architecture: dict[str, Any],
    here: dict[str, Any],
    resuming: bool,
) -> tuple[Interval | None, list[str]]:
    """Bring the state to where training starts: a checkpoint of this run, `init_from`, or nothing.

    Returns:
        The interval that goes on there, where it is a checkpoint; and what the user should be told about it.
    """
    if resuming:
        checkpoint, notes = newest_checkpoint(Path(config.run_dir or ""))
        if checkpoint is not None:
            _check_data(checkpoint, dataset, config.data.path)
            if (seed := checkpoint.state["seed"]) != config.seed:
                raise UserError(
                    f"{config.run_dir}/{layout.CONFIG} says seed={config.seed}, but {checkpoint.path} was trained with "
                    f"seed={seed}: put that back"
                )
            restore(state, checkpoint, architecture)
            changed = differences(checkpoint.environment, here)
            if changed:
                notes.append(f"this continuation will not equal an unbroken run in every bit: {'; '.join(changed)}")
            return checkpoint.interval, [*notes, f"going on from {checkpoint.path} at {state.nimg / 1000:.3f} kimg"]
        notes.append("the run has no checkpoint yet; it starts anew")
    else:
        notes = []
    if config.init_from is not None:
        notes += start_from(config.init_from, state, config.training.start_kimg)
        for average in state.power.values():
            average.load_state_dict(state.G.state_dict())
        if state.nimg >= config.training.total_nimg:
            raise UserError(
                f"training.kimg={config.training.kimg:g} is reached where training would start, at {state.nimg / 1000:g} kimg "
                f"(training.start_kimg={config.training.start_kimg}); give a larger training.kimg="
            )
        return None, notes
    return None, [*notes, *warn_of_frozen(state.D, state.D.state_dict())]


def _check_data(checkpoint: Checkpoint, dataset: ImageDataset, path: str) -> None:
    """Other files are read to the end, since what they say about themselves need not be true; the same ones are believed."""
    if checkpoint.fingerprint != dataset.fingerprint:
        dataset.verify()
    if checkpoint.content_hash != dataset.content_hash:
        raise UserError(
            f"data.path={path} ({dataset.path}) is not the data set that {checkpoint.path} was trained on: its content hash is "
            f"{dataset.content_hash[:16]}..., the run's {checkpoint.content_hash[:16]}...; give data.path= of the old one, "
            "or start a new run with init_from="
        )


def _planned_space(config: TrainConfig, state: TrainState) -> str:
    """What further averages will take on the disk."""
    numbers = sum(tensor.numel() for tensor in state.G.state_dict().values())
    count = math.ceil((config.training.total_nimg - state.nimg) / (1000 * config.training.snapshot_kimg))
    size = 4 * numbers * len(state.power)
    return (
        f"optim.ema_power: {len(state.power)} further averages with every snapshot, {size / 2**20:.1f} MiB each time, "
        f"{count * size / 2**30:.2f} GiB until the end; a larger training.snapshot_kimg= takes less"
    )


def _summary(config: TrainConfig, dataset: ImageDataset, state: TrainState, ops: str) -> str:
    """One line that says what is about to run."""
    H, W = dataset.resolution
    sizes = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (state.G, state.D)]
    changing = "".join(f", {name} {schedule}" for name, schedule in schedules_of(config).items() if schedule)
    return (
        f"{dataset.name}: {len(dataset)} images of {W}x{H}x{dataset.channels}, {dataset.label_dim} labels; "
        f"G {sizes[0]:.2f} M and D {sizes[1]:.2f} M parameters; batch {config.training.batch_size} on "
        f"{distributed.world_size()} rank(s){changing}; augmentation: {config.augment}; "
        f"{torch.get_num_threads()} threads, ops: {ops}"
    )


def _provenance(config: TrainConfig, dataset: ImageDataset) -> dict[str, Any]:
    """What a snapshot says about where it comes from. Paths of this machine stay out of it."""
    info = dataset.info
    return {
        "software": f"stylegan {stylegan.__version__}",
        "torch": str(torch.__version__),
        "data": {
            "name": dataset.name,
            "images": len(dataset),
            "content_hash": dataset.content_hash,
            "licence": info.licence,
            "source": info.source,
            "crop": info.crop,
            "resize_filter": info.resize_filter,
            "mirrored": config.data.xflip,
            **({"class_names": list(info.class_names)} if dataset.labels_are_classes and info.class_names else {}),
        },
        "init_from": None if config.init_from is None else Path(config.init_from).name,
        "seed": config.seed,
        **described(config),
    }
