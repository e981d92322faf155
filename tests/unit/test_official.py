"""Pickles of the official ProGAN and StyleGAN for TensorFlow are read as data: files in their layouts, made here of recorded
parameters, give the recorded pictures and scores, and nothing of them runs."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stylegan
from stylegan import cli
from stylegan.errors import UserError
from stylegan.interop.adapters import adapter_for
from stylegan.interop.convert import convert
from stylegan.interop.networks import read_networks
from stylegan.models.adapter import Foreign
from stylegan.models.build import config_from_metadata
from stylegan.models.metadata import model_metadata
from stylegan.models.official import OfficialLayout
from stylegan.models.progan import ProGANConfig, ProGANDiscriminatorConfig
from stylegan.models.stylegan1 import StyleGAN1Config, StyleGAN1DiscriminatorConfig
from tests.golden.golden import load
from tests.golden.growing import enlarged, lods, reduced, set_lod
from tests.unit.official_pickle import Made, dumps, network, networks, write

FILES = [(2, "pg", "c0_r16"), (2, "pg", "c3_r8"), (3, "pg", "c3_r8"), (3, "sg1", "c0_r16"), (3, "sg1", "c3_r8")]
KINDS = {
    "pg": (ProGANConfig.kind, ProGANDiscriminatorConfig.kind, "ProGAN"),
    "sg1": (StyleGAN1Config.kind, StyleGAN1DiscriminatorConfig.kind, "StyleGAN"),
}


@pytest.mark.parametrize(("version", "family", "size"), FILES)
def test_pictures_and_scores_are_the_recorded_ones(version: int, family: str, size: str, tmp_path: Path) -> None:
    g, d = write(
        tmp_path / "a.pkl", generator=f"{family}_g_{size}", discriminator=f"{family}_d_{size}", version=version
    )
    found = read_networks(tmp_path / "a.pkl")
    kind, kind_of_D, name = KINDS[family]
    assert found.report[0] == f"{tmp_path / 'a.pkl'}: a pickle of the official {name} for TensorFlow"
    assert list(found.networks) == ["G", "D", "G_ema"] and found.notes == []
    G, D = found.G_ema, found.networks["D"]
    assert (G.config.kind, D.config.kind, G.c_dim) == (kind, kind_of_D, int(size[1]))
    for lod, start in lods(g):
        set_lod(G, lod)
        g.assert_close(f"{start}/img", enlarged(G, G(g.tensor("in/z"), g.get("in/c"))))
    for lod, start in lods(d):
        set_lod(D, lod)
        d.assert_close(f"{start}/scores", D(reduced(D, d.tensor("in/img"), lod), d.get("in/c")))
    for tensor, twice in zip(G.state_dict().values(), found.networks["G"].state_dict().values(), strict=True):
        assert torch.equal(2 * tensor, twice)


@pytest.mark.parametrize("size", ["c0_r16", "c3_r8"])
def test_truncation_is_towards_the_average_of_the_file(size: str, tmp_path: Path) -> None:
    g, _ = write(tmp_path / "a.pkl", generator=f"sg1_g_{size}", discriminator=f"sg1_d_{size}")
    G: Any = read_networks(tmp_path / "a.pkl", only_generator=True).G_ema
    z, c, psi, cutoff = g.tensor("in/z"), g.tensor("in/c"), g.config["psi"], g.config["cutoff"]
    assert torch.equal(G.mapping.w_avg, g.tensor("param/dlatent_avg"))
    g.assert_close("out/ws_trunc", G.mapping(z, c, psi, cutoff))
    g.assert_close("out/img_trunc", G(z, c, truncation_psi=psi, truncation_cutoff=cutoff))
    g.assert_close("out/img_trunc_all", G(z, c, truncation_psi=0.5))


@pytest.mark.parametrize("size", ["c0_r16", "c3_r8"])
def test_fused_layers_of_stylegan_are_turned(size: str, tmp_path: Path) -> None:
    g, d = load(f"sg1_g_{size}"), load(f"sg1_d_{size}")
    (tmp_path / "a.pkl").write_bytes(dumps((None, network(d, 3, fused_scale=True), network(g, 3, fused_scale=True))))
    found = read_networks(tmp_path / "a.pkl")
    g.assert_close("out/img_fused", found.G_ema(g.tensor("in/z"), g.tensor("in/c")))
    d.assert_close("out/scores_fused", found.networks["D"](d.tensor("in/img"), d.get("in/c")))


def test_plain_layers_of_progan_are_not_turned(tmp_path: Path) -> None:
    """Without `fused_scale` G's kernels are what fused ones become, [kh, kw, in, out], and D pools after the activation."""
    g, d = load("pg_g_c0_r16"), load("pg_d_c0_r16")
    plain, plain_D = network(g, 2, fused_scale=False), network(d, 2, fused_scale=False)
    for made in (plain, plain_D):
        made.state["variables"] = [
            (
                re.sub("Conv0_up|Conv1_down", lambda found: found[0].partition("_")[0], name),
                value[::-1, ::-1].transpose(0, 1, 3, 2) if name.endswith("Conv0_up/weight") else value,
            )
            for name, value in made.state["variables"]
        ]
    (tmp_path / "a.pkl").write_bytes(dumps((None, plain_D, plain)))
    found = read_networks(tmp_path / "a.pkl").networks
    g.assert_close("out/lod0/img", found["G_ema"](g.tensor("in/z")))
    (tmp_path / "b.pkl").write_bytes(dumps((None, network(d, 2), network(g, 2))))
    fused = read_networks(tmp_path / "b.pkl").networks["D"]
    assert found["D"].config.pool_last and not fused.config.pool_last
    assert all(torch.equal(a, b) for a, b in zip(found["D"].parameters(), fused.parameters(), strict=True))


