"""Networks of the public StyleGAN2-ADA and StyleGAN3 tools: what they must give, what must not matter, what is refused."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from stylegan import cli
from stylegan.errors import UserError
from stylegan.inference import load_generator
from stylegan.interop.adapters import ADAPTERS, adapter_for, public_layout
from stylegan.interop.convert import convert, save_public
from stylegan.interop.networks import read_networks
from stylegan.interop.nvidia import describe
from stylegan.interop.snapshot import read_companions, read_snapshot
from stylegan.interop.summary import summary
from stylegan.models.adapter import PublicLayout
from stylegan.models.base import Discriminator, Generator, Network
from stylegan.models.build import DISCRIMINATORS, GENERATORS
from stylegan.models.discriminator import DiscriminatorConfig
from stylegan.models.layers import Architecture, Precision
from stylegan.models.mapping import MappingConfig
from stylegan.models.metadata import model_metadata
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.golden.golden import HERE, load
from tests.unit.public_pickle import Call, dumps, importable, module_call, network_call
from tests.unit.tiny import tiny_pair
from tests.unit.without_w import WithoutWConfig

NetworkT = TypeVar("NetworkT", bound=Network)
Pair = tuple[Generator, Discriminator]
PICKLES = ["sg2ada", "sg3t", "sg3r"]


def assert_same_bits(a: nn.Module, b: nn.Module) -> None:
    assert model_metadata(a) == model_metadata(b)
    one, two = a.state_dict(), b.state_dict()
    assert list(one) == list(two)
    for name, tensor in one.items():
        assert bits(tensor) == bits(two[name]), name


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def scramble(network: NetworkT) -> NetworkT:
    """Every tensor gets values of its own, so that two that change places are noticed."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape))
    return network


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_give_their_tensors_and_outputs(name: str) -> None:
    golden = load(f"pickles/{name}")
    found = read_networks(HERE / "pickles" / f"{name}.pkl")
    assert list(found.networks) == ["G", "D", "G_ema"]
    for key, network in found.networks.items():
        recorded, state = golden.state(f"param/{key}/"), network.state_dict()
        assert set(recorded) == set(state)
        for tensor, value in recorded.items():
            assert torch.equal(state[tensor], value), f"{key}.{tensor}"
    G, D = found.networks["G_ema"].eval(), found.networks["D"].eval()
    z, c = golden.tensor("in/z"), golden.tensor("in/c")
    with torch.no_grad():
        for suffix, psi in (("", 1.0), ("_trunc", 0.7)):
            golden.assert_close(f"out/ws{suffix}", G.get_submodule("mapping")(z, c, psi))
            golden.assert_close(f"out/img{suffix}", G(z, c, truncation_psi=psi, noise_mode="const"))
        golden.assert_close("out/logits", D(golden.tensor("out/img"), c))


