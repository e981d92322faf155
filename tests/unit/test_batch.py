"""How a batch is divided, and that its random numbers do not depend on the division."""

import re
from typing import Any

import pytest
import torch

from stylegan.augment.pipe import AugmentPipe, PipeAugmentation
from stylegan.augment.strengths import PipeConfig
from stylegan.errors import UserError
from stylegan.losses.base import Batch, Needs, Phase, Reals, UndeclaredError
from stylegan.losses.logistic import LogisticConfig
from stylegan.rng import uniform
from stylegan.schedule import Now
from stylegan.training.batch import as_shown, mixing_cutoffs
from stylegan.training.split import split_positions
from tests.unit.tiny import tiny_pair
from tests.unit.training import training_of


@pytest.mark.parametrize(
    ("N", "ranks", "micro", "group"), [(8, 1, 8, 4), (8, 2, 4, 4), (16, 2, 4, 2), (24, 3, 4, 0), (6, 1, 3, 3)]
)
def test_groups_of_minibatch_std_stay_whole_and_in_place(N: int, ranks: int, micro: int, group: int) -> None:
    split = split_positions(N, ranks, micro, group)
    assert sorted(p for rank in split for chunk in rank for p in chunk) == list(range(N))
    of_whole = torch.arange(N).view(max(group, 1), -1)  # a column is a group
    groups = {tuple(column.tolist()) for column in of_whole.T}
    for chunk in (chunk for rank in split for chunk in rank):
        assert len(chunk) == micro
        columns = torch.tensor(chunk).view(max(group, 1), -1).T
        assert {tuple(c.tolist()) for c in columns} <= groups


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((10, 1, 4, 2), "batch_size=10"),
        ((8, 2, 2, 4), "micro_batch=2"),
        ((8, 1, 4, None), "whole batch"),
        ((8, 3, 8, 4), "batch_size=12 training.micro_batch=4"),
    ],
)
def test_what_does_not_divide_is_refused(arguments: tuple[int, int, int, int | None], says: str) -> None:
    with pytest.raises(UserError, match=says):
        split_positions(*arguments)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("group", [0, 1, 4, 32])
def test_what_is_advised_works(ranks: int, group: int) -> None:
    for N in range(1, 70):
        for micro in {max(N // ranks, 1), 3, 8, 10}:
            try:
                split_positions(N, ranks, micro, group)
            except UserError as error:
                advice = str(error).partition("choose ")[2]
                found = dict(re.findall(r"training\.(batch_size|micro_batch)=(\d+)", advice))
                split_positions(int(found.get("batch_size", N)), ranks, int(found["micro_batch"]), group)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((10, 1, 10, 4), "choose training.batch_size=8 training.micro_batch=8"),
        ((7, 2, 3, 4), "choose training.batch_size=8 training.micro_batch=4"),
        ((24, 1, 10, 4), "choose training.micro_batch=8"),
    ],
)
def test_advice_is_the_nearest_that_works(arguments: tuple[int, int, int, int], says: str) -> None:
    with pytest.raises(UserError) as caught:
        split_positions(*arguments)
    assert str(caught.value).endswith(says)


@pytest.mark.parametrize("phase", ["Gmain", "Greg", "Dmain", "Dreg"])
def test_numbers_are_the_same_however_a_batch_is_divided(phase: str) -> None:
    training = training_of(*tiny_pair(), LogisticConfig(r1_gamma=1.0, style_mixing_prob=0.5, pl_batch_shrink=1))
    images = torch.arange(8 * 3 * 16 * 16).remainder(256).to(torch.uint8).view(8, 3, 16, 16)

    def drawn(ranks: int, micro: int) -> dict[int, dict[str, torch.Tensor]]:
        by_position = {}
        made = training.draw(phase, images, ranks=ranks, micro=micro, seed=3, nimg=800)
        for rounds, batches in zip(split_positions(8, ranks, micro, 4), made, strict=True):
            for chunk, batch in zip(rounds, batches, strict=True):
                for i, position in enumerate(chunk):
                    by_position[position] = {k: v[i] for k, v in vars(batch).items() if isinstance(v, torch.Tensor)}
        return by_position

    whole, parts = drawn(1, 8), drawn(2, 4)
    assert whole.keys() == parts.keys()
    for position, values in whole.items():
        assert values.keys() == parts[position].keys()
        assert all(torch.equal(values[k], parts[position][k]) for k in values)
    if phase.startswith("D"):
        assert torch.equal(whole[5]["real"], images[5] / 127.5 - 1)


DECLARED = {
    "phase": Needs(),
    "real": Needs(reals=Reals.first),
    "z": Needs(latents=True),
    "augment_fake": Needs(fakes=True),
    "z_mix": Needs(latents=True),
    "mixing_cutoff": Needs(latents=True, mixing_prob=0.5),
    "path_noise": Needs(latents=True, path_noise=True),
    "mixing_factor": Needs(mixing_factor=True),
}