@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_other_protocols_say_the_same(protocol: int, tmp_path: Path) -> None:
    g, _ = write(tmp_path / "a.pkl", generator="sg1_g_c3_r8", discriminator="sg1_d_c3_r8", protocol=protocol)
    G = stylegan.load_generator(tmp_path / "a.pkl")
    g.assert_close("out/lod0/img", G(g.tensor("in/z"), g.tensor("in/c")))


@pytest.mark.parametrize(("version", "family", "size"), FILES)
def test_variables_tell_what_the_arguments_leave_out(version: int, family: str, size: str, tmp_path: Path) -> None:
    g, d = load(f"{family}_g_{size}"), load(f"{family}_d_{size}")
    kept = {"label_size"} if family == "pg" else set()  # the latent and the label enter ProGAN as one
    told = read(tmp_path, networks(g, d, version))
    parts = networks(g, d, version)
    for made in [*parts, *(inner for part in parts for inner in part.state.get("components", {}).values())]:
        made.state["static_kwargs"] = {name: v for name, v in made.state["static_kwargs"].items() if name in kept}
    found = read(tmp_path, parts)
    for name, before in told.items():
        assert model_metadata(before) == model_metadata(found[name])
        state = found[name].state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in before.state_dict().items())


def test_arguments_tell_what_variables_do_not(tmp_path: Path) -> None:
    g, d = load("sg1_g_c3_r8"), load("sg1_d_c3_r8")
    D = network(d, 3, label_size=1, mbstd_group_size=2)
    change(D, "4x4/Dense1/weight", lambda v: v[:, :1])
    change(D, "4x4/Dense1/bias", lambda v: v[:1])
    found = read(tmp_path, (None, D, network(g, 3, mapping_lrmul=0.1, dlatent_avg_beta=None)))
    assert (found["D"].c_dim, found["D"].config.minibatch_std_group) == (1, 2)
    mapping = found["G_ema"].config.mapping
    assert (mapping.lr_multiplier, mapping.w_avg_beta) == (0.1, 1)  # None there: the average is not moved


def read(folder: Path, content: Any) -> Any:
    (folder / "a.pkl").write_bytes(dumps(content))
    return read_networks(folder / "a.pkl").networks


