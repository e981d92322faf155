"""Finding, loading and sampling networks; images as a function of the seed."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from torch import Tensor

import stylegan
from stylegan import inference, run_dir
from stylegan.cli import app
from stylegan.errors import UserError
from stylegan.figures.config import GenerateConfig
from stylegan.files import shipped
from stylegan.inference import (
    SHIPPED,
    Sampling,
    latents,
    layer_noise,
    load,
    load_generator,
    locate,
    render,
    resolve_network,
    sample,
    sample_ws,
    to_uint8,
)
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.base import Generator
from stylegan.models.generator import StyleBased
from stylegan.models.layers import Precision
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from stylegan.ops import backend
from tests.golden.golden import Golden
from tests.golden.golden import load as load_golden
from tests.unit import test_models_golden, test_stylegan3_golden
from tests.unit.public_pickle import dumps, network_call
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

TINY = StyleGAN2Config(z_dim=16, w_dim=16, channel_base=128, channel_max=16, mapping=MappingConfig(num_layers=2))


def tiny(c_dim: int = 0) -> StyleBased:
    """A generator of 16x16 images whose layer noise is strong enough to be seen."""
    torch.manual_seed(0)
    G = TINY.build(resolution=(16, 16), channels=3, c_dim=c_dim)
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.constant_(parameter, 0.5)
    return G.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def G() -> StyleBased:
    return tiny()


@pytest.fixture(scope="module")
def conditional() -> StyleBased:
    return tiny(c_dim=3)


def draw(G: Generator, seeds: list[int] | range, **settings: object) -> Tensor:
    return torch.stack(list(sample(G, seeds, Sampling(**settings))))  # pyright: ignore[reportArgumentType]


def make_run(folder: Path, *nimgs: int) -> None:
    folder.mkdir(parents=True)
    (folder / run_dir.CONFIG).touch()
    for nimg in nimgs:
        path = run_dir.snapshot_path(folder, nimg)
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_uint8_undoes_the_normalisation_of_images() -> None:
    grey = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(to_uint8(grey.to(dtype) / 127.5 - 1), grey)


def test_uint8_rounds_to_the_nearest_and_clamps() -> None:
    levels = torch.tensor([-0.4, 0.4, 0.6, 99.6, 254.4, 254.6, 255.4])
    assert to_uint8(levels / 127.5 - 1).tolist() == [0, 0, 1, 100, 254, 255, 255]
    extreme = torch.tensor([-7.0, 7.0, -torch.inf, torch.inf, torch.nan])
    assert to_uint8(extreme).tolist() == [0, 255, 0, 255, 0]
    assert to_uint8(torch.tensor([-1.0, 1.0], dtype=torch.float16)).tolist() == [0, 255]


def test_images_are_what_the_network_makes_of_the_latents(G: StyleBased) -> None:
    z = latents([3, 8], G.z_dim)
    images = draw(G, [3, 8], batch=2, truncation_psi=0.5, truncation_cutoff=2)
    expected = G(z, None, truncation_psi=0.5, truncation_cutoff=2, noise_mode="const")
    assert images.dtype == torch.uint8
    assert torch.equal(images, to_uint8(expected))
    assert not torch.equal(images, draw(G, [3, 8], batch=2))


@pytest.mark.parametrize("mode", ["const", "random", "none"])
def test_same_seed_same_bits_at_the_same_place_of_a_batch(G: StyleBased, mode: str) -> None:
    computed: list[Any] = []  # floats: most differences are too small to be seen in grey levels
    hook = G.synthesis.register_forward_hook(lambda _, arguments, img: computed.append(img))
    alone = draw(G, [11], batch=4, noise_mode=mode)
    last = draw(G, range(7, 12), batch=4, noise_mode=mode)
    hook.remove()
    assert [len(img) for img in computed] == [4, 4, 4]
    assert torch.equal(computed[0][0], computed[2][0])
    first = draw(G, [11, 900, 0, 2], batch=4, noise_mode=mode)
    assert torch.equal(alone[0], last[-1])
    assert torch.equal(alone[0], first[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("mode", ["const", "random"])
def test_another_batch_or_place_changes_at_most_one_grey_level(G: StyleBased, mode: str) -> None:
    images = draw(G, range(7), batch=1, noise_mode=mode).int()
    for batch in (3, 16):
        assert (images - draw(G, range(7), batch=batch, noise_mode=mode).int()).abs().max() <= 1
    assert (images.flip(0) - draw(G, range(6, -1, -1), batch=4, noise_mode=mode).int()).abs().max() <= 1


SEEDS = load_golden("fig_seeds")


@pytest.mark.parametrize("name", ["sg2", "sg2c", "sg3"])
def test_z_of_a_seed_is_that_of_the_public_tools(name: str) -> None:
    z = SEEDS.tensor(f"f64/{name}/out/z")
    assert torch.equal(latents(SEEDS.config["seeds"], z.shape[1]), z.float())


@pytest.mark.parametrize(
    ("name", "key", "settings"),
    [
        ("sg2", "sg2/out/uint8", {}),
        ("sg2c", "sg2c/out/uint8", {"class_idx": 1}),
        ("sg3", "sg3/out/uint8", {}),
        # Theirs turns the other way.
        ("sg3", "sg3/out/uint8_t1", {"translate": (0.2, -0.1), "rotate": -30.0}),
    ],
)
def test_a_seed_is_the_picture_of_the_public_tools(name: str, key: str, settings: dict[str, Any], ops: str) -> None:
    golden: Golden = load_golden(SEEDS.config["networks"][name]["network"])
    network = test_stylegan3_golden.generator(golden) if name == "sg3" else test_models_golden.generator(golden)
    network.eval().requires_grad_(False)
    found = draw(network, SEEDS.config["seeds"], truncation_psi=SEEDS.config["psi"], **settings)
    difference = (found.permute(0, 2, 3, 1).int() - SEEDS.tensor(key).int()).abs()
    assert difference.max() <= 1
    assert difference.bool().float().mean() <= SEEDS.config["tol"][key]["max_fraction_differing"]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "7"])
def test_what_is_no_seed_is_refused_at_once(G: StyleBased, seed: Any) -> None:
    for use in (lambda: sample(G, [0, seed]), lambda: latents([0, seed], 8)):
        with pytest.raises(UserError, match=f"seeds: {seed} is no seed; they go from 0 to 4294967295"):
            use()
    assert latents([2**32 - 1], 8).isfinite().all()


def test_random_numbers_are_a_function_of_the_seed_alone(G: StyleBased) -> None:
    assert torch.equal(latents([4, 5], 8)[1], latents([5], 8)[0])
    assert torch.equal(layer_noise([4, 5], 8)[1], layer_noise([5], 8)[0])
    assert not torch.equal(latents([5], 8), layer_noise([5], 8))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    draw(G, [1, 2], noise_mode="random")
    assert torch.equal(torch.get_rng_state(), state)


def test_latents_are_standard_normal() -> None:
    z = latents(range(2000), 8)
    assert z.mean().abs() < 4 / z.numel() ** 0.5
    assert (z.var() - 1).abs() < 6 / z.numel() ** 0.5
    assert (torch.corrcoef(z.T) - torch.eye(8)).abs().max() < 5 / 2000**0.5


def test_classes(G: StyleBased, conditional: StyleBased) -> None:
    images = draw(conditional, [1], class_idx=2, batch=1)
    label = torch.tensor([[0.0, 0.0, 1.0]])
    assert torch.equal(images, to_uint8(conditional(latents([1], conditional.z_dim), label, noise_mode="const")))
    assert not torch.equal(images, draw(conditional, [1], class_idx=0, batch=1))
    for network, class_idx in ((G, 0), (conditional, None), (conditional, 3), (conditional, -1)):
        with pytest.raises(UserError, match="class_idx"):
            sample(network, [1], Sampling(class_idx=class_idx))


def test_a_class_is_known_by_its_name(tmp_path: Path, conditional: StyleBased) -> None:
    names = ["cat", "dog", "golden retriever u\u0308"]  # as a Mac spells ü
    save_snapshot(tmp_path / "a.safetensors", conditional, provenance={"data": {"class_names": names}})
    G = load_generator(tmp_path / "a.safetensors")
    assert G.class_names == tuple(names)
    for number, name in enumerate(names):
        assert torch.equal(draw(G, [1], class_idx=name), draw(G, [1], class_idx=number))
    assert torch.equal(draw(G, [1], class_idx="golden retriever ü"), draw(G, [1], class_idx=2))
    assert torch.equal(draw(G, [1], class_idx="2"), draw(G, [1], class_idx=2))  # as a command line may hand it on
    for given, message in [
        ("dgo", "class_idx=dgo: there is no class of that name; did you mean 'dog'"),
        ("xyz", "there are: cat, dog, golden retriever"),
        ("\u0661", "there is no class of that name"),  # a digit, but none of ours
        (3, "class_idx=3 does not exist: this network has 3 classes; choose class_idx=0 to 2"),
        (None, "class_idx is missing: .* or a name"),
    ]:
        with pytest.raises(UserError, match=message):
            sample(G, [1], Sampling(class_idx=given))
    with pytest.raises(UserError, match=r"class_idx=cat: the network does not say what its classes .*=0 to 2"):
        sample(conditional, [1], Sampling(class_idx="cat"))
    with pytest.raises(UserError, match="class_idx=cat: this network has no classes"):
        sample(tiny(), [1], Sampling(class_idx="cat"))


@pytest.mark.parametrize("data", ["cats", {"class_names": "cats"}, {"class_names": 3}, None])
def test_names_of_classes_that_are_none_are_not_taken(tmp_path: Path, conditional: StyleBased, data: Any) -> None:
    save_snapshot(tmp_path / "a.safetensors", conditional, provenance={"data": data})
    assert load_generator(tmp_path / "a.safetensors").class_names == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 0},
        {"noise_mode": "constant"},
        {"truncation_cutoff": -1},
        {"truncation_cutoff": 99},
        {"truncation_psi": float("nan")},
    ],
)
def test_impossible_settings_are_refused_before_sampling(G: StyleBased, settings: dict[str, object]) -> None:
    (name,) = settings
    with pytest.raises(UserError, match=f"^{name}={settings[name]}:? "):
        sample(G, [1], Sampling(**settings))  # pyright: ignore[reportArgumentType]


def test_random_noise_is_drawn_by_seed(G: StyleBased) -> None:
    noise = layer_noise([5, 6], G.noise_size)
    expected = G(latents([5, 6], G.z_dim), noise_mode="random", noise=noise)
    random = Sampling(noise_mode="random", batch=2)
    assert torch.equal(draw(G, [5, 6], noise_mode="random", batch=2), to_uint8(expected))
    assert torch.equal(torch.stack(list(render(G, locate(G, [5, 6], random), random))), to_uint8(expected))
    ws = sample_ws(G, [5, 6], random)
    alike = Sampling(noise_mode="random", noise_seed=6, batch=2)
    assert torch.equal(torch.stack(list(render(G, ws, alike)))[1], to_uint8(expected)[1])
    one, two = draw(G, [5, 5], noise_mode="random", noise_seed=6), draw(G, [5, 6], noise_mode="random", noise_seed=6)
    assert torch.equal(one[0], two[0]) and torch.equal(two[1], draw(G, [5, 6], noise_mode="random")[1])
    assert not torch.equal(one[0], draw(G, [5, 6], noise_mode="random")[0])
    with pytest.raises(UserError, match="noise_seed=6 needs noise_mode=random"):
        Sampling(noise_seed=6)
    with pytest.raises(UserError, match="latents bring no seed of their noise; give noise_seed"):
        render(G, ws, random)


def test_rendered_ws_are_the_images_of_their_seeds(G: StyleBased) -> None:
    truncated = Sampling(truncation_psi=0.5, truncation_cutoff=3, batch=2)
    ws = sample_ws(G, [1, 2, 3], truncated)
    assert ws.shape == (3, G.num_ws, G.w_dim)
    images = torch.stack(list(sample(G, [1, 2, 3], truncated)))
    assert torch.equal(torch.stack(list(render(G, ws, truncated))), images)


def test_precision_is_that_of_the_sampling_and_the_network_stays_as_it_is(G: StyleBased) -> None:
    plain = draw(G, [1, 2])
    assert not torch.equal(draw(G, [1, 2], precision=Precision.bf16), plain)
    assert torch.equal(draw(G, [1, 2], precision="bf16"), draw(G, [1, 2], precision=Precision.bf16))
    with pytest.raises(UserError, match="precision=f16: did you mean"):
        Sampling(precision="f16")
    assert G.precision is Precision.fp32
    assert torch.equal(draw(G, [1, 2]), plain)


def test_without_w_what_needs_it_is_refused_at_once() -> None:
    G = WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=2).eval().requires_grad_(False)
    images = draw(G, [3, 4], class_idx=1, batch=2)
    c = torch.tensor([[0.0, 1.0]]).expand(2, -1)
    assert torch.equal(images, to_uint8(G(latents([3, 4], G.z_dim), c)))
    impossible: list[dict[str, Any]] = [{"truncation_psi": 0.7}, {"truncation_cutoff": 2}]
    for settings in impossible:
        ((name, value),) = settings.items()
        with pytest.raises(UserError, match=f"^{name}={value} needs a network with w; without_w has none"):
            sample(G, [1], Sampling(class_idx=0, **settings))
    impossible = [{"noise_mode": "random"}, {"precision": Precision.bf16}, {"rotate": 15.0}]
    for settings in impossible:
        with pytest.raises(UserError, match=next(iter(settings))):
            sample(G, [1], Sampling(class_idx=0, **settings))
    for use in (lambda: sample_ws(G, [1]), lambda: render(G, torch.zeros(1, 2, 8))):
        with pytest.raises(UserError, match="needs a network with w"):
            use()


def test_a_network_of_nan_is_refused_by_name(tmp_path: Path) -> None:
    """Its pictures would be black, and nothing would say so."""
    G, broken = tiny(), tiny()
    broken.get_parameter("synthesis.b8.conv0.weight")[0, 0, 0, :2] = torch.tensor([torch.nan, torch.inf])
    save_snapshot(tmp_path / "a.safetensors", broken, provenance={})
    (tmp_path / "a.pkl").write_bytes(dumps({"G": network_call(broken), "G_ema": network_call(G)}))
    (tmp_path / "b.pkl").write_bytes(dumps({"G": network_call(G), "G_ema": network_call(broken)}))
    told = r"{}: its {} is broken: 2 of the 2304 numbers of synthesis\.b8\.conv0\.weight are NaN or infinite"
    for read, file, name in [
        (load_generator, "a.safetensors", "G_ema"),
        (load_generator, "b.pkl", "G_ema"),
        (load, "a.pkl", "G"),
    ]:
        with pytest.raises(UserError, match=told.format(file, name)):
            read(tmp_path / file)
    load_generator(tmp_path / "a.pkl")  # what is not needed need not be whole


@pytest.mark.parametrize("use", [sample, sample_ws])
def test_random_noise_of_a_network_without_noise_is_refused(use: Any) -> None:
    G = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4, num_layers=3, num_critical=1).build(
        resolution=(8, 8), channels=3, c_dim=0
    )
    with pytest.raises(UserError, match="noise_mode=random: stylegan3 networks have no layer noise; leave it out"):
        use(G, [1], Sampling(noise_mode="random"))


def test_load_generator(tmp_path: Path, G: StyleBased) -> None:
    make_run(tmp_path / "run", 1000)
    save_snapshot(run_dir.snapshot_path(tmp_path / "run", 2000), G, provenance={})
    loaded = stylegan.load_generator(tmp_path / "run")
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    with pytest.raises(UserError, match="device=gpu"):
        stylegan.load_generator(tmp_path / "run", "gpu")
    assert torch.equal(draw(loaded, [1, 2]), draw(G, [1, 2]))


def test_a_loaded_network_is_repeatable_and_takes_the_ops_that_are_built(
    tmp_path: Path, G: StyleBased, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_snapshot(tmp_path / "a.safetensors", G, provenance={})
    cpu, asked = torch.device("cpu"), []
    activate = inference.activate
    monkeypatch.setattr(inference, "activate", lambda *a, **k: asked.append((*a, k)) or activate(*a, **k))
    loaded = load_generator(tmp_path / "a.safetensors")
    z = torch.randn(2, G.z_dim)
    assert torch.equal(loaded(z), loaded(z))
    load_generator(tmp_path / "a.safetensors", ops="reference")
    assert backend.in_use(cpu) == "reference"
    assert asked == [
        (choice, cpu, {"build_for_auto": False}) for choice in (backend.Backend.auto, backend.Backend.reference)
    ]
    with pytest.raises(UserError, match=r"ops=compild: .*'compiled'"):
        load_generator(tmp_path / "a.safetensors", ops="compild")


def test_compiled_ops_for_a_loaded_network(tmp_path: Path, G: StyleBased, ops: str) -> None:
    save_snapshot(tmp_path / "a.safetensors", G, provenance={})
    loaded = load_generator(tmp_path / "a.safetensors", ops=ops)
    assert backend.in_use(torch.device("cpu")) == ops
    assert (draw(loaded, [1]).int() - draw(G, [1]).int()).abs().max() <= 1


def test_load_gives_all_networks_of_a_file(tmp_path: Path) -> None:
    G, D = tiny_pair()
    save_snapshot(tmp_path / "a.safetensors", G, provenance={}, companions={"D": D})
    found = load(tmp_path / "a.safetensors")
    assert sorted(found.networks) == ["D", "G_ema"]
    assert all(torch.equal(a, b) for a, b in zip(found.networks["D"].parameters(), D.parameters(), strict=True))


def test_names_of_the_package_are_offered_lazily() -> None:
    assert stylegan.sample is sample and stylegan.Sampling is Sampling
    assert {"load", "load_generator", "render", "sample", "image_grid", "__version__"} < set(dir(stylegan))
    with pytest.raises(AttributeError, match="no attribute 'smaple'"):
        stylegan.smaple  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
    for name in stylegan._OFFERED:
        assert getattr(stylegan, name).__doc__
    source = Path(stylegan.__file__).read_text()
    for name, module in stylegan._OFFERED.items():
        assert f"from {module} import {name} as {name}\n" in source, "editors know the same names"


def test_sampling_needs_neither_hydra_nor_rich_nor_torchvision() -> None:
    heavy = ("hydra", "omegaconf", "rich", "torchvision", "PIL")
    script = f"""