@pytest.mark.parametrize("name", DECLARED)
def test_a_batch_holds_what_is_declared_and_nothing_else(name: str) -> None:
    training = training_of(*tiny_pair())
    images = torch.randint(0, 256, [8, 3, 16, 16], dtype=torch.uint8)
    training.phases = [Phase("any", "G", training.phases[0].loss, DECLARED[name])]
    ((batch,),) = training.draw("any", images)
    getattr(batch, name)
    for field in set(vars(batch)) - {"phase", "used"}:
        needs, held = DECLARED[name], True
        try:
            getattr(batch, field)
        except UndeclaredError as error:
            held = False
            assert f"any reads batch.{field}" in str(error)
        declared = {
            **dict.fromkeys(("real", "real_c", "augment_real"), needs.reals is not None),
            **dict.fromkeys(("z", "c", "z_mix", "constant_noise", "noise"), needs.latents or needs.fakes),
            "augment_fake": needs.fakes,
            "mixing_cutoff": needs.mixing_prob > 0,
            "path_noise": needs.path_noise,
            "mixing_factor": needs.mixing_factor,
        }
        assert held == declared[field], field


def test_a_new_phase_is_augmented_by_what_it_declares() -> None:
    """What once went wrong without a word: hinge losses of other names, R2 beside R1, reals in G's relativistic loss."""
    training = training_of(*tiny_pair())
    images = torch.randint(0, 256, [8, 3, 16, 16], dtype=torch.uint8)
    pipe = AugmentPipe(PipeConfig(preset="bgc"), channels=3, resolution=(16, 16))
    needs = Needs(reals=Reals.second, fakes=True, labels_of_reals=True, constant_noise=True)
    training.phases = [Phase("R2", "D", training.phases[0].loss, needs)]
    ((batch,),) = training.draw("R2", images, augment=pipe, p=0.9)
    assert isinstance(batch.augment_real, PipeAugmentation) and isinstance(batch.augment_fake, PipeAugmentation)
    assert batch.augment_real.inverse is not None and batch.augment_fake.inverse is not None
    assert not torch.equal(batch.augment_real.inverse, batch.augment_fake.inverse), "independently"
    assert torch.equal(batch.real, images.flip(3) / 127.5 - 1), "the other images"
    assert batch.c is batch.real_c or torch.equal(batch.c, batch.real_c)
    assert batch.constant_noise
    with pytest.raises(UndeclaredError, match=r"batch\.noise"):
        _ = batch.noise


def test_needs_that_contradict_themselves() -> None:
    with pytest.raises(ValueError, match="labels_of_reals"):
        Needs(fakes=True, labels_of_reals=True)
    with pytest.raises(ValueError, match="shrink"):
        Needs(fakes=True, shrink=2)
    contradictions: list[tuple[dict[str, Any], str]] = [
        *(
            ({name: value}, "needs latents or fakes")
            for name, value in (("path_noise", True), ("constant_noise", True))
        ),
        ({"mixing_prob": 0.5}, "needs latents or fakes"),
        ({"latents": True, "mixing_prob": 2}, "from 0 to 1, shrink"),
        ({"latents": True, "shrink": 0}, "from 0 to 1, shrink"),
    ]
    for options, says in contradictions:
        with pytest.raises(ValueError, match=says):
            Needs(**options)


def test_a_batch_can_be_printed_and_compared() -> None:
    batch = Batch("Gmain", z=torch.zeros(1))
    assert "Batch" in repr(batch) and batch != Batch("Gmain", z=batch.z)


def test_style_mixing_happens_as_often_as_asked() -> None:
    G, _ = tiny_pair()
    cutoff = mixing_cutoffs(uniform(0, "mixing/Gmain", range(4000), [2], torch.device("cpu")), G.num_ws, 0.9)
    mixed = cutoff < G.num_ws
    assert abs(float(mixed.float().mean()) - 0.9) < 0.02
    assert set(cutoff[mixed].tolist()) == set(range(1, G.num_ws))


def test_reals_of_a_stage_that_fades_in() -> None:
    images = torch.randint(0, 256, [2, 3, 8, 8], dtype=torch.uint8)
    small = images.view(2, 3, 4, 2, 4, 2).float().mean((3, 5)).round() / 127.5 - 1

    def shown(side: int, alpha: float | None = None) -> torch.Tensor:
        value = None if alpha is None else torch.tensor(alpha, dtype=torch.float64)
        return as_shown(images, Now(torch.zeros([]), (side, side), 8, value, {}, {}))

    assert torch.equal(shown(4), small)
    coarse = small.view(2, 3, 2, 2, 2, 2).mean((3, 5)).repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(shown(4, 0.25), 0.25 * small + 0.75 * coarse)
    assert torch.equal(shown(8), images / 127.5 - 1)
