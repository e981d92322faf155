"""From a configuration to a job that can run: networks, optimisers, phases, data, logger, and where the run stands."""

import copy
import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

import stylegan
from stylegan import distributed
from stylegan import run_dir as layout
from stylegan.augment.build import AugmentKind, build_augment, build_controller, build_strength
from stylegan.config.resume import save_config
from stylegan.config.schema import TrainConfig
from stylegan.data.archive import ImageDataset
from stylegan.data.loader import open_cache, open_dataset
from stylegan.errors import UserError
from stylegan.losses.blur import BlurSchedule
from stylegan.models.build import build_discriminator, build_generator, model_metadata
from stylegan.models.layers import Precision
from stylegan.ops.backend import activate
from stylegan.ops.device import pick_device
from stylegan.ops.memory import keep_freed_memory
from stylegan.training.batch import BatchMaker, split_positions
from stylegan.training.checkpoint import (
    Checkpoint,
    differences,
    environment,
    newest_checkpoint,
    restore,
)
from stylegan.training.logging import RunLogger, SilentLogger
from stylegan.training.loop import Job
from stylegan.training.phases import (
    build_optimizers,
    build_phases,
    default_blur_fade_kimg,
    default_ema_kimg,
    default_loss_scale,
    default_lr,
    default_r1_gamma,
)
from stylegan.training.state import TrainState
from stylegan.training.step import StepConfig
from stylegan.training.totals import Totals
from stylegan.training.transfer import start_from, warn_of_frozen
from stylegan.training.watch import build_watch