@pytest.mark.parametrize(
    ("family", "part", "function", "config"),
    [
        ("pg", "G", "G_paper", ProGANConfig()),
        ("pg", "D", "D_paper", ProGANDiscriminatorConfig()),
        ("sg1", "G", "G_style", StyleGAN1Config()),
        ("sg1", "D", "D_basic", StyleGAN1DiscriminatorConfig()),
    ],
)
def test_networks_of_the_published_size_are_the_default_ones(
    family: str, part: str, function: str, config: Any
) -> None:
    """All variables of the official networks by names and shapes; no argument, and no numbers."""
    variables = load(f"{family}_counts").config["shapes_1024"][part]
    tensors = {f"{function}/{name}": torch.zeros([]).expand(shape) for name, (shape, *_) in variables.items()}
    meta, ours = adapter_for(tensors, OfficialLayout).to_ours(Foreign(tensors))
    assert config_from_metadata(meta, {config.kind: type(config)}) == config
    assert (meta["resolution"], meta["channels"], meta["c_dim"]) == ([1024, 1024], 3, 0)
    assert len(ours) == len(set(variables) - {"lod", "G_synthesis/lod"})


def test_a_generator_alone_will_do(tmp_path: Path) -> None:
    g = load("pg_g_c0_r16")
    assert list(read(tmp_path, network(g, 2))) == ["G_ema"]
    assert list(read(tmp_path, (network(g, 2), None, None))) == ["G_ema"]
    with pytest.raises(UserError, match="named G_ema that is none"):
        read(tmp_path, network(load("pg_d_c0_r16"), 2))


@pytest.mark.parametrize(("version", "family"), [(2, "pg"), (3, "sg1")])
def test_a_network_that_was_growing_shows_what_it_had_learned(version: int, family: str, tmp_path: Path) -> None:
    """At the `lod` of its file, in full size, as the official code does; and still does when it was converted."""
    g, d = load(f"{family}_g_c0_r16"), load(f"{family}_d_c0_r16")
    for i, (lod, start) in enumerate(lods(g)):
        made = networks(g, d, version)
        for part in made:
            change(part, "lod", lambda _, lod=lod: np.float32(lod))
        (tmp_path / "a.pkl").write_bytes(dumps(made))
        convert(tmp_path / "a.pkl", tmp_path / f"{i}.safetensors")
        for file in ("a.pkl", f"{i}.safetensors"):
            found = read_networks(tmp_path / file)
            G, D = found.G_ema, found.networks["D"]
            g.assert_close(f"{start}/img", G(g.tensor("in/z"), g.get("in/c")))
            d.assert_close(f"{start}/scores", D(reduced(D, d.tensor("in/img"), lod), d.get("in/c")))
        side = 16 >> int(lod)
        note = [f"G_ema: saved while it grew, at {side}x{side} pixels (width x height)"] if lod else []
        assert read_networks(tmp_path / "a.pkl", only_generator=True).notes == note


@pytest.mark.parametrize(("version", "family", "size"), [(2, "pg", "c0_r16"), (3, "sg1", "c3_r8")])
def test_conversion_keeps_every_bit(version: int, family: str, size: str, tmp_path: Path) -> None:
    write(tmp_path / "a.pkl", generator=f"{family}_g_{size}", discriminator=f"{family}_d_{size}", version=version)
    lines = convert(tmp_path / "a.pkl", tmp_path / "a.safetensors")
    assert lines[-1] == f"wrote {tmp_path / 'a.safetensors'}: G, D, G_ema"
    before, after = (read_networks(tmp_path / name) for name in ("a.pkl", "a.safetensors"))
    assert after.provenance["imported_from"]["kind"] == f"a pickle of the official {KINDS[family][2]} for TensorFlow"
    for name, converted in after.networks.items():
        state = before.networks[name].state_dict()
        assert all(torch.equal(tensor, state[key]) for key, tensor in converted.state_dict().items())
    seeds = stylegan.Sampling(class_idx=1 if before.G_ema.c_dim else None, batch=2)
    a, b = (
        stylegan.sample(stylegan.load_generator(tmp_path / f"a.{end}"), [3, 4], seeds) for end in ("pkl", "safetensors")
    )
    assert all(torch.equal(one, other) for one, other in zip(a, b, strict=True))
    with pytest.raises(UserError, match="which the public StyleGAN tools do not have"):
        convert(tmp_path / "a.pkl", tmp_path / "a.pt")


def change(made: Made, name: str, edit: Callable[[Any], Any]) -> None:
    """Edit a variable; None takes it out."""
    changed = [(key, edit(value) if key == name else value) for key, value in made.state["variables"]]
    assert name in dict(changed)
    made.state["variables"] = [(key, value) for key, value in changed if value is not None]