@pytest.mark.parametrize("name", PICKLES)
def test_every_bit_survives_both_ways(tmp_path: Path, name: str) -> None:
    source = HERE / "pickles" / f"{name}.pkl"
    convert(source, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.pt")
    convert(tmp_path / "b.pt", tmp_path / "c.safetensors")
    first = read_networks(source).networks
    for file in ("a.safetensors", "b.pt", "c.safetensors"):
        found = read_networks(tmp_path / file).networks
        assert set(found) == set(first)
        for key, network in found.items():
            assert_same_bits(network, first[key])
    plain = torch.load(tmp_path / "b.pt", weights_only=True)
    golden = load(f"pickles/{name}")
    for key in ("G", "D", "G_ema"):
        recorded = golden.state(f"param/{key}/")
        assert set(plain[key]) == set(recorded)
        assert all(bits(plain[key][tensor]) == bits(value) for tensor, value in recorded.items())
    for key, options in (("G", golden.config["G_init_kwargs"]), ("D", golden.config["D_init_kwargs"])):
        given = plain["init_kwargs"][key]
        flat = {**options, **options.get("synthesis_kwargs", {})}
        for option in ("z_dim", "w_dim", "c_dim", "img_resolution", "img_channels", "channel_base", "channel_max"):
            assert given.get(option) == flat.get(option), option
        assert given["mapping_kwargs"]["num_layers"] == (
            flat["mapping_kwargs"].get("num_layers", 8) if flat["c_dim"] or key == "G" else 8
        )


@pytest.mark.parametrize("architecture", list(Architecture))
@pytest.mark.parametrize("c_dim", [0, 3])
def test_options_survive_names_of_others(tmp_path: Path, architecture: Architecture, c_dim: int) -> None:
    shape: dict[str, Any] = {"resolution": (16, 16), "channels": 1 if c_dim else 4, "c_dim": c_dim}
    mapping = MappingConfig(num_layers=3, hidden_dim=5, lr_multiplier=0.02, w_avg_beta=0.99)
    G_config = StyleGAN2Config(
        z_dim=7, w_dim=6, channel_base=96, channel_max=9, architecture=architecture, conv_clamp=64.0, mapping=mapping
    )
    D_config = DiscriminatorConfig(
        channel_base=96,
        channel_max=9,
        architecture=architecture,
        conv_clamp=None,
        minibatch_std_group=None,
        cmap_dim=4 if c_dim else None,
        mapping=MappingConfig(num_layers=2, lr_multiplier=0.02),
    )
    networks: dict[str, Network] = {"G_ema": scramble(G_config.build(**shape)), "D": scramble(D_config.build(**shape))}
    save_public(tmp_path / "a.pt", networks)
    (tmp_path / "a.pkl").write_bytes(dumps({name: network_call(network) for name, network in networks.items()}))
    for file in ("a.pt", "a.pkl"):
        found = read_networks(tmp_path / file).networks
        for name, network in networks.items():
            assert_same_bits(found[name], network)


def test_the_last_fromrgb_of_skip_has_no_clamp(tmp_path: Path) -> None:
    """As the public tools build it: 256 in all layers but this one by default, so that all but it agree in a pickle."""
    config = DiscriminatorConfig(channel_base=64, channel_max=8, architecture=Architecture.skip, conv_clamp=0.5)
    D = scramble(config.build(resolution=(8, 8), channels=3, c_dim=0))
    x = torch.randn(2, 3, 4, 4)
    last, first = (D.get_submodule(f"{block}.fromrgb") for block in ("b4", "b8"))
    weight, bias = last.get_parameter("weight"), last.get_parameter("bias")
    expected = nn.functional.leaky_relu(nn.functional.conv2d(x, weight / 3**0.5, bias), 0.2) * 2**0.5
    assert expected.abs().max() > 1
    torch.testing.assert_close(last(x), expected)
    assert first(x).abs().max() == 0.5
    content = {"G_ema": network_call(tiny_pair()[0]), "D": network_call(D)}
    change(content, "D.b4.fromrgb", "conv_clamp", put(None))
    (tmp_path / "a.pkl").write_bytes(dumps(content))
    assert_same_bits(read_networks(tmp_path / "a.pkl").networks["D"], D)
    change(content, "D.b4.fromrgb", "conv_clamp", put(0.5))
    (tmp_path / "a.pkl").write_bytes(dumps(content))
    with pytest.raises(
        UserError, match=r"D has b4\.fromrgb\.conv_clamp=0\.5, where our stylegan2_discriminator has none"
    ):
        read_networks(tmp_path / "a.pkl")


def public_mapping(
    z_dim: int, c_dim: int, w_dim: int, num_ws: int | None, num_layers: int = 8, embed_features: int | None = None,
    layer_features: int | None = None, activation: str = "lrelu", lr_multiplier: float = 0.01,
    w_avg_beta: float | None = 0.998,
) -> None:  # fmt: skip
    """What the mapping network of the public tools takes."""


def public_generator(
    z_dim: int, c_dim: int, w_dim: int, img_resolution: int, img_channels: int, mapping_kwargs: dict[str, Any],
    channel_base: int = 32768, channel_max: int = 512, num_fp16_res: int = 4, architecture: str = "skip",
    conv_clamp: float | None = 256,
) -> None:  # fmt: skip
    """What their StyleGAN2 generator takes, and what it does first."""
    assert isinstance(int(channel_base // 4), int)
    public_mapping(z_dim=z_dim, c_dim=c_dim, w_dim=w_dim, num_ws=1, **mapping_kwargs)


def public_discriminator(
    c_dim: int, img_resolution: int, img_channels: int, architecture: str = "resnet", channel_base: int = 32768,
    channel_max: int = 512, num_fp16_res: int = 4, conv_clamp: float | None = 256, cmap_dim: int | None = None,
    block_kwargs: dict[str, Any] | None = None, mapping_kwargs: dict[str, Any] | None = None,
    epilogue_kwargs: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """What their discriminator takes, and what it gives its mapping network itself."""
    assert isinstance(int(channel_base // 4), int)
    if c_dim > 0:
        given = {"z_dim": 0, "c_dim": c_dim, "w_dim": cmap_dim or 8, "num_ws": None, "w_avg_beta": None}
        public_mapping(**given, **(mapping_kwargs or {}))


@pytest.mark.parametrize("c_dim", [0, 3])
def test_the_public_constructors_take_the_arguments(tmp_path: Path, c_dim: int) -> None:
    shape: dict[str, Any] = {"resolution": (8, 8), "channels": 3, "c_dim": c_dim}
    mapping = MappingConfig(num_layers=2, hidden_dim=5, embed_dim=4)
    G = StyleGAN2Config(z_dim=8, w_dim=8, channel_base=None, channel_max=4, mapping=mapping).build(**shape)
    D = DiscriminatorConfig(channel_base=None, channel_max=4, mapping=mapping).build(**shape)
    save_public(tmp_path / "a.pt", {"G_ema": G, "D": D})
    arguments = torch.load(tmp_path / "a.pt", weights_only=True)["init_kwargs"]
    for name, construct in (("G_ema", public_generator), ("D", public_discriminator)):
        assert arguments[name].pop("class_name").startswith("training.networks_stylegan2.")
        construct(**arguments[name])


def test_labels_may_be_embedded_in_another_size_than_w(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"resolution": (8, 8), "channels": 3, "c_dim": 3}
    mapping = MappingConfig(num_layers=2, embed_dim=5)
    G = scramble(StyleGAN2Config(z_dim=7, w_dim=6, channel_base=64, channel_max=4, mapping=mapping).build(**shape))
    D = scramble(DiscriminatorConfig(channel_base=64, channel_max=4, cmap_dim=6, mapping=mapping).build(**shape))
    assert G.mapping.get_parameter("embed.weight").shape == (5, 3)
    assert G.mapping.get_parameter("fc0.weight").shape == (6, 7 + 5)
    call = network_call(G)
    assert call.arguments[0]["state"]["_init_kwargs"]["mapping_kwargs"]["embed_features"] == 5
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": call, "D": network_call(D)}))
    save_public(tmp_path / "a.pt", {"G_ema": G, "D": D})
    z, c = torch.randn(2, 7), torch.eye(3)[:2]
    for file in ("a.pkl", "a.pt"):
        found = read_networks(tmp_path / file).networks
        assert_same_bits(found["G_ema"], G)
        assert_same_bits(found["D"], D)
        assert torch.equal(found["G_ema"](z, c), G(z, c))


def test_files_that_earlier_versions_wrote_are_read(pair: Pair, tmp_path: Path) -> None:
    """They gave the discriminator's mapping network an average of its own, which the public constructor does not take."""
    save_public(tmp_path / "a.pt", {"G_ema": pair[0], "D": pair[1]})
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert "w_avg_beta" not in content["init_kwargs"]["D"]["mapping_kwargs"]
    content["init_kwargs"]["D"]["mapping_kwargs"]["w_avg_beta"] = None
    torch.save(content, tmp_path / "b.pt")
    assert_same_bits(read_networks(tmp_path / "b.pt").networks["D"], pair[1])


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("c_dim", [0, 2])
def test_options_of_stylegan3_survive(tmp_path: Path, radial: bool, c_dim: int) -> None:
    config = StyleGAN3Config(
        z_dim=7,
        w_dim=6,
        channel_base=90,
        channel_max=7,
        num_layers=5,
        num_critical=1,
        first_cutoff=2.5,
        first_stopband=5.0,
        last_stopband_rel=1.3,
        margin_size=5,
        conv_kernel=1 if radial else 3,
        filter_size=4,
        lrelu_upsampling=3,
        radial_filters=radial,
        conv_clamp=100.0,
        magnitude_ema_beta=0.9,
        output_scale=0.5,
        mapping=MappingConfig(num_layers=3, lr_multiplier=0.02, w_avg_beta=0.99),
    )
    G = scramble(config.build(resolution=(16, 16), channels=3, c_dim=c_dim))
    save_public(tmp_path / "a.pt", {"G_ema": G})
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": network_call(G)}))
    for file in ("a.pt", "a.pkl"):
        assert_same_bits(read_networks(tmp_path / file).networks["G_ema"], G)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("first_cutoff", 1e-9),
        ("filter_size", 2**19),
        ("lrelu_upsampling", 2**19),
        ("num_critical", 99),
        ("margin_size", -1),
    ],
)
def test_filters_of_any_size_are_not_computed(tmp_path: Path, option: str, value: float) -> None:
    config = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4, num_layers=3, num_critical=1)
    call = network_call(config.build(resolution=(8, 8), channels=3, c_dim=0))
    call.arguments[0]["state"]["_init_kwargs"][option] = value
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": call}))
    with pytest.raises(UserError, match=option):
        read_networks(tmp_path / "a.pkl")


@pytest.fixture
def pair() -> Pair:
    G, D = tiny_pair(c_dim=2)
    return scramble(G), scramble(D)


def rename(module: str) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(b"numpy.core.multiarray", module.encode())


@pytest.mark.parametrize("protocol", range(6))
def test_forms_that_do_not_matter(tmp_path: Path, pair: Pair, protocol: int) -> None:
    """Protocol, source text, kinds of dictionaries, hooks of newer versions of torch, arrays and numbers of numpy, paths."""
    import numpy as np

    G, D = pair
    extra: dict[str, Any] = {
        "_backward_pre_hooks": OrderedDict(),
        "_forward_hooks_with_kwargs": OrderedDict(),
        "_state_dict_pre_hooks": OrderedDict(),
        "_is_full_backward_hook": None,
        "call_super_init": False,
        "sizes": np.arange(6, dtype=np.int64).reshape(2, 3),
        "gain": np.float64(0.25),
        "flag": np.bool_(True),
    }
    content = {
        "G": network_call(G, source="import os\nos.system('true')\n" * 50, **extra),
        "D": network_call(D, **extra),
        "G_ema": network_call(G, **extra),
        "augment_pipe": module_call(nn.Linear(2, 2)),
        "training_set_kwargs": Call(
            "dnnlib.util", "EasyDict", {"path": "/data/x.zip", "use_labels": True, "max_size": 7}
        ),
    }
    with importable(("dnnlib.util", "EasyDict")):
        data = dumps(content, protocol)
    assert b"numpy" in data
    (tmp_path / "a.pkl").write_bytes(data)
    found = read_networks(tmp_path / "a.pkl").networks
    for name, network in {"G": G, "D": D, "G_ema": G}.items():
        assert_same_bits(found[name], network)


def change(content: dict[str, Any], path: str, key: str, edit: Callable[[dict[str, Any], str], Any]) -> None:
    """Edit an entry of a record's state, whose path is made of names of modules."""
    names = path.split(".")
    call = content[names[0]]
    for name in names[1:]:
        call = call.arguments[0]["state"]["_modules"][name]
    state = call.arguments[0]["state"]
    edit(next((state[part] for part in ("_parameters", "_buffers") if key in state[part]), state), key)


def remove(state: dict[str, Any], key: str) -> None:
    del state[key]


def put(value: Any) -> Callable[[dict[str, Any], str], None]:
    return lambda state, key: state.update({key: value})


def merge(value: dict[str, Any]) -> Callable[[dict[str, Any], str], None]:
    return lambda state, key: state.update({key: state[key] | value})


@pytest.mark.parametrize(
    ("path", "key", "edit", "message"),
    [
        ("G_ema.mapping.fc1", "bias", remove, "G_ema lacks the tensor mapping.fc1.bias"),
        ("D.b8.conv0", "weight", remove, "D lacks the tensor b8.conv0.weight"),
        ("G_ema.synthesis.b8.conv0", "noise_const", remove, "lacks the tensor synthesis.b8.conv0.noise_const"),
        ("G_ema.synthesis.b4.torgb", "bias", put(torch.zeros(2)), r"synthesis\.b4\.torgb\.bias as float32 \[2\]"),
        ("G_ema.mapping", "w_avg", put(torch.zeros(8).half()), r"mapping\.w_avg as float16"),
        ("G_ema.synthesis.b8.conv0", "extra", put(1), None),
        ("G_ema.synthesis.b8.conv0", "activation", put("swish"), r"synthesis\.b8\.conv0\. with the activation 'swish'"),
        ("G_ema.synthesis.b8.conv0", "conv_clamp", put(1.0), "layers of different conv_clamp"),
        ("G_ema", "img_resolution", put(2**30), "img_resolution=1073741824"),
        ("G_ema", "w_dim", put("8"), "w_dim=8"),
        ("G_ema", "z_dim", put(2**19), "larger than the"),
        ("G_ema", "_init_kwargs", merge({"channel_max": 9}), r"tensor synthesis\.L|b4\.const as float32"),
        ("G_ema", "_init_kwargs", merge({"channel_base": 1e300}), "channel_base=1e"),
        ("G_ema", "_init_kwargs", merge({"channel_base": float("nan")}), "channel_base=nan"),
        ("G_ema", "_init_kwargs", merge({"channel_base": "many"}), "channel_base='many'"),
        ("G_ema", "_init_kwargs", merge({"surprise": 1}), "the option 'surprise'"),
        ("G_ema", "_init_kwargs", merge({"mapping_kwargs": [1]}), "mapping_kwargs"),
        ("G_ema", "_init_args", put((1,) * 99), "99 unnamed arguments"),
    ],
)
def test_what_does_not_match_is_named(
    tmp_path: Path, pair: Pair, path: str, key: str, edit: Any, message: str | None
) -> None:
    content = {"G_ema": network_call(pair[0]), "D": network_call(pair[1])}
    change(content, path, key, edit)
    file = tmp_path / "a.pkl"
    file.write_bytes(dumps(content))
    if message is None:
        read_networks(file)
        return
    with pytest.raises(UserError, match=message) as caught:
        read_networks(file)
    assert str(file) in str(caught.value)


def test_a_tensor_too_many_is_named(tmp_path: Path, pair: Pair) -> None:
    content = {"G_ema": network_call(pair[0])}
    content["G_ema"].arguments[0]["state"]["_buffers"]["more"] = torch.zeros(3)
    (tmp_path / "a.pkl").write_bytes(dumps(content))
    with pytest.raises(UserError, match="holds a tensor more that its architecture does not have"):
        read_networks(tmp_path / "a.pkl")


def endless() -> list[Any]:
    """Two of two of two ...: showing or comparing it takes for ever."""
    value: list[Any] = []
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "place", ["activation", "conv_clamp", "channel_base", "mapping_kwargs", "z_dim", "w_avg_beta", "name"]
)
def test_values_that_never_end_are_not_walked_through(tmp_path: Path, pair: Pair, place: str) -> None:
    call = network_call(pair[0])
    state = call.arguments[0]["state"]
    parts = state["_modules"]
    for layer in ("conv0", "conv1"):
        inner = parts["synthesis"].arguments[0]["state"]["_modules"]["b8"].arguments[0]["state"]["_modules"][layer]
        if place in ("activation", "conv_clamp"):
            inner.arguments[0]["state"][place] = endless()
    if place in ("channel_base", "mapping_kwargs"):
        state["_init_kwargs"][place] = endless()
    elif place == "w_avg_beta":
        parts["mapping"].arguments[0]["state"][place] = endless()
    elif place == "z_dim":
        state[place] = endless()
    elif place == "name":
        parts["x" * 10**6] = parts["mapping"]
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": call}))
    with pytest.raises(UserError, match=r"whose name is no text" if place == "name" else place):
        read_networks(tmp_path / "a.pkl")


def test_modules_within_themselves_are_refused(tmp_path: Path, pair: Pair) -> None:
    call = network_call(pair[0])
    inner = call.arguments[0]["state"]["_modules"]
    for _ in range(25):  # what is within a module is within it twice
        inner = {"a": module_call(nn.Identity(), _more=inner)}
        call.arguments[0]["state"]["_modules"] = inner
    twice = module_call(nn.Identity())
    for _ in range(20):
        outer = module_call(nn.Identity())
        outer.arguments[0]["state"]["_modules"] = {"a": twice, "b": twice}
        twice = outer
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": twice}))
    with pytest.raises(UserError, match=r"Generator|more modules within modules"):
        read_networks(tmp_path / "a.pkl")
    twice.arguments[0]["class_name"] = "Generator"
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": twice}))
    with pytest.raises(UserError, match="more modules within modules"):
        read_networks(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("StyleGAN-XL", {"class_name": "SuperresGenerator", "_init_kwargs": {"path_stem": "x"}}),
        ("StyleGAN-XL", ("pg_modules.discriminator", "ProjectedDiscriminator")),
        ("StyleGAN2 for TensorFlow", ("training.networks_stylegan2", "G_main")),
    ],
)
def test_other_architectures_are_refused_by_name(tmp_path: Path, name: str, content: Any) -> None:
    if isinstance(content, tuple):
        with importable(content):
            data = dumps({"G_ema": Call(*content)})
    else:
        call = module_call(nn.Linear(2, 2), _init_kwargs=content["_init_kwargs"])
        call.arguments[0]["class_name"] = content["class_name"]
        data = dumps({"G": call, "G_ema": call})
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(UserError, match=f"is a network of .*{name}.*does not have"):
        read_networks(tmp_path / "a.pkl")


def test_files_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    for content, message in (
        ({"state": {}}, "no networks that are known"),
        ([1, 2], "no networks that are known"),
        ({"format": "stylegan-checkpoint-1", "state": {}}, "checkpoint of a run.*folder"),
        ({"init_kwargs": {"G": {}}, "G": {}}, "neither StyleGAN2 nor StyleGAN3"),
        ({"init_kwargs": {"D": {}}, "D": {"b4.out.weight": torch.zeros(1)}}, "z_dim=None|c_dim=None"),
    ):
        torch.save(content, file)
        with pytest.raises(UserError, match=message):
            read_networks(file)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"G_ema": 3}))
    with pytest.raises(UserError, match="no networks"):
        load_generator(tmp_path / "b.pkl")
    with pytest.raises(UserError, match="no network file"):
        read_networks(tmp_path / "c.pkl")
    (tmp_path / "d.pkl").mkdir()
    with pytest.raises(UserError, match="cannot read"):
        read_networks(tmp_path / "d.pkl")


