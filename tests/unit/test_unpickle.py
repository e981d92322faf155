"""Pickles are read as data. Whatever else a file tries is refused by name, and nothing of it runs."""

import os
import pickle
import pickletools
import re
import struct
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stylegan.errors import UserError
from stylegan.interop.convert import save_public
from stylegan.interop.networks import read_networks
from stylegan.interop.pickled import module_words
from stylegan.interop.torch_file import read_pickled
from stylegan.interop.unpickle import Budget, Machine, Source, UnreadableError
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from tests.golden.golden import HERE

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def nested(content: bytes) -> bytes:
    """A pickle that takes `content` for the bytes of a tensor."""
    return b"\x80\x04ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"\x85R."


def storage(numbers: int = 4) -> bytes:
    """The bytes of a tensor of float32, as they should be."""
    return next(a for _, a, _ in pickletools.genops(pickle.dumps(torch.zeros(numbers))) if isinstance(a, bytes))


class Evil:
    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def touch(canary: Path) -> str:
    return f"touch {canary}"


def attacks(canary: Path) -> dict[str, tuple[bytes, str]]:
    """Files by what they try, and what the refusal must name."""
    code = f"open({str(canary)!r}, 'w')"
    run = b"cos\nsystem\n(" + text(touch(canary)) + b"tR."
    wrapped = pickle.dumps(Evil(os.system, touch(canary)))
    module = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    return {
        **{
            f"os.system, protocol {p}": (pickle.dumps(Evil(os.system, touch(canary)), p), "posix.system")
            for p in range(6)
        },
        "within a snapshot": (pickle.dumps({"G_ema": Evil(os.system, touch(canary))}), "posix.system"),
        "eval": (pickle.dumps(Evil(eval, code)), "builtins.eval"),
        "exec": (pickle.dumps(Evil(exec, code)), "builtins.exec"),
        "old eval": (pickle.dumps(Evil(eval, code), 2), "__builtin__.eval"),
        "getattr": (
            pickle.dumps(Evil(getattr, 1, "real")),
            "builtins.getattr",
        ),
        "subprocess": (pickle.dumps(Evil(subprocess.Popen, ["touch", str(canary)])), "subprocess.Popen"),
        "import": (b"c__builtin__\n__import__\n(" + text("os") + b"tR.", "__import__"),
        "operator": (b"coperator\nattrgetter\n(" + text("system") + b"tR.", "operator.attrgetter"),
        "a listed name's attribute": (
            b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.fromkeys.x\x93.",
            "OrderedDict.fromkeys",
        ),
        "a name of the class itself": (b"\x80\x04\x8c\x05torch\x8c\x10load.__globals__\x93.", "torch.load"),
        "torch.load": (b"ctorch\nload\n" + text("x") + b"\x85R.", "torch.load"),
        "rebuilding by type": (b"ctorch._tensor\n_rebuild_from_type_v2\n).", "_rebuild_from_type_v2"),
        "STACK_GLOBAL": (
            b"\x80\x04" + text("os") + text("system") + b"\x93" + text(touch(canary)) + b"\x85R.",
            "os.system",
        ),
        "STACK_GLOBAL from memo": (
            b"\x80\x04" + text("system") + b"\x94" + text("os") + b"\x94" + b"h\x01h\x00\x93.",
            "os.system",
        ),
        "INST": (b"(" + text(touch(canary)) + b"ios\nsystem\n.", "os.system"),
        "INST of a listed name": (b"(icollections\nOrderedDict\n.", "INST"),
        "OBJ": (b"(cos\nsystem\n" + text(touch(canary)) + b"o.", "os.system"),
        "OBJ of a listed name": (b"(ccollections\nOrderedDict\no.", "OBJ"),
        "NEWOBJ": (b"\x80\x02cos\nsystem\n)\x81.", "os.system"),
        "NEWOBJ_EX": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
        "EXT1": (b"\x80\x02\x82\x01.", "extension 1"),
        "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "extension 1"),
        "PERSID": (b"Pabc\n.", "PERSID"),
        "BINPERSID": (b"\x80\x02" + text("abc") + b"Q.", "BINPERSID"),
        "NEXT_BUFFER": (b"\x80\x05\x97.", "NEXT_BUFFER"),
        "BUILD of a list": (b"]}b.", "attributes of a list"),
        "BUILD of slots": (b"ccollections\nOrderedDict\n)R(N}" + text("a") + b"K\x01stb.", "state that is none"),
        "BUILD of a type": (b"ccollections\nOrderedDict\n}" + text("__reduce__") + b"K\x01sb.", "attributes of a Word"),
        "calling a result": (b"]K\x01\x85R.", "call a list"),
        "calling a type": (b"cnumpy\nndarray\n)R.", "call numpy.ndarray"),
        "an array of objects": (b"cnumpy\ndtype\n" + text("O8") + b"\x85R.", "O8"),
        "an array of another type": (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R.",
            "another type than numpy.ndarray",
        ),
        "a module by its source": (module + b"}" + text("type") + text("module") + b"s\x85R.", "not described"),
        "in the bytes of a tensor": (nested(wrapped), "posix.system"),
        "in the bytes of bytes": (nested(nested(wrapped)), "_load_from_bytes"),
        "after the magic number": (nested(storage()[:15] + run), "os.system"),
        "in the storages": (nested(storage().replace(b"FloatStorage", b"os\nsystemxxx"[:12])), "asks for"),
        "behind the end": (b"\x80\x02}." + run, "after its end"),
        "an error of arguments": (TENSOR + b")R.", "arguments"),
    }


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "ran"


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_what_a_file_tries_is_refused_by_name(tmp_path: Path, canary: Path, name: str) -> None:
    content, expected = attacks(canary)[name]
    for suffix in (".pkl", ".pt"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            read_networks(path)
        message = str(caught.value)
        assert expected in message and str(path) in message and "\n" not in message
        assert len(message) < 500
    assert not canary.exists()


def chain(opcode: bytes, count: int) -> bytes:
    return b"\x80\x02)" + opcode * count + b"."


def laughs(depth: int) -> bytes:
    """A list of two of a list of two ...: little to write, 2^depth to walk through."""
    return b"\x80\x04]" + b"".join(b"\x94](h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(depth)) + b"."


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00", numbers: int = 4) -> bytes:
    content = storage(numbers)
    data = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"\x85R"
    return b"\x80\x02" + TENSOR + b"(" + data + offset + size + stride + b"\x89ccollections\nOrderedDict\n)RtR."


RECORD = b"ccollections\nOrderedDict\n"
NAMES = b"(" + b"".join(text(str(i)) for i in range(40_000)) + b"l"
PAIRS = b"(" + b"".join(text(str(i)) + b"N\x86" for i in range(40_000)) + b"l"
ENTRIES = b"}(" + b"".join(text(str(i)) + b"N" for i in range(40_000)) + b"u"
MODULE = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"


def again(word: bytes, argument: bytes) -> bytes:
    """A word that is given the same argument 40,000 times."""
    return b"\x80\x02" + word + b"q\x010" + argument + b"q\x020(" + b"h\x01h\x02\x85R" * 40_000 + b"l."


def module(state: bytes) -> bytes:
    """A module of the public tools with a state."""
    named = text("type") + text("class") + text("class_name") + text("Generator") + text("state") + state
    return b"\x80\x02" + MODULE + b"}(" + named + b"u\x85R"


def nested_text() -> bytes:
    """The bytes of a tensor, which begin with a text that is thrown away."""
    content = storage()
    content = content[:2] + text("y" * 500_000) + b"0" + content[2:]
    return b"B" + struct.pack("<I", len(content)) + content


def shared_modules() -> bytes:
    """9000 modules, each of which holds all of these again."""
    inner = module(b"}" + text("_modules") + b"h\x08s")[2:] + b"q\x070"
    names = b"h\x08(" + b"".join(text(str(i)) + b"h\x07" for i in range(9000)) + b"u0h\x07."
    return b"\x80\x02}q\x080" + inner + names


def shared_tensors() -> bytes:
    """9000 modules, each with the same 9000 parameters."""
    parameters = b"}(" + b"".join(text(str(i)) + b"N" for i in range(9000)) + b"uq\x080"
    inner = module(b"}" + text("_parameters") + b"h\x08s")[2:] + b"q\x070"
    names = b"}(" + b"".join(text(str(i)) + b"h\x07" for i in range(9000)) + b"u"
    return b"\x80\x02" + parameters + inner + module(b"}" + text("_modules") + names + b"s")[2:] + b"."


def equal_hashes() -> bytes:
    """A dictionary whose keys all have the same hash, so that each is compared with all before."""
    keys = (b"\x8a\x0a" + (i * (2**61 - 1) + 5).to_bytes(10, "little") for i in range(50_000))
    return b"\x80\x02" + RECORD + b"(" + b"".join(key + b"N\x86" for key in keys) + b"l\x85R."


BIG = b"\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2^40
LIMITS = {
    "deep marks": (b"\x80\x02" + b"(" * 5000 + b".", "deep"),
    "deep tuples": (chain(b"\x85", 5000), "deep"),
    "deep lists": (b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", "deep"),
    "very deep tuples": (chain(b"\x85", 200_000), "deep"),
    "laughs": (laughs(99), "no networks that are known"),
    "too many laughs": (laughs(120), "deep"),
    "too many instructions": (b"\x80\x02" + b"N0" * 500_001 + b"N.", "instructions"),
    "bytes of 4 GB": (b"\x80\x03B\xff\xff\xff\xff.", "breaks off"),
    "bytes of 2^63": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.", "breaks off"),
    "text of 4 GB": (b"\x80\x02X\xff\xff\xff\xff.", "breaks off"),
    "buffer of 2^62": (b"\x80\x05\x96" + b"\0" * 7 + b"\x40.", "breaks off"),
    "frame that ends nowhere": (b"\x80\x04\x95" + b"\xff" * 8 + b".", "damaged"),
    "a number of 2000 bits": (b"\x80\x02\x8a\xfa" + b"\x11" * 250 + b".", "bits"),
    "a number of 8 million bits": (b"\x80\x02\x8b\x40\x42\x0f\x00" + b"\x11" * 1_000_000 + b".", "bits"),
    "a text encoded again and again": (
        again(b"c_codecs\nencode\n", text("A" * 1_000_000)).replace(b"\x85R", text("latin1") + b"\x86R"),
        "makes more than",
    ),
    "a set made again and again": (again(b"c__builtin__\nset\n", NAMES), "makes more than"),
    "a dictionary copied again and again": (again(RECORD, PAIRS), "makes more than"),
    "attributes set again and again": (
        b"\x80\x02" + ENTRIES + b"q\x020(" + b"cargparse\nNamespace\n)Rh\x02b" * 40_000 + b"l.",
        "makes more than",
    ),
    "a module made again and again": (
        again(MODULE, b"}(" + text("type") + text("class") + text("state") + ENTRIES + b"u"),
        "without class name|makes more than",
    ),
    "a long text within a tensor's bytes, again and again": (
        again(b"ctorch.storage\n_load_from_bytes\n", nested_text()),
        "makes more than",
    ),
    "modules that hold one another": (shared_modules(), "more modules within modules"),
    "modules that share their parameters": (shared_tensors(), "more than 10000 tensors"),
    "keys of one hash": (equal_hashes(), "int for a key"),
    "a tensor of nothing by too much": (tensor(b"K\x00" + BIG + b"\x86", b"K\x01K\x01\x86"), "size"),
    "a decimal number without end": (b"I" + b"9" * 100_000 + b"\n.", "damaged"),
    "a key that is a tuple": (b"\x80\x02})K\x01s.", "tuple for a key"),
    "a key with a chosen hash": (b"\x80\x02}\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x01K\x01s.", "int for a key"),
    "a memo that was never made": (b"\x80\x02h\x05.", "damaged"),
    "a memo far away": (b"\x80\x02}r\xff\xff\xff\xff0j\xff\xff\xff\xff.", "no networks that are known"),
    "a list in itself": (b"\x80\x04]\x94h\x00a.", "no networks that are known"),
    "an empty stack": (b"\x80\x02.", "damaged"),
    "a mark that was never set": (b"\x80\x02t.", "damaged"),
    "an unknown instruction": (b"\x80\x02\xff.", "damaged"),
    "a tensor beyond its numbers": (tensor(b"K\x05\x85", b"K\x01\x85"), "over 4 numbers"),
    "a tensor of repeated numbers": (tensor(b"K\x05\x85", b"K\x00\x85"), "over 4 numbers"),
    "a tensor with a far offset": (tensor(b"K\x01\x85", b"K\x01\x85", b"M\xff\xff"), "over 4 numbers"),
    "a tensor with long steps": (tensor(b"K\x02\x85", BIG + b"\x85"), "stride"),
    "a tensor with steps back": (tensor(b"K\x02\x85", b"J\xff\xff\xff\xff\x85"), "stride"),
    "a tensor of half a size": (tensor(b"G?\xe0\0\0\0\0\0\0\x85", b"K\x01\x85"), "size"),
    "a tensor of many dimensions": (tensor(b"(" + b"K\x01" * 40 + b"t", b"(" + b"K\x01" * 40 + b"t"), "size"),
    "empty": (b"", "is empty"),
    "text": (b"<html>not found</html>", "damaged"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_a_file_costs_is_bounded(tmp_path: Path, name: str) -> None:
    content, expected = LIMITS[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(UserError, match=expected):
        read_networks(path)
    assert time.process_time() - started < 20


def test_a_network_takes_no_more_memory_than_its_file_has_numbers(tmp_path: Path) -> None:
    """40 layers of a megabyte each, all names of the same one; small tensors may share theirs."""
    config = StyleGAN2Config(z_dim=512, w_dim=512, channel_base=32, channel_max=4, mapping=MappingConfig(num_layers=40))
    path = tmp_path / "a.pt"
    save_public(path, {"G_ema": config.build(resolution=(8, 8), channels=3, c_dim=0)})
    content = torch.load(path, weights_only=True)
    G_ema = content["G_ema"]
    G_ema |= {name: G_ema["mapping.fc0.bias"] for name in G_ema if name.endswith("fc1.bias")}
    torch.save(content, path)
    read_networks(path)
    G_ema |= {name: G_ema["mapping.fc0.weight"] for name in G_ema if re.fullmatch(r"mapping\.fc\d+\.weight", name)}
    torch.save(content, path)
    assert path.stat().st_size < 2**21
    with pytest.raises(UserError, match=r"share their numbers: \d+ bytes are made of"):
        read_networks(path)


def test_an_archive_of_more_records_than_any_is_refused_before_they_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylegan.interop.torch_file.MOST_RECORDS", 100)
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for i in range(101):
            archive.writestr(f"archive/data/{i}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(UserError, match="more than 100 records"):
        read_networks(tmp_path / "a.pt")


def test_the_same_bytes_cannot_be_unpacked_again_and_again(tmp_path: Path) -> None:
    content = storage(100_000)
    once = b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(content)) + content + b"q\x00\x85R"
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02(" + once + b"ctorch.storage\n_load_from_bytes\nh\x00\x85R" * 50 + b"l.")
    with pytest.raises(UserError, match="more than the file holds"):
        read_networks(path)


def announce(count: int) -> bytes:
    """A tensor's bytes that announce other numbers than follow."""
    content = bytearray(storage(4))
    at = content.index(b"K\x04Nt")
    content[at : at + 2] = b"\x8a\x08" + struct.pack("<q", count)
    return bytes(content)


@pytest.mark.parametrize("count", [5, 10**6, 2**39, 2**62, -1])
def test_announced_numbers_are_not_believed(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(nested(announce(count)))
    with pytest.raises(UserError, match="tensor"):
        read_networks(path)


def test_zip_bombs_and_broken_zips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"g_ema": {"w": torch.zeros(50)}}, path)
    good = path.read_bytes()

    def rewrite(name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
        path.write_bytes(good)
        with zipfile.ZipFile(path) as old:
            parts = {item.filename: old.read(item) for item in old.infolist()}
        with zipfile.ZipFile(path, "w", compression) as new:
            for key, value in {**parts, name: content}.items():
                new.writestr(key, value)

    rewrite("archive/bomb", bytes(10**8), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**6
    with pytest.raises(UserError, match="compressed ZIP"):
        read_networks(path)
    for name, content, message in (
        ("a/data/0", b"abc", "holds 3 bytes for a tensor of 50"),
        ("a/data.pkl", pickle.dumps(Evil(os.system, "true")), "posix.system"),
        ("a/byteorder", b"big", "big-endian"),
        ("b/data.pkl", b"N.", "none of torch.save"),
    ):
        rewrite(name, content)
        with pytest.raises(UserError, match=message):
            read_networks(path)
    path.write_bytes(good.replace(b"a/data/0", b"a/data/9"))
    with pytest.raises(UserError, match=r"damaged|lacks the tensor data"):
        read_networks(path)
    entry = good.index(b"PK\x01\x02")  # the first in the list of contents; its sizes are at 20 and 24
    path.write_bytes(good[: entry + 20] + struct.pack("<II", 2**31, 2**31) + good[entry + 28 :])
    with pytest.raises(UserError, match="overlap, or are larger"):
        read_networks(path)


def test_cut_files_are_refused(tmp_path: Path) -> None:
    content = (HERE / "pickles" / "sg2ada.pkl").read_bytes()
    path = tmp_path / "a.pkl"
    for length in [*range(1, 40), *range(40, len(content), 13_001), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match=r"breaks off|is damaged"):
            read_networks(path)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_of_pickle(tmp_path: Path, protocol: int) -> None:
    value: Any = {
        "a": [1, -1, 2**70, 1.5, float("inf"), None, True, False, "\u00e4\n", b"\x00\xff", (), (1,), (1, 2), (1, 2, 3)]
    }
    value |= {"set": {"x", "y"}, "nested": {"b": [(1, 2, 3, 4), {}, []]}, "long": "x" * 300, 3: None, "same": [[], []]}
    value["same"][1] = value["same"][0]
    (tmp_path / "a").write_bytes(pickle.dumps(value, protocol))
    found = read_pickled(tmp_path / "a")
    assert found == value
    assert found["same"][0] is found["same"][1]


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_those_of_torch(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0)
    value: dict[str, Any] = {
        "all": base,
        "view": base[4:16].view(3, 4).t(),
        "none": torch.zeros(0, 3),
        "one": torch.tensor(2.5),
    }
    value |= {str(dtype): torch.tensor([0, 1, 3]).to(dtype) for dtype in (torch.float64, torch.float16, torch.bfloat16)}
    value |= {
        str(dtype): torch.tensor([0, 1, 3]).to(dtype) for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool)
    }
    value["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
    torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    found = read_pickled(tmp_path / "a.pt")
    assert list(found) == list(value)
    for name, tensor in value.items():
        assert torch.equal(found[name].tensor(), tensor) and found[name].tensor().dtype == tensor.dtype


def test_words_are_inert() -> None:
    """Not one of the listed names stands for what it names elsewhere."""
    for name, word in module_words().items():
        assert word.call is None or word.call.__module__ == "stylegan.interop.pickled", name


def test_progress_is_told_and_memory_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.interop.unpickle.WINDOW", 10_000)
    value = {str(i): torch.full((5_000,), float(i)) for i in range(20)}
    torch.save(value, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    seen: list[int] = []
    found = read_pickled(tmp_path / "a.pt", seen.append)
    assert len(seen) > 5 and seen == sorted(seen) and seen[-1] <= (tmp_path / "a.pt").stat().st_size
    assert all(torch.equal(found[name].tensor(), tensor) for name, tensor in value.items())


def test_an_instruction_costs_what_is_left() -> None:
    budget = Budget(tensor_bytes=0, opcodes=4)
    assert Machine({}, budget).load(Source(b"NN.")) is None
    with pytest.raises(UnreadableError, match="instructions"):
        Machine({}, budget).load(Source(b"NN."))
