"""What a training takes of memory at the least, known before its networks are made."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from stylegan.errors import UserError
from stylegan.losses.base import Networks, Phase, Reals
from stylegan.memory import check_images, check_memory, size_told
from stylegan.models.growing import Growing
from stylegan.ops import torch_private
from stylegan.schedule import Dials, Plan, Stage
from stylegan.training.batch import Drawer
from stylegan.training.config import TrainConfig

FLOAT = 4  # bytes


class Saved(saved_tensors_hooks):
    """Counts what the backward pass needs kept of what is computed inside of the body.

    Args:
        networks: Their parameters and buffers do not count.
    """

    def __init__(self, *networks: nn.Module) -> None:
        tensors = [t for network in networks for t in [*network.parameters(), *network.buffers()]]
        self._kept = {torch_private.identity(t.untyped_storage()) for t in tensors}
        self._saved: dict[int, torch.UntypedStorage] = {}  # holds on to storages, so that their addresses stay apart
        super().__init__(self._note, lambda t: t)

    def _note(self, t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if (key := torch_private.identity(storage)) not in self._kept:
            self._saved[key] = storage
        return t

    @property
    def bytes(self) -> int:
        """Their number."""
        return sum(storage.nbytes() for storage in self._saved.values())


def check_training_memory(
    config: TrainConfig, shape: dict[str, Any], *, ranks: int = 1, device: torch.device | None = None
) -> None:
    """Refuse networks and batches that this machine, or GPU, cannot hold by far.

    G, D, their gradients, the two moments of Adam for each, G_ema and further averages are counted, and the images of a batch;
    not what lies between the layers.

    Args:
        config: Resolved.
        shape: `resolution` (H, W), `channels` and `c_dim`, as networks are built with.
        ranks: Processes that share a batch.
        device: Where it trains; None: the CPU.

    Raises:
        UserError: There is too little memory, or the networks cannot be of this size.
    """
    total = _memory_of(device)
    (G, G_most), (D, D_most) = (_numbers(network, shape) for network in (config.model.G, config.model.D))
    largest = f"model.G. holds {G:.4g} numbers, most of them in {G_most}; model.D. {D:.4g}, most of them in {D_most}"
    check_memory(
        _bytes_of_networks(config, G, D),
        "the networks, their gradients, averages and moments of Adam",
        f"{largest}: make them smaller",
        total,
    )
    training, metrics = config.training, config.metrics
    counts = {
        "training.batch_size": (training.batch_size or 1) / ranks,
        "training.grid_images": training.grid_images,
        **({"metrics.batch": metrics.batch} if metrics.names else {}),
    }
    for name, count in counts.items():
        check_images(count, shape["channels"], shape["resolution"], name)


def check_stages_memory(
    config: TrainConfig, shape: dict[str, Any], plan: Plan, *, ranks: int = 1, device: torch.device | None = None
) -> str:
    """Refuse a training that grows if its largest stage cannot be held: without this one would learn of it after days.

    Networks and moments are counted as in `check_training_memory`, and what the backward passes of a stage need kept between
    the layers. Each stage is tried on the meta device, where nothing is computed.

    Args:
        config, shape, ranks, device: As there.
        plan: Has the stages.

    Returns:
        What the largest stage takes, for the log.

    Raises:
        UserError: There is too little memory.
    """
    with torch.device("meta"):
        G, D = (network.build(**shape) for network in (config.model.G, config.model.D))
    networks = Networks(G, D, torch.zeros([], device="meta"))
    always = _bytes_of_networks(config, *(sum(t.numel() for t in n.state_dict().values()) for n in (G, D)))
    most = config.training.micro_batch or max(plan.batch_sizes())
    found: list[tuple[int, Stage, int]] = []
    # A stage that is smaller than another one in both ways takes less.
    largest_batch = 0
    for stage in sorted(map(plan.stage_of, plan.stages), key=lambda stage: stage.resolution, reverse=True):
        count = min(most, max(stage.batch_size // ranks, 1))
        if count > largest_batch:
            largest_batch = count
            found.append((_bytes_of_stage(config, networks, plan, stage, count), stage, count))
    needed, stage, count = max(found, key=lambda one: one[0])
    (h, w), total = stage.resolution, _memory_of(device)
    what = f"the stage of {w}x{h}, with {count} images at once, and what is kept beside it"
    check_memory(
        always + needed, what, "give training.micro_batch= a smaller number, or end at a lower resolution", total
    )
    return f"memory: {what} take about {size_told(always + needed)}"


def _bytes_of_stage(config: TrainConfig, networks: Networks, plan: Plan, stage: Stage, count: int) -> int:
    """What the most demanding phase of a stage keeps between the layers for so many images."""
    G, D = networks.G, networks.D
    alpha = torch.full([], stage.alpha, dtype=torch.float64, device="meta")
    for network in (G, D):
        if isinstance(network, Growing):
            network.set_stage(stage.resolution, alpha if stage.alpha < 1 else None)
    phases, moment = config.loss.phases(G), plan.moment(0, stage)
    now = Dials(plan, alpha, fixed=True).turn(moment)
    real = torch.zeros([count, G.channels, *G.resolution], dtype=torch.uint8, device="meta")
    images = dict.fromkeys(Reals, (real, torch.zeros([count, G.c_dim], device="meta")))
    given = Drawer().given(phases, moment, images, [list(range(count))], seed=0)

    def kept(phase: Phase) -> int:
        (batch,) = Drawer().draw(phase, now, G, given, seed=0)
        for name, network in (("G", G), ("D", D)):
            network.requires_grad_(name == phase.network)
        saved = Saved(G, D)
        with saved:
            output = phase.loss(networks, batch, now)
        assert output.loss.is_meta
        return saved.bytes

    return max(kept(phase) for phase in phases)


def _bytes_of_networks(config: TrainConfig, G: float, D: float) -> float:
    """Networks of so many numbers, gradients, moments and averages."""
    return FLOAT * ((5 + len(config.optim.ema_power)) * G + 4 * D)


def _memory_of(device: torch.device | None) -> int | None:
    """The bytes of a GPU; None for the CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device and device.type == "cuda" else None


def _numbers(network: Any, shape: dict[str, Any]) -> tuple[float, str]:
    """How many numbers a network of this configuration has, nearly all of them parameters, and what the largest tensor is."""
    try:
        with torch.device("meta"):
            module: nn.Module = network.build(**shape)
    except UserError:
        raise
    except RuntimeError:  # torch cannot even count the bytes of one tensor
        return math.inf, "one tensor"
    tensors = module.state_dict()
    name = max(tensors, key=lambda key: tensors[key].numel())
    return sum(tensor.numel() for tensor in tensors.values()), f"{name} {list(tensors[name].shape)}"
