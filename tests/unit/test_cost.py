"""Costs of an iteration that do not depend on the machine: counted right, and not higher than recorded."""

import json
from pathlib import Path

import pytest
import torch

from stylegan.bench.cost import Cost, HostReads, as_json, iteration_cost, phase_cost, risen
from stylegan.bench.workload import CONFIGURATIONS, configuration, weighted, workload
from stylegan.errors import UserError
from stylegan.ops.backend import reference_ops

RECORDED = Path(__file__).parents[1] / "bench" / "costs.json"


@pytest.mark.parametrize("name", ["paper256", "paper1024", "stylegan3_t256", "stylegan3_r256"])
def test_costs_have_not_risen(name: str) -> None:
    """If one has for a reason: `stylegan bench NAME --measure cost --out FILE`, copy the entry to tests/bench/costs.json,
    and write the reason to its `reasons`."""
    sizes = json.loads(RECORDED.read_text())["configurations"][name]
    higher = risen(iteration_cost(CONFIGURATIONS[name], sizes["resolution"], sizes["batch_size"]), RECORDED, name)
    assert not higher, "\n".join(higher)


def test_reads_of_values_are_counted() -> None:
    t = torch.ones(3, device="meta")
    with HostReads() as counter:
        assert float(t.sum()) == 1 and t.cpu().tolist() == [1, 1, 1]
        (t * 2).to(torch.float64)
    assert counter.host_reads == 2


def test_a_rise_is_named(tmp_path: Path) -> None:
    file = tmp_path / "costs.json"
    file.write_text(json.dumps({"configurations": {"it": {"costs": as_json({"Gmain": Cost(1, 10, 2, 3, 0)})}}}))
    assert risen({"Gmain": Cost(1, 9, 2, 3, 0)}, file, "it") == []
    assert risen({"Gmain": Cost(1, 11, 2, 3.5, 0)}, file, "it") == [
        "Gmain.ops: 11, recorded is 10",
        "Gmain.saved_gb: 3.5, recorded is 3",
    ]
    assert (
        len(risen({"Dmain": Cost(1, 1, 1, 1, 0)}, file, "it"))
        == len(risen({"Gmain": Cost(1, 1, 1, 1, 0)}, file, "no"))
        == 5
    )


def test_flops_are_those_of_the_formula() -> None:
    """Gmain of G and D: forward through both, gradients of G by activations and weights, of D by activations alone."""
    config = CONFIGURATIONS["demo64"]
    once, twice = (iteration_cost(config, 64, n)["Dreg"].gflop for n in (4, 8))
    assert twice == pytest.approx(2 * once, rel=0.01)
    work = workload(config, resolution=16, batch_size=2, device="meta")
    widths = {side: min(4096 // side, 128) for side in (4, 8, 16)}

    def discriminator(side: int) -> int:  # fromrgb, conv0, conv1 and skip: multiplications and additions of an image
        i, o = widths[side], widths[side // 2]
        return 2 * side**2 * 9 * i * i + 2 * (side // 2) ** 2 * (9 * i * o + i * o)

    first = 2 * 16**2 * 3 * widths[16]
    last = 2 * 16 * 9 * (widths[4] + 1) * widths[4] + 2 * (16 * widths[4] * widths[4] + widths[4])
    forward = discriminator(16) + discriminator(8) + first + last
    want = (
        2 * forward * 6
    )  # N times: forward, dx, its two gradients (dy and w), and once more back through the first pass
    assert phase_cost(work, "Dreg").gflop * 1e9 == pytest.approx(want, rel=0.01)


def test_counts_do_not_depend_on_the_back_end() -> None:
    config = CONFIGURATIONS["demo64"]
    costs = iteration_cost(config, 32, 4)
    with reference_ops():
        assert iteration_cost(config, 32, 4) == costs


def test_nothing_is_computed_on_meta() -> None:
    work = workload(CONFIGURATIONS["paper256"], resolution=1024, batch_size=64, device="meta")
    assert all(p.is_meta for p in work.networks.G.parameters()) and work.batches["Gmain"].z.is_meta


def test_a_weighted_iteration() -> None:
    work = workload(CONFIGURATIONS["demo64"], resolution=16, batch_size=2, device="meta")
    assert weighted(work.phases, {"Gmain": 1, "Greg": 4, "Dmain": 10, "Dreg": 16}) == 13


def test_saved_bytes_are_those_of_a_known_graph() -> None:
    """Twice the batch keeps twice as much, up to what belongs to the weights."""
    config = CONFIGURATIONS["demo64"]
    small, large = (iteration_cost(config, 32, n)["Dmain"].saved_gb for n in (8, 16))
    assert 1.5 < large / small < 2.01


def test_configurations_and_experiments_are_found() -> None:
    assert configuration("demo").data.resolution == 64
    with pytest.raises(UserError, match="demo64"):
        configuration("demo46")
    assert torch.is_grad_enabled()
