"""Gradients in buckets are the means that one flat all-reduce gives, leave before the backward pass ends, and never wait for
each other in vain: two and three real ranks on gloo, and one that believes to be two."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stylegan import distributed
from stylegan.training import reduction
from stylegan.training.reduction import GradientBuckets

TINY = 60 / 2**20  # the weight of a layer fills a bucket


class Net(nn.Module):
    """Layers are declared in another order than they run in; `sometimes` runs on demand, `never` not at all."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.never = nn.Linear(5, 3), nn.Linear(5, 5)
        self.first = nn.Conv2d(3, 4, 3, padding=1).to(memory_format=torch.channels_last)
        self.sometimes = nn.Linear(5, 5)
        self.second = nn.Conv2d(4, 5, 3, padding=1).to(memory_format=torch.channels_last)
        self.scale = nn.Parameter(torch.ones([]))

    def forward(self, x: Tensor, more: bool = False) -> Tensor:
        y = self.second(self.first(x).relu()).relu().mean([2, 3]) * self.scale
        return self.last(self.sometimes(y).relu() if more else y)

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None}


def images(seed: int) -> Tensor:
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def flat_means(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is wanted: one sum of everything over ranks, divided by their number."""
    flat = torch.cat([g.flatten() for g in gradients.values()])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    means = flat.split([g.numel() for g in gradients.values()])
    return {name: mean.view(g.shape) for (name, g), mean in zip(gradients.items(), means, strict=True)}


PASSES = [  # the key, how many micro-batches, and whether `sometimes` runs
    ("a", 1, False),
    ("a", 1, False),
    ("a", 3, False),
    ("a", 1, True),  # more gradients than known
    ("a", 2, True),
    ("b", 1, False),
    ("a", 1, False),  # fewer
    ("a", 1, False),
]


def one_rank(rank: int, world: int, folder: str) -> None:
    """All passes, and after them one that fails and one more; what came out goes into a file."""
    dist.init_process_group("gloo", f"file://{folder}/store{world}", rank=rank, world_size=world)
    total = torch.tensor([1.0, rank])
    distributed.sum_(total)
    assert total.tolist() == [world, sum(range(world))]
    net = Net()
    buckets, results, sent = GradientBuckets(list(net.parameters()), TINY), [], []
    all_reduce = dist.all_reduce

    def counted(tensor: Tensor, **options: Any) -> Any:
        sent.append(len(tensor))
        return all_reduce(tensor, **options)

    for number, (key, rounds, more) in enumerate([*PASSES, ("a", 1, False)]):
        batches = [images(100 * number + 10 * i + rank) for i in range(rounds)]
        net.zero_grad(set_to_none=True)
        for batch in batches:
            net(batch, more).square().sum().backward()
        want = flat_means(net.gradients())
        if number == len(PASSES):  # what fails comes before the last pass, whose batch then is the same
            fail_in_backward(net, buckets, batches[0])
        net.zero_grad(set_to_none=True)
        for batch in batches[:-1]:
            net(batch, more).square().sum().backward()
        loss = net(batches[-1], more).square().sum()
        sent.clear()
        dist.all_reduce = counted
        with buckets.reducing(key):
            loss.backward()
            on_the_way = len(sent)
        dist.all_reduce = all_reduce
        strides = all(p.grad is None or p.grad.stride() == p.stride() for p in net.parameters())
        results.append({"got": net.gradients(), "want": want, "early": on_the_way, "sent": len(sent), "laid": strides})
    torch.save(results, f"{folder}/{world}-{rank}.pt")
    dist.destroy_process_group()


def fail_in_backward(net: Net, buckets: GradientBuckets, batch: Tensor) -> None:
    def fail(_: Tensor) -> None:
        raise ArithmeticError("on the way to the first layer")

    features = net.first(batch).relu()
    features.register_hook(fail)
    loss = net.last(net.second(features).relu().mean([2, 3]) * net.scale).square().sum()
    with pytest.raises(ArithmeticError, match="on the way"), buckets.reducing("a"):
        loss.backward()


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """By rank: what came out of each pass."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(one_rank, (request.param, str(folder)), nprocs=request.param)  # pyright: ignore[reportPrivateImportUsage]
    return [torch.load(folder / f"{request.param}-{rank}.pt") for rank in range(request.param)]


def test_buckets_give_what_one_flat_all_reduce_gives(ranks: list[list[dict[str, Any]]]) -> None:
    for results in ranks:
        for result, first in zip(results, ranks[0], strict=True):
            assert result["got"].keys() == result["want"].keys() and "never.weight" not in result["got"]
            for name, want in result["want"].items():
                got = result["got"][name]
                assert torch.equal(got, first["got"][name]), f"{name} differs between ranks"
                if len(ranks) == 2:
                    assert torch.equal(got, want), name
                else:
                    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert ["sometimes.bias" in result["got"] for result in ranks[0]] == [
        more for _, _, more in [*PASSES, ("", 1, False)]
    ]


def test_they_leave_while_the_backward_pass_goes_on(ranks: list[list[dict[str, Any]]]) -> None:
    for results in ranks:
        early, sent = ([result[name] for result in results] for name in ("early", "sent"))
        full = early[1]
        assert full >= 3 and sent[1] == full, "all leave in the pass, in several buckets"
        assert early[0] == 0 and sent[0] == 1, "nothing is known before the first pass"
        assert early[3] == full and sent[3] == full + 1, "what is new comes last"
        assert (early[5], sent[5]) == (0, 1), "another key is another set"
        assert 0 < early[6] < early[4] and sent[6] == early[6] + 1, "a bucket that stays open holds back those after it"
        assert early[2] == sent[2] == early[7] == sent[7] == early[8] == sent[8] == full


def test_gradients_keep_their_memory_order(ranks: list[list[dict[str, Any]]]) -> None:
    assert all(result["laid"] for results in ranks for result in results)


@pytest.fixture
def believes_to_be_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """One rank in a group of one which takes it for two; gives the events."""
    dist.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    events: list[str] = []
    all_reduce = dist.all_reduce

    def noted(*arguments: Any, **options: Any) -> Any:
        events.append("sent")
        return all_reduce(*arguments, **options)

    monkeypatch.setattr(reduction.dist, "all_reduce", noted)
    yield events
    dist.destroy_process_group()


def test_the_first_bucket_leaves_before_the_first_layer_has_its_gradient(believes_to_be_two: list[str]) -> None:
    """In R1, too, whose inner gradient sends nothing."""
    events, net = believes_to_be_two, Net()
    buckets = GradientBuckets(list(net.parameters()), TINY)
    net.first.weight.register_hook(lambda _: events.append("first layer"))
    for _ in range(2):
        events.clear()
        net.zero_grad(set_to_none=True)
        x = images(0).requires_grad_()
        (gradient,) = torch.autograd.grad(net(x).sigmoid().sum(), x, create_graph=True)
        with buckets.reducing("a"):
            loss = gradient.square().sum() + net(x).sum()
            events.append("backward")
            loss.backward()
            events.append("end")
    assert events[:2] == ["backward", "sent"] and events.index("sent") < events.index("first layer") < len(events) - 2
    assert events[-1] == "end"


def test_buckets_hold_what_they_may(believes_to_be_two: list[str]) -> None:
    net = Net()
    buckets = GradientBuckets(list(net.parameters()))
    for _ in range(2):
        with buckets.reducing("a"):
            net(images(0)).sum().backward()
    assert believes_to_be_two == ["sent"] * 2, "25 MiB hold all of it"


@pytest.mark.parametrize("broken", [False, True])
def test_an_error_in_the_backward_pass_is_told_and_leaves_no_hook(
    believes_to_be_two: list[str], broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where what was sent can never arrive."""
    events, net = believes_to_be_two, Net()
    buckets = GradientBuckets(list(net.parameters()), TINY)
    with buckets.reducing("a"):
        net(images(0)).sum().backward()

    class Lost:
        def wait(self) -> None:
            events.append("waited")
            raise RuntimeError("connection closed by peer")

    if broken:
        monkeypatch.setattr(reduction.dist, "all_reduce", lambda *_, **__: Lost())
    fail_in_backward(net, buckets, images(1))
    assert events[-1] == ("waited" if broken else "sent")
    net.zero_grad(set_to_none=True)
    events.clear()
    net(images(2)).sum().backward()
    assert events == [] and not any(p._post_accumulate_grad_hooks for p in net.parameters())


def test_one_rank_does_nothing() -> None:
    net = Net()
    with GradientBuckets(list(net.parameters())).reducing("a"):
        assert not any(p._post_accumulate_grad_hooks for p in net.parameters())
        net(images(0)).sum().backward()
    got = net.gradients()
    net.zero_grad(set_to_none=True)
    net(images(0)).sum().backward()
    assert all(torch.equal(got[name], want) for name, want in net.gradients().items())
