"""Gradients of several ranks become one: their means, which travel while the backward pass goes on.

DistributedDataParallel does the same around a module's `forward`. Here a phase runs two networks, one of which stands still,
differentiates within its loss (R1, path length) and adds up micro-batches: what counts is its last `backward()` alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from stylegan import distributed


class GradientBuckets:
    """Means of gradients over ranks, in buckets that travel while the backward pass goes on.

    Which parameters get a gradient, and in which order, is noted in the first pass of every kind and shared by the first rank;
    until then, and for those that come unexpectedly, everything is reduced after the pass, in one. Buckets are filled in that
    order, and sent in it whatever the order of a later pass: all ranks have the same collectives in the same order.
    """

    def __init__(self, parameters: Sequence[Tensor], bucket_mb: float = 25.0) -> None:
        """
        Args:
            parameters: What is trained, in the same order on all ranks.
            bucket_mb: A bucket is full from so many MiB on. Small ones leave early, large ones waste less time on the way.
        """
        self._parameters, self._bytes = list(parameters), bucket_mb * 2**20
        self._buckets: dict[str, list[list[int]]] = {}  # numbers of parameters

    @contextmanager
    def reducing(self, key: str) -> Iterator[None]:
        """Put around the one `backward()` that completes the gradients. At the end every gradient is its mean over ranks, and
        nothing is on its way. With one rank it does nothing.

        All ranks must come here with the same key, and get gradients for the same parameters. After an error what was sent
        before it is waited for; the gradients are then unusable.

        Args:
            key: Names what decides which parameters get gradients. Another set than last time costs the overlap, once.
        """
        if distributed.world_size() == 1:
            yield
            return
        buckets = self._buckets.get(key, [])
        flight = _Flight(self._parameters, buckets)
        # A hook on the sum of what arrives: R1's and path length's inner gradients do not reach it, as they should not.
        hooks = [
            p.register_post_accumulate_grad_hook(partial(flight.arrived, i))
            for i, p in enumerate(self._parameters)
            if p.requires_grad
        ]
        try:
            yield
        except Exception:
            with suppress(Exception):  # where another rank is gone, its end must not hide why this one stopped
                flight.wait()
            raise
        finally:
            for hook in hooks:
                hook.remove()
        flight.land()
        if set(flight.order) != {i for bucket in buckets for i in bucket}:
            self._buckets[key] = list(self._divided(distributed.same_everywhere(flight.order)))

    def _divided(self, order: Iterable[int]) -> Iterator[list[int]]:
        bucket, size = [], 0
        for i in order:
            bucket.append(i)
            size += self._parameters[i].nbytes
            if size >= self._bytes:
                yield bucket
                bucket, size = [], 0
        if bucket:
            yield bucket


class _Flight:
    """The gradients of one backward pass on their way.

    Attributes:
        order: The numbers of the parameters whose gradients are complete, in the order in which they became it.
    """

    def __init__(self, parameters: Sequence[Tensor], buckets: Sequence[Sequence[int]]) -> None:
        self.order: list[int] = []
        self._parameters, self._buckets = parameters, buckets
        self._missing = [len(bucket) for bucket in buckets]
        self._bucket_of = {i: b for b, bucket in enumerate(buckets) for i in bucket}
        self._sent: list[tuple[list[Tensor], Tensor, dist.Work]] = []  # gradients, their flat copy, what to wait for

    def arrived(self, number: int, _: Tensor) -> None:
        """A parameter's gradient is complete: send what is full, unless an earlier bucket is not."""
        self.order.append(number)
        if number in self._bucket_of:
            self._missing[self._bucket_of[number]] -= 1
        while len(self._sent) < len(self._buckets) and self._missing[len(self._sent)] == 0:
            self._send(self._buckets[len(self._sent)])

    def land(self) -> None:
        """Send what has not been, and give all gradients their means."""
        sent = {i for bucket in self._buckets[: len(self._sent)] for i in bucket}
        if rest := [i for i, p in enumerate(self._parameters) if p.grad is not None and i not in sent]:
            self._send(rest)
        self.wait()
        for gradients, flat, _ in self._sent:
            flat.div_(distributed.world_size())
            for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view(gradient.shape))

    def wait(self) -> None:
        """Until nothing is on its way."""
        for _, _, work in self._sent:
            work.wait()

    def _send(self, bucket: Sequence[int]) -> None:
        gradients = [_in_memory_order(p.grad, p) for p in (self._parameters[i] for i in bucket) if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        work = dist.all_reduce(flat, async_op=True)
        assert work is not None  # every rank is in the group
        self._sent.append((gradients, flat, work))


def _in_memory_order(t: Tensor, like: Tensor) -> Tensor:
    """A view of t whose axes are ordered as those of `like` lie in memory: it is contiguous where t lies as `like` does."""
    return t.permute(sorted(range(t.ndim), key=like.stride, reverse=True))