def set_options(**values: Any) -> Callable[[Made], None]:
    return lambda made: made.state["static_kwargs"].update(values)


def set_state(name: str, value: Any) -> Callable[[Made], None]:
    return lambda made: made.state.update({name: value})


def variable(name: str, edit: Callable[[Any], Any]) -> Callable[[Made], None]:
    return lambda made: change(made, name, edit)


def component(name: str, edit: Callable[[Made], Any]) -> Callable[[Made], None]:
    return lambda made: edit(made.state["components"][name])


def add(name: Any, value: Any) -> Callable[[Made], None]:
    return lambda made: made.state["variables"].append((name, value))


def gone(value: Any) -> None:
    return None


def endless() -> list[Any]:
    """Two of two of two ...: showing or comparing it takes for ever."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    return value


ONES = np.ones((2, 2), np.float32)
BROKEN: dict[str, tuple[str, Callable[[Made], Any], str]] = {
    "a missing weight": ("pg_g", variable("8x8/Conv1/weight", gone), "lacks the variable 8x8/Conv1/weight"),
    "a missing first weight": ("pg_g", variable("4x4/Dense/weight", gone), "lacks the variable 4x4/Dense/weight"),
    "no image layer": ("pg_d", variable("FromRGB_lod0/weight", gone), "lacks FromRGB_lod0/weight"),
    "a missing noise": (
        "sg1_g",
        component("synthesis", variable("noise2", gone)),
        "lacks the variable G_synthesis/noise2",
    ),
    "no average of w": ("sg1_g", variable("dlatent_avg", gone), "lacks the variable dlatent_avg"),
    "no variables": ("sg1_g", set_state("variables", []), "lacks the variable dlatent_avg|holds a network"),
    "no mapping": (
        "sg1_g",
        lambda m: m.state["components"].pop("mapping"),
        "lacks the variable G_mapping/Dense0/weight",
    ),
    "a shape": (
        "pg_g",
        variable("8x8/Conv1/weight", lambda v: v[:, :, :4]),
        r"b8\.conv1\.weight as float32 \[8, 4, 3, 3\]",
    ),
    "dimensions": (
        "pg_d",
        variable("4x4/Conv/weight", lambda v: v[0]),
        r"4x4/Conv/weight of shape \[3, 9, 8\], not of 4",
    ),
    "nothing": ("pg_g", variable("4x4/Dense/weight", lambda v: v[:0]), r"4x4/Dense/weight of shape \[0, 128\]"),
    "a type": ("pg_g", variable("4x4/Conv/bias", np.float64), r"b4\.conv\.bias as float64 \[8\]"),
    "not finite": ("pg_g", variable("4x4/Conv/bias", lambda v: v + np.inf), "G_ema is broken: 8 of the 8 numbers"),
    "one too many": ("pg_g", add("16x16/Conv0/weight", ONES), "holds a variable 16x16/Conv0/weight that its"),
    "a name twice": ("pg_g", add("4x4/Dense/weight", ONES), "whose name is given twice"),
    "a long name": ("pg_g", add("x" * 10**6, ONES), "no text of up to 100"),
    "no name": ("pg_g", add(3, ONES), "is no text"),
    "a text": ("pg_g", add("more", "text"), "holds more as a str, not as an array"),
    "many": ("pg_g", set_state("variables", [("a", 1.0)] * 10_001), "no list of up to 10000"),
    "no pairs": ("pg_g", set_state("variables", [3]), "not a name and an array"),
    "no list": ("pg_g", set_state("variables", {"a": ONES}), "no list of up to"),
    "no lod": ("pg_g", variable("lod", lambda _: np.float32("nan")), "has a lod that is no number from 0"),
    "a lod too many": ("pg_g", variable("lod", lambda _: np.float32(2)), r"no number from 0 \(full size\) to 1"),
    "two lods": ("sg1_g", variable("lod", lambda _: ONES), r"no number from 0 \(full size\) to 1"),
    "another function": (
        "pg_g",
        set_state("build_func_name", "G_mine"),
        r"G_mine; known are G_paper \(ProGAN\), D_paper",
    ),
    "no function": ("pg_g", set_state("build_func_name", None), "no Network that a function builds"),
    "another version": ("pg_g", set_state("version", 4), r"version 4; known are 2 \(ProGAN\) and 3"),
    "a deep version": ("pg_g", set_state("version", endless()), "version is a list"),
    "a deep argument": ("pg_g", set_options(fmap_base=endless()), "fmap_base is a list"),
    "many arguments": ("pg_g", set_state("static_kwargs", {str(i): 1 for i in range(200)}), "built with 200 arguments"),
    "an unknown argument": ("pg_d", set_options(surprise=1), "the argument 'surprise', which our progan_disc"),
    "another activation": ("sg1_d", set_options(nonlinearity="relu"), "nonlinearity=relu, where ours has lrelu"),
    "no noise": ("sg1_g", component("synthesis", set_options(use_noise=False)), "use_noise=False, where ours has True"),
    "another blur": ("sg1_d", set_options(blur_filter=[1, 3, 3, 1]), r"blur_filter=\(1, 3, 3, 1\), where ours has"),
    "no filter at all": ("sg1_d", set_options(blur_filter=[1] * 10**5), "blur_filter is a list"),
    "odd fusing": ("sg1_g", set_options(fused_scale="some"), "fused_scale=some; known are auto"),
    "another resolution": (
        "pg_g",
        set_options(resolution=2**30),
        "resolution=1073741824, but its variables are those of 8",
    ),
    "another label": ("sg1_g", set_options(label_size=2), "label_size=2, but its .*3"),
    "labels without end": ("pg_g", set_options(label_size=2**40), "label_size=1099511627776, which is no size"),
    "more labels than inputs": ("pg_g", set_options(label_size=11), "latent_size|z_dim"),
    "half a map": ("pg_g", set_options(fmap_base=32.5), "fmap_base=32.5, which is no size"),
    "more maps": (
        "pg_g",
        set_options(fmap_max=9),
        r"dense\.weight as float32 \[128, 11\], where its architecture has float32 \[144",
    ),
    "maps without end": ("pg_g", set_options(fmap_max=2**18, fmap_base=2**18), "larger than"),
    "an odd rate": ("sg1_g", set_options(mapping_lrmul=float("inf")), "lr_multiplier=inf"),
    "no group": ("pg_d", set_options(mbstd_group_size=0), "minibatch_std_group"),
    "another component": (
        "sg1_g",
        lambda m: m.state["components"].update(more=m),
        "component more; known are mapping",
    ),
    "components exchanged": (
        "sg1_g",
        lambda m: m.state["components"].update(mapping=m.state["components"]["synthesis"]),
        "mapping that is not built by G_mapping alone",
    ),
    "parts in parts": (
        "sg1_g",
        component("mapping", lambda m: m.state["components"].update(mapping=Made(3, "G_mapping", {}, {}))),
        "not built by G_mapping alone",
    ),
    "a component that is none": (
        "sg1_g",
        lambda m: m.state["components"].update(mapping=3),
        "no Network that a function",
    ),
    "arguments that differ": (
        "sg1_g",
        component("mapping", set_options(resolution=16)),
        "resolution=8, but its component mapping with 16",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_fit_is_named(name: str, tmp_path: Path) -> None:
    file, edit, expected = BROKEN[name]
    version = 3 if file.startswith("sg1") else 2
    made, of_D = network(load(f"{file}_c3_r8"), version), file.endswith("d")
    edit(made)
    G = network(load(f"{file[:-1]}g_c3_r8"), version)
    path = tmp_path / "a.pkl"
    path.write_bytes(before := dumps((None, made, G) if of_D else (None, None, made)))
    with pytest.raises(UserError, match=expected) as caught:
        convert(path, tmp_path / "a.safetensors")
    message = str(caught.value)
    assert str(path) in message and f"its {'D' if of_D else 'G_ema'} " in message and len(message) < 1000
    assert [file.name for file in tmp_path.iterdir()] == ["a.pkl"] and path.read_bytes() == before


class Evil:
    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


WHERE: list[Callable[[Made, Any], Any]] = [
    lambda made, evil: made.state.update(static_kwargs={"dtype": evil}),
    lambda made, evil: made.state.update(components={"mapping": evil}),
    lambda made, evil: made.state["variables"].append(("more", evil)),
    lambda made, evil: made.state.update(build_module_src=evil),
]


@pytest.mark.parametrize("put", WHERE)
def test_nothing_of_a_file_runs(
    put: Callable[[Made, Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the source text, which would write a file, nor what else a pickle may ask for."""
    monkeypatch.chdir(tmp_path)
    made = network(load("sg1_g_c3_r8"), 3)
    read(tmp_path, made)
    put(made, Evil(tmp_path / "ran"))
    Path("a.pkl").write_bytes(dumps(made))
    monkeypatch.setattr("sys.argv", ["stylegan", "convert", "a.pkl", "b.safetensors"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    assert said.err.startswith("error: a.pkl asks for posix.system, which no network needs: it may name arrays, ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]
    pickle.loads(pickle.dumps(Evil(tmp_path / "ran")))  # what it would have done
    assert (tmp_path / "ran").exists()


NETWORK = b"cdnnlib.tflib.network\nNetwork\n"
ODD = {
    "arguments": (b"\x80\x02" + NETWORK + b"K\x01\x85\x81.", "makes a Network of arguments"),
    "a state twice": (b"\x80\x02" + NETWORK + b")\x81}b}X\x01\0\0\0aNsb}b.", "told once"),
    "no state": (b"\x80\x02" + NETWORK + b")\x81.", "no Network that a function builds"),
    "a state of numbers": (b"\x80\x02" + NETWORK + b")\x81}K\x01K\x02sb.", "told once, by name"),
    "another class": (b"\x80\x02" + NETWORK.replace(b"Network", b"Optimizer") + b")\x81.", "network.Optimizer"),
    "its attribute": (b"\x80\x04\x8c\x06tfutil\x8c\x0bNetwork.run\x93.", "tfutil.Network.run"),
    "two networks": (dumps((None, Made(2, "G_paper", {}, {}))), "holds 2 networks instead of three"),
    "four networks": (dumps((Made(2, "G_paper", {}, {}),) * 4), "holds 4 networks instead of three"),
    "an array of texts": (dumps(Made(2, "G_paper", {}, {"a": np.array(["text"])})), "which is none of numbers"),
    "an array of another order": (dumps(Made(2, "G_paper", {}, {"a": np.ones(2, ">f4")})), "another byte order"),
    "StyleGAN2": (dumps(Made(3, "G_main", {}, {})), "is a network of StyleGAN2 for TensorFlow, an architecture that"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_refused(name: str, tmp_path: Path) -> None:
    content, expected = ODD[name]
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read_networks(tmp_path / "a.pkl")


def test_a_network_that_is_its_own_part_is_refused(tmp_path: Path) -> None:
    made, mapping = network(load("sg1_g_c3_r8"), 3), Made(3, "G_mapping", {}, {})
    mapping.state["components"]["mapping"] = mapping
    for part in (made, mapping):
        made.state["components"]["mapping"] = part
        with pytest.raises(UserError, match="mapping that is not built by G_mapping alone"):
            read(tmp_path, made)


def test_an_array_of_many_names_is_no_large_network(tmp_path: Path) -> None:
    """8000 layers of 16 MB each, all of them the same one: neither copied, nor turned, before they are counted."""
    made = network(load("sg1_g_c0_r16"), 3)
    weight = np.zeros((3, 3, 500, 500), np.float32)
    synthesis = made.state["components"]["synthesis"]
    synthesis.state["variables"] += [(f"{2**i}x{2**i}/Conv0_up/weight", weight) for i in range(5, 13)]
    synthesis.state["variables"] += [(f"more{i}", weight) for i in range(8000)]
    with pytest.raises(UserError, match=r"share their numbers: \d+ bytes are made of"):
        read(tmp_path, made)
    assert (tmp_path / "a.pkl").stat().st_size < 2**24


def test_cut_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.pkl", generator="pg_g_c3_r8", discriminator="pg_d_c3_r8", version=2)
    content = (tmp_path / "a.pkl").read_bytes()
    for length in [*range(1, 40), *range(40, len(content), 3001), len(content) - 1]:
        (tmp_path / "a.pkl").write_bytes(content[:length])
        with pytest.raises(UserError, match=r"breaks off|is damaged"):
            read_networks(tmp_path / "a.pkl")
