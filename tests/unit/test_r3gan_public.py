"""Pickles of R3GAN's public code are read as data: files in its layout, made here of the recorded parameters, give the recorded
pictures and logits, and nothing of them runs."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stylegan.errors import UserError
from stylegan.interop.networks import read_networks
from stylegan.models.layers import Precision
from stylegan.models.r3gan import R3GANConfig
from tests.golden.golden import load
from tests.unit.public_r3gan import public, public_modules, write


@pytest.mark.parametrize("labels", ["c0", "c5"])
def test_pictures_and_logits_are_the_recorded_ones(labels: str, tmp_path: Path) -> None:
    sizes = {"c0": ("r16", "r16"), "c5": ("r8", "r8")}[labels]
    generator, discriminator = f"r3gan_g_{labels}_{sizes[0]}", f"r3gan_d_{labels}_{sizes[1]}"
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4}]}
    states: dict[str, Any] = {"G_opt_state": optimizer, "D_opt_state": optimizer}
    g, d = write(tmp_path / "a.pkl", generator=generator, discriminator=discriminator, **states)
    found = read_networks(tmp_path / "a.pkl")
    assert found.G_ema.config.kind == R3GANConfig.kind and set(found.networks) == {"G", "D", "G_ema"}
    g.assert_close("out/img", found.G_ema(g.tensor("in/z"), g.tensor("in/c")))
    d.assert_close("out/logits", found.networks["D"](d.tensor("in/img"), d.tensor("in/c"))[:, 0])


def test_stages_in_bf16_are_noticed(tmp_path: Path) -> None:
    write(tmp_path / "a.pkl", generator="r3gan_g_c0_r16", discriminator="r3gan_d_c0_r16", reduced=2)
    G = read_networks(tmp_path / "a.pkl", only_generator=True).G_ema
    assert G.precision is Precision.bf16 and G.config.reduced_blocks == 2


def test_other_filters_and_odd_stages_are_refused(tmp_path: Path) -> None:
    g = load("r3gan_g_c0_r16")
    changes: list[tuple[Callable[[Any], Any], str]] = [
        (lambda m: m.MainLayers[1].Layers[0].Resampler.Kernel.mul_(2), "Kernel is not that of"),
        (lambda m: m.MainLayers[1].Layers._modules.popitem(), "not all alike"),
        (
            lambda m: m.MainLayers[1].Layers[1].LinearLayer2._modules.popitem(),
            "without MainLayers.1.Layers.1.LinearLayer2",
        ),
        (lambda m: m.register_parameter("extra", nn.Parameter(torch.ones(1))), "a tensor extra"),
    ]
    for change, why in changes:
        with public_modules() as instance:
            G: Any = public(g, "Generator", instance)
            with torch.no_grad():
                change(G.Model)
            (tmp_path / "a.pkl").write_bytes(pickle.dumps({"G_ema": G}))
        with pytest.raises(UserError, match=why):
            read_networks(tmp_path / "a.pkl")


def test_nothing_of_such_a_file_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    with public_modules() as instance:
        G: Any = public(load("r3gan_g_c0_r16"), "Generator", instance)
        G.evil = Evil()
        (tmp_path / "a.pkl").write_bytes(pickle.dumps({"G_ema": G}))
    with pytest.raises(UserError, match=r"asks for builtins\.exec"):
        read_networks(tmp_path / "a.pkl")
    assert not (tmp_path / "ran").exists()