import sys
import stylegan
assert "torch" not in sys.modules
import stylegan.inference
print([name for name in {heavy} if name in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=plain_env()
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


def plain_env() -> dict[str, str]:
    """For a process of its own, in which this package is the imported one."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(stylegan.__file__).parents[1])}


PLAIN_SCRIPT = """
import sys
from importlib.machinery import PathFinder

class Bare:  # as in an environment with nothing but torch (and what it needs), numpy and safetensors
    find_spec = staticmethod(lambda name, *a: None if name.split(".")[0] in ABSENT else PathFinder.find_spec(name, *a))

ABSENT = set(sys.argv[2].split(","))
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare

import numpy
import torch
import stylegan
from stylegan.inference import sample

G = stylegan.load_generator(sys.argv[1])
z = torch.randn(2, G.z_dim, generator=torch.Generator().manual_seed(0))
numpy.savez("images.npz", float=G(z, None, truncation_psi=0.7, noise_mode="const").numpy(), uint8=next(sample(G, [1])))
print(*sorted(ABSENT & {name.split(".")[0] for name in sys.modules}))
"""
ABSENT = (
    *("hydra", "omegaconf", "antlr4", "yaml", "tensorboard", "google", "ninja", "rich", "typer", "filelock", "PIL"),
    *("torchvision", "onnx", "onnxscript", "onnxruntime", "scipy", "skimage", "lmdb", "pytest"),
)


def test_a_plain_script_needs_torch_numpy_and_safetensors_alone(tmp_path: Path, G: StyleBased) -> None:
    save_snapshot(tmp_path / "a.safetensors", G, provenance={})
    command = [sys.executable, "-c", PLAIN_SCRIPT, "a.safetensors", ",".join(ABSENT)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=plain_env(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "\n"), result.stderr
    images = np.load(tmp_path / "images.npz")
    z = torch.randn(2, G.z_dim, generator=torch.Generator().manual_seed(0))
    expected = G(z, None, truncation_psi=0.7, noise_mode="const")
    torch.testing.assert_close(torch.from_numpy(images["float"]), expected, atol=1e-5, rtol=0)
    assert images["uint8"].shape == (3, 16, 16) and images["uint8"].dtype == np.uint8


def test_resolve_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("runs/ffhq"), 9000, 20000, 100000)
    make_run(Path("runs/sweep/0"))
    assert resolve_network("runs/ffhq") == run_dir.snapshot_path(Path("runs/ffhq"), 100000)
    file = run_dir.snapshot_path(Path("runs/ffhq"), 9000)
    assert resolve_network(str(file)) == file
    for wrong, message in [
        ("runs/fhq", "did you mean 'runs/ffhq'"),
        ("ffhq", "did you mean 'runs/ffhq'"),
        ("deno", "did you mean 'demo'"),
        ("runs/swep/0", "did you mean 'runs/sweep/0'"),
        (str(file.with_name("G_ema-000010000.safetensors")), "did you mean '.*G_ema-"),
        ("runs/sweep/0", "no snapshot yet"),
        ("runs", "this folder is not a run"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            resolve_network(wrong)
        assert str(caught.value).startswith(f"network={wrong}: ")


def test_the_name_demo_is_shipped_and_not_looked_for_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(Path("demo"), 1000)
    monkeypatch.setitem(inference.SHIPPED, "demo", "datasets/faces3d/makehuman_head.npz")
    assert resolve_network("demo") == shipped("datasets/faces3d") / "makehuman_head.npz"
    assert resolve_network("./demo") == run_dir.snapshot_path(Path("demo"), 1000)


def test_a_label_takes_no_more_memory_than_its_classes() -> None:
    """A small file can hold a network of very many classes; a table of all labels would take their square."""
    G = tiny(c_dim=3)
    G.c_dim = 2**20
    label = inference.class_label(G, 7)
    assert label is not None and label.shape == (1, 2**20) and label.dtype == torch.float32
    assert label.nonzero().tolist() == [[0, 7]] and label.sum() == 1


def test_loading_does_not_wait_for_the_compiler_of_torch() -> None:
    """Its import takes a second."""
    code = (
        "import sys, stylegan; stylegan.load_generator('demo'); print({'sympy', 'torch._dynamo'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_pictures_that_are_not_finite_are_refused() -> None:
    G = tiny_pair()[0].eval().requires_grad_(False)
    G.synthesis.b16.torgb.weight.fill_(3e38)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    with pytest.raises(UserError, match="values that are not finite, computing in fp32; try precision=fp32"):
        list(sample(G, [1]))


def test_help_names_all_networks_that_come_with_the_project() -> None:
    commands: Any = typer.main.get_command(app)
    helps = [f.metadata["help"] for f in fields(GenerateConfig) if f.name == "network"]
    helps += [p.help for command in commands.commands.values() for p in command.params if p.name == "network"]
    assert len(helps) == 6
    assert all(name in text for name in SHIPPED for text in helps)
