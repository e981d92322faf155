"""Dividing the images of an iteration between ranks and micro-batches."""

from collections.abc import Iterator

import torch

from stylegan.errors import UserError


def split_positions(
    batch_size: int, ranks: int, micro_batch: int, group: int | None, name: str = "training.batch_size"
) -> list[list[list[int]]]:
    """Which images of a global batch each rank takes in each of its rounds: `result[rank][round]` is a list of positions.

    The discriminator compares image n with n + N/g, n + 2N/g, ... (minibatch standard deviation with groups of g). The split
    keeps such groups whole and in place, so that the rounds' mean gradient is that of the whole batch.

    Args:
        batch_size: N, images of one iteration over all ranks.
        ranks: Number of ranks.
        micro_batch: Images of one rank in one round.
        group: g; 0 where the discriminator does not compare images, None where it compares the whole batch.
        name: What sets N, for messages.

    Raises:
        UserError: The numbers do not divide.
    """
    if batch_size < 1 or micro_batch < 1 or batch_size % (ranks * micro_batch):
        raise UserError(
            f"{name}={batch_size} cannot be divided into {ranks} rank(s) x rounds of "
            f"training.micro_batch={micro_batch}; {_advice(batch_size, ranks, micro_batch, group, name)}"
        )
    if group is None:
        if micro_batch != batch_size:
            raise UserError(
                f"model.D.minibatch_std_group=null compares the whole batch, which needs one rank and "
                f"training.micro_batch={batch_size} (it is {micro_batch} on {ranks} rank(s)); or give the group a size"
            )
        return [[list(range(batch_size))]]
    whole, group = group, _group(batch_size, group)
    if micro_batch % group:
        raise UserError(
            f"training.micro_batch={micro_batch} is not a multiple of model.D.minibatch_std_group={group}; "
            f"a group must not straddle micro-batches: {_advice(batch_size, ranks, micro_batch, whole, name)}"
        )
    rounds = batch_size // (ranks * micro_batch)
    lanes = torch.arange(batch_size).view(group, rounds * ranks, micro_batch // group)
    chunks = lanes.transpose(0, 1).flatten(1).tolist()
    return [chunks[r * rounds : (r + 1) * rounds] for r in range(ranks)]


def _group(batch_size: int, group: int) -> int:
    return min(max(group, 1), batch_size)


def _advice(batch_size: int, ranks: int, micro_batch: int, group: int | None, name: str) -> str:
    """The nearest numbers that do divide."""
    if group is None:
        return (
            f"with model.D.minibatch_std_group=null it is one rank and training.micro_batch={max(batch_size, 1)}; or give the "
            "group a size"
        )
    for size in _nearest(max(batch_size, 1)):
        together = _group(size, group)
        groups, rest = divmod(size, ranks * together)  # of a rank
        if rest == 0:
            # No more than was asked for, as that may be what the memory holds.
            most = min(groups, max(micro_batch // together, 1))
            in_a_round = next(n for n in range(most, 0, -1) if groups % n == 0)
            other = "" if size == batch_size else f"{name}={size} "
            return f"choose {other}training.micro_batch={in_a_round * together}"
    raise AssertionError("a multiple of ranks x group always divides")


def _nearest(size: int) -> Iterator[int]:
    """`size`, and every number around it, the nearest first."""
    yield size
    distance = 1
    while True:
        if size > distance:
            yield size - distance
        yield size + distance
        distance += 1