@contextmanager
def training_job(config: TrainConfig, resuming: bool) -> Iterator[Job]:
    """Everything that `training.loop.train` needs. All that can be wrong with the input is found before a file is written.

    Args:
        config: As `config.train_config` gives it, with `run_dir`.
        resuming: Whether the run's folder holds it already.

    Raises:
        UserError: The data set, the numbers, the folder, the checkpoint or `init_from` do not fit; another process is in
            the folder; or the disk became full.
    """
    device = pick_device(config.device)
    run_dir = Path(config.run_dir or "")
    with distributed.process_group(device), _full_disk(run_dir), ExitStack() as folder:
        if resuming and distributed.is_main():  # before the checkpoint is chosen: the other process may write another
            folder.enter_context(layout.sole_process(run_dir))
        dataset = _dataset(config)
        batch_size, ranks = config.training.batch_size, distributed.world_size()
        micro_batch = config.training.micro_batch or max(batch_size // ranks, 1)
        rounds = split_positions(batch_size, ranks, micro_batch, _minibatch_group(config))[distributed.rank()]
        state = _new_state(config, dataset, device)
        cache, cache_note = open_cache(config.data, dataset)
        architecture = {"G": model_metadata(state.G), "D": model_metadata(state.D)}
        keep_freed_memory()
        ops = activate(config.ops.backend, device)
        if device.type == "cpu":
            keep_freed_memory()
        here = environment(device, ranks, ops.name)
        notes = _find_start(config, state, dataset, architecture, here, resuming)
        watch = build_watch(config.metrics, dataset, state.G_ema, config.seed, device, run_dir)
        loss = config.loss
        gamma = loss.r1_gamma if loss.r1_gamma is not None else default_r1_gamma(dataset.resolution, batch_size)
        ema_kimg = config.optim.ema_kimg if config.optim.ema_kimg is not None else default_ema_kimg(batch_size)
        fade = loss.blur_fade_kimg if loss.blur_fade_kimg is not None else default_blur_fade_kimg(batch_size)
        blur = BlurSchedule(loss.blur_init_sigma, fade)
        labelled = dataset if dataset.label_dim else None
        augment = build_augment(config.augment, channels=dataset.channels, resolution=dataset.resolution)
        if distributed.is_main():
            if not resuming:
                folder.enter_context(layout.sole_process(run_dir))
                if layout.is_run_dir(run_dir):
                    raise UserError(f"run_dir={run_dir} became a run of another process meanwhile; choose another one")
            save_config(config, run_dir / layout.CONFIG)
            layout.forget_after(run_dir, state.nimg)
        distributed.barrier()
        with _logger(config, run_dir, state) as logger:
            warnings = [f"warning: {ops.warning}"] if ops.warning else []
            for note in [*warnings, *notes, cache_note, _summary(config, dataset, state, gamma, ops.name)]:
                logger.message(note)
            yield Job(
                state=state,
                phases=build_phases(state.G, state.D, state.G_opt, state.D_opt, state.pl_mean, loss, gamma),
                dataset=dataset,
                cache=cache,
                maker=BatchMaker(
                    state.stream_seed, batch_size, loss.style_mixing_prob, loss.pl_batch_shrink, labelled, augment, blur
                ),
                strength=build_strength(config.augment),
                rounds=rounds,
                config=config.training,
                step=StepConfig(
                    batch_size, ema_kimg, config.optim.ema_rampup, config.training.on_nonfinite, _loss_scale(config)
                ),
                workers=config.data.workers,
                device=device,
                run_dir=run_dir,
                logger=logger,
                architecture=architecture,
                environment=here,
                provenance=_provenance(config, dataset),
                watch=watch,
            )


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


def _loss_scale(config: TrainConfig) -> float:
    if config.optim.loss_scale is not None:
        return config.optim.loss_scale
    networks = (config.model.G, config.model.D)
    return default_loss_scale(fp16=any(network.precision is Precision.fp16 for network in networks))


def _minibatch_group(config: TrainConfig) -> int | None:
    D = config.model.D
    return 0 if D.minibatch_std_channels == 0 else D.minibatch_std_group


def _new_state(config: TrainConfig, dataset: ImageDataset, device: torch.device) -> TrainState:
    """Networks as the seed initialises them, the same on all ranks, and their optimisers."""
    shape: dict[str, Any] = {"resolution": dataset.resolution, "channels": dataset.channels, "c_dim": dataset.label_dim}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        G = build_generator(config.model.G, **shape).to(device)
        D = build_discriminator(config.model.D, **shape).to(device)
    G_ema = copy.deepcopy(G).eval().requires_grad_(False)
    G_opt, D_opt = build_optimizers(G, D, config.loss, config.optim, dataset.resolution)
    ada = build_controller(config.augment, config.training.batch_size)
    return TrainState(G, D, G_ema, G_opt, D_opt, torch.zeros([], device=device), config.seed, ada=ada)


def _find_start(
    config: TrainConfig,
    state: TrainState,
    dataset: ImageDataset,
    architecture: dict[str, Any],
    here: dict[str, Any],
    resuming: bool,
) -> list[str]:
    """Bring the state to where training starts: a checkpoint of this run, `init_from`, or nothing.

    Returns:
        What the user should be told about it.
    """
    if resuming:
        checkpoint, notes = newest_checkpoint(Path(config.run_dir or ""))
        if checkpoint is not None:
            _check_data(checkpoint, dataset, config.data.path)
            restore(state, checkpoint, architecture)
            changed = differences(checkpoint.environment, here)
            if changed:
                notes.append(f"this continuation will not equal an unbroken run in every bit: {'; '.join(changed)}")
            return [*notes, f"going on from {checkpoint.path} at {state.nimg / 1000:.3f} kimg"]
        notes.append("the run has no checkpoint yet; it starts anew")
    else:
        notes = []
    if config.init_from is not None:
        return [*notes, *start_from(config.init_from, state)]
    return [*notes, *warn_of_frozen(state.D, state.D.state_dict())]


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


def _logger(config: TrainConfig, run_dir: Path, state: TrainState) -> RunLogger | SilentLogger:
    totals = Totals(config.logging.interval_kimg, state.nimg, round(config.training.kimg * 1000), state.pl_mean.device)
    if not distributed.is_main():
        return SilentLogger(totals)
    rates = {"G": state.G_opt.param_groups[0]["lr"], "D": state.D_opt.param_groups[0]["lr"]}
    return RunLogger(
        run_dir,
        config.logging,
        totals,
        learning_rates=rates,
    )


def _summary(config: TrainConfig, dataset: ImageDataset, state: TrainState, gamma: float, ops: str) -> str:
    """One line that says what is about to run."""
    H, W = dataset.resolution
    sizes = [sum(p.numel() for p in network.parameters()) / 1e6 for network in (state.G, state.D)]
    lr = config.optim.G_lr if config.optim.G_lr is not None else default_lr(dataset.resolution)
    return (
        f"{dataset.name}: {len(dataset)} images of {W}x{H}x{dataset.channels}, {dataset.label_dim} labels; "
        f"G {sizes[0]:.2f} M and D {sizes[1]:.2f} M parameters; batch {config.training.batch_size} on "
        f"{distributed.world_size()} rank(s), lr {lr:g}, R1 gamma {gamma:g}; augmentation: {_augmentation(config)}; "
        f"{torch.get_num_threads()} threads, ops: {ops}"
    )


def _augmentation(config: TrainConfig) -> str:
    augment = config.augment
    match augment.kind:
        case AugmentKind.none:
            return "none"
        case AugmentKind.diffaugment:
            return f"DiffAugment, {', '.join(augment.policy)}"
        case AugmentKind.fixed:
            return f"{augment.pipe.preset}, p {augment.p:g}" + (
                "" if augment.p_end is None else f" to {augment.p_end:g} in {augment.p_kimg:g} kimg"
            )
        case AugmentKind.ada:
            return f"ADA, {augment.pipe.preset}, target {augment.target:g}, p at most {augment.p_max:g}"


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
        },
        "init_from": None if config.init_from is None else Path(config.init_from).name,
        "seed": config.seed,
        "batch_size": config.training.batch_size,
        "loss": asdict(config.loss),
        "optim": asdict(config.optim),
        "augment": {**asdict(config.augment), "kind": config.augment.kind.name},
    }