def test_a_discriminator_is_no_generator(tmp_path: Path, pair: Pair) -> None:
    call = network_call(pair[1])
    call.arguments[0]["class_name"] = "Generator"
    (tmp_path / "a.pkl").write_bytes(dumps({"G_ema": call}))
    with pytest.raises(UserError, match="named G_ema that is none"):
        read_networks(tmp_path / "a.pkl")


def test_without_an_average_the_generator_itself_is_taken(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "a.pkl").write_bytes(dumps({"G": network_call(pair[0]), "D": None, "G_ema": None}))
    found = read_networks(tmp_path / "a.pkl")
    assert "G stands in" in found.report[-1] and list(found.networks) == ["G_ema"]
    assert_same_bits(found.networks["G_ema"], pair[0])
    assert_same_bits(load_generator(tmp_path / "a.pkl"), pair[0])
    for name in ("a.safetensors", "a.pt"):
        assert convert(tmp_path / "a.pkl", tmp_path / name)[-1].endswith(": G_ema")
        assert_same_bits(read_networks(tmp_path / name).networks["G_ema"], pair[0])


def test_a_converted_file_is_a_snapshot(tmp_path: Path) -> None:
    source, dest = HERE / "pickles" / "sg2ada.pkl", tmp_path / "a.safetensors"
    lines = convert(source, dest)
    (line,) = (line for line in lines if line.startswith("G_ema: "))
    assert line.startswith("G_ema: stylegan2, 16x16 RGB, 3 classes, z_dim=") and line.endswith("all matched")
    assert "mapping.num_layers=" in line and "architecture" not in line and "kind" not in line
    snapshot = read_snapshot(dest)
    assert snapshot.metadata["provenance"]["imported_from"]["file"] == "sg2ada.pkl"
    assert set(read_companions(dest)) == {"G", "D"}
    assert_same_bits(load_generator(dest), load_generator(source))
    with pytest.raises(UserError, match=r"exists.*--overwrite"):
        convert(source, dest)
    convert(source, dest, overwrite=True)
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        convert(source, tmp_path / "a.onnx")
    content = bytearray(dest.read_bytes())
    content[-3] ^= 1
    dest.write_bytes(content)
    with pytest.raises(UserError, match="SHA-256"):
        read_networks(dest)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["stylegan", "convert", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    monkeypatch.chdir(tmp_path)
    code, out, err = command(str(HERE / "pickles" / "sg3t.pkl"), "a.safetensors")
    assert (code, err) == (0, "")
    assert "G_ema: stylegan3, 32x32 RGB" in out and out.endswith("wrote a.safetensors: G, D, G_ema\n")
    Path("evil.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    code, out, err = command("evil.pkl", "b.safetensors")
    assert (code, out) == (2, "")
    assert err.startswith("error: evil.pkl asks for os.system") and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "evil.pkl"]


def test_every_adapter_knows_its_own(pair: Pair) -> None:
    """Each is of a known kind, and no network is taken for another's."""
    assert {adapter.kind for adapter in ADAPTERS} <= {*GENERATORS, *DISCRIMINATORS}
    for adapter in ADAPTERS:
        stored = {adapter.marker: torch.zeros(1)}
        assert [other for other in ADAPTERS if other.recognises(stored)] == [adapter]
    for network in pair:
        found = adapter_for(network.state_dict(), PublicLayout)
        assert found is public_layout(network.config.kind)


def test_what_the_public_tools_do_not_have_stays_here(tmp_path: Path) -> None:
    config = StyleGAN3Config(z_dim=4, w_dim=4, channel_base=16, channel_max=4, num_layers=3, num_critical=1)
    config.mapping = MappingConfig(num_layers=2, hidden_dim=5)
    G = config.build(resolution=(8, 8), channels=3, c_dim=0)
    with pytest.raises(UserError, match=r"G_ema has mapping\.hidden_dim=5, which the public tools do not have"):
        save_public(tmp_path / "a.pt", {"G_ema": G})
    other = WithoutWConfig().build(resolution=(8, 8), channels=3, c_dim=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(GENERATORS, WithoutWConfig.kind, WithoutWConfig)
        with pytest.raises(UserError, match="is a without_w network, which the public StyleGAN tools do not have"):
            save_public(tmp_path / "a.pt", {"G_ema": other})
    assert not (tmp_path / "a.pt").exists()


def test_images_that_are_not_square_stay_here(tmp_path: Path) -> None:
    G, _ = tiny_pair(resolution=(8, 16))
    with pytest.raises(UserError, match=re.escape("8x16 (HxW)")):
        save_public(tmp_path / "a.pt", {"G_ema": G})
    assert not (tmp_path / "a.pt").exists()


def test_reduced_precision_is_said_and_not_taken_over(pair: Pair) -> None:
    G, _ = tiny_pair()
    assert describe(G).options["num_fp16_res"] == 0
    G.set_precision(Precision.bf16)
    assert describe(G).options["num_fp16_res"] == 4
    assert "3 tensors" not in summary(G)
