"""What the words of a network's pickle stand for: modules, tensors and arrays as plain records, checked when they are made."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import UnreadableError
from stylegan.interop.unpickle import Budget, Namespace, Parts, Record, Stateful, Word, checked_keys

MOST_DIMENSIONS = 8
LARGEST_SIZE = 2**40
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_CLASSES_OF = ("training.networks.", "R3GAN.", "torch.nn.modules.")
_PLAIN = (bool, int, float, str, bytes, dict, list, tuple, set)
_ARRAY_DTYPES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


@dataclass
class ModuleRecord(Parts):
    """One module of a network: what was recorded about it, without its code.

    Attributes:
        class_name: As its author called it.
        state: Its attributes, among them `_parameters`, `_buffers`, `_modules`, `_init_args`, `_init_kwargs`.
    """

    class_name: str
    state: dict[str, Any]

    def contents(self) -> list[Any]:
        return list(self.state.values())

    def part(self, name: str) -> dict[str, Any]:
        """One of its dictionaries, such as `_modules`; empty where it has none."""
        found = self.state.get(name)
        return found if isinstance(found, dict) else {}


class PlainModule(ModuleRecord, Stateful):
    """A module that was pickled as Python pickles any object: its class, then its attributes."""

    def set_state(self, state: Any) -> None:
        if self.state or not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise UnreadableError(f"holds a {self.class_name[:60]} whose attributes are not told once, by name")
        self.state = state


class BuiltModule(PlainModule):
    """A network of the official code for TensorFlow. It was built by a function of a source text, which the file holds, too: to
    us a text that nobody reads."""


class ModuleWords(dict[str, Word]):
    """Words, and the classes of R3GAN's and torch's layers, whatever they are called: each makes an empty `PlainModule`."""

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict`."""
        if name in self or not name.startswith(_CLASSES_OF):
            return super().get(name, default)
        return Word(name, lambda *arguments: _plain_module(name.rpartition(".")[2], arguments))


@dataclass
class Storage:
    """The numbers of tensors. They may follow later in the file."""

    dtype: torch.dtype
    numel: int
    data: Tensor | None = None

    def fill(self, content: bytes) -> None:
        """Take the numbers: `numel` of them, little-endian."""
        if len(content) != self.numel * self.dtype.itemsize:
            raise UnreadableError(f"holds {len(content)} bytes for a tensor of {self.numel} numbers")
        self.data = torch.empty(self.numel, dtype=self.dtype)  # aligned, as torch would have it
        self.data.view(torch.uint8).numpy()[:] = np.frombuffer(content, np.uint8)


@dataclass(frozen=True)
class TensorRecord:
    """A tensor: a view of a storage, whose bounds were checked."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def tensor(self) -> Tensor:
        """The tensor itself; it shares memory with others of the same storage."""
        if self.storage.data is None:
            raise UnreadableError("lacks the numbers of a tensor")
        return self.storage.data.as_strided(self.size, self.stride, self.offset)


@dataclass
class ArrayType(Stateful):
    """A numpy dtype of numbers in the byte order of this file format."""

    code: str

    def set_state(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in ("<", "|", "=")):
            raise UnreadableError("holds an array of another byte order, or one that is no array of numbers")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<{self.code}")


@dataclass
class ArrayRecord(Stateful):
    """A numpy array, empty until its state arrives."""

    values: np.ndarray[Any, Any] = field(default_factory=lambda: np.empty(0))

    def set_state(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise UnreadableError("holds an array without shape, type and numbers")
        _, shape, kind, fortran, content = state
        self.values = _array(content, kind, shape, "F" if fortran is True else "C")


def tensor_words() -> dict[str, Word]:
    """What a stream of `torch.save` may say: tensors, their types, and plain containers."""
    types = [Word(f"torch.{name}") for name in DTYPES]
    return _by_name(
        *types,
        Word("torch.storage.TypedStorage"),
        Word("collections.OrderedDict", _record),
        Word("builtins.set", _set),
        Word("argparse.Namespace", _empty_namespace),
        Word("torch._utils._rebuild_tensor", _rebuild_tensor),
        Word("torch._utils._rebuild_tensor_v2", _rebuild_tensor_v2),
        Word("torch._utils._rebuild_parameter", _rebuild_parameter),
        Word("torch.Size", _size),
        Word("torch.device", _device),
        *(Word(str(dtype)) for dtype in DTYPES.values()),
    )


def module_words() -> dict[str, Word]:
    """What a pickle of the public StyleGAN2-ADA, StyleGAN3 and R3GAN tools may say, or of the official ProGAN and StyleGAN for
    TensorFlow, but for the tensors' bytes."""
    known = _by_name(
        *(Word(name, _built_module) for name in ("tfutil.Network", "dnnlib.tflib.network.Network")),
        Word("torch_utils.persistence._reconstruct_persistent_obj", _module),
        Word("dnnlib.util.EasyDict", _record),
        Word("_codecs.encode", _encode),
        Word("numpy.ndarray"),
        Word("numpy.dtype", _array_type),
        Word("numpy.core.multiarray._reconstruct", _empty_array),
        Word("numpy.core.multiarray.scalar", _scalar),
        Word("numpy.core.numeric._frombuffer", _array_from_buffer),
    )
    return ModuleWords(tensor_words() | known)


def storage_of(identity: Any, known: dict[str, Storage], budget: Budget) -> Storage:
    """The storage that a persistent id of `torch.save` means: ("storage", type, key, device, count, ...)."""
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage" or any(identity[5:]):
        raise UnreadableError("refers to something other than the numbers of a tensor")
    kind, key, count = identity[1], identity[2], identity[4]
    dtype = DTYPES.get(kind.name.removeprefix("torch.")) if isinstance(kind, Word) else None
    if dtype is None or not isinstance(key, str) or not _is_size(count):
        raise UnreadableError("describes the numbers of a tensor in a way that torch.save does not")
    if key not in known:
        budget.spend_tensor_bytes(count * dtype.itemsize)
        known[key] = Storage(dtype, count)
    if (known[key].dtype, known[key].numel) != (dtype, count):
        raise UnreadableError(f"describes the tensor data {key!r} in two ways")
    return known[key]


def plain(value: Any) -> Any:
    """Content of a file with tensors in the place of their records; lists and dictionaries are changed as they are.

    Raises:
        UnreadableError: It holds something else than plain values, containers and tensors.
    """
    seen = set[int]()

    def made(item: Any) -> Any:
        if isinstance(item, TensorRecord):
            return item.tensor()
        if item is not None and not isinstance(item, _PLAIN):
            raise UnreadableError(f"holds a {type(item).__name__}")
        if isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            for key, inner in list(item.items()) if isinstance(item, dict) else enumerate(item):
                new = made(inner)
                if new is not inner:
                    if isinstance(item, tuple):
                        raise UnreadableError("holds a tensor in a tuple")
                    item[key] = new
        return item

    return made(value)


def _by_name(*words: Word) -> dict[str, Word]:
    return {word.name: word for word in words}


def _plain_module(name: str, arguments: tuple[Any, ...]) -> PlainModule:
    if arguments:
        raise UnreadableError(f"makes a {name[:60]} of arguments, which a module that was kept does not need")
    return PlainModule(name, {})


def _built_module(*arguments: Any) -> BuiltModule:
    if arguments:
        raise UnreadableError("makes a Network of arguments, which one that was kept does not need")
    return BuiltModule("Network", {})


def _module(meta: Any) -> ModuleRecord:
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise UnreadableError("holds a module that is not described as one")
    name, state = meta.get("class_name"), meta.get("state")
    if not isinstance(name, str) or not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UnreadableError("holds a module without class name and attributes")
    return ModuleRecord(name, state)


def _record(items: Any = ()) -> Record:
    pairs = list(items.items()) if isinstance(items, dict) else items
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise UnreadableError("holds a dictionary made of something else than pairs")
    checked_keys([key for key, _ in pairs])
    return Record(pairs)


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise UnreadableError("holds a set of something else than names")
    return set(items)


def _empty_namespace() -> Namespace:
    return Namespace()


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> TensorRecord:
    if not isinstance(storage, Storage):
        raise UnreadableError("holds a tensor without numbers")
    sizes, strides = _sizes(size, "size of a tensor"), _sizes(stride, "stride of a tensor")
    if not _is_size(offset) or len(sizes) != len(strides):
        raise UnreadableError("holds a tensor without valid size, stride and offset")
    last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if math.prod(max(n, 1) for n in sizes) >= LARGEST_SIZE:
        raise UnreadableError("holds a tensor whose size cannot be counted")
    if _numel(sizes) > storage.numel or (_numel(sizes) > 0 and last >= storage.numel) or offset > storage.numel:
        raise UnreadableError(f"holds a tensor of size {sizes} over {storage.numel} numbers")
    return TensorRecord(storage, offset, sizes, strides)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> TensorRecord:
    if hooks or metadata:
        raise UnreadableError("holds a tensor with hooks or metadata")
    return _rebuild_tensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> TensorRecord:
    if not isinstance(data, TensorRecord) or hooks:
        raise UnreadableError("holds a parameter that is no tensor, or has hooks")
    return data


def _size(items: Any) -> tuple[int, ...]:
    return _sizes(items, "torch.Size")


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str):
        raise UnreadableError("names a device that is no text")
    return kind


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnreadableError("encodes something else than bytes")
    return text.encode("latin1")


def _array_type(code: Any, align: Any = False, copy: Any = True) -> ArrayType:
    if not isinstance(code, str) or code not in _ARRAY_DTYPES:
        shown = code[:20] if isinstance(code, str) else type(code).__name__
        raise UnreadableError(f"holds an array of type {shown!r}, which is none of numbers")
    return ArrayType(code)


def _empty_array(kind: Any, shape: Any, code: Any) -> ArrayRecord:
    if not isinstance(kind, Word) or kind.name != "numpy.ndarray":
        raise UnreadableError("makes an array of another type than numpy.ndarray")
    return ArrayRecord()


def _array_from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> ArrayRecord:
    """How protocol 5 writes arrays."""
    return ArrayRecord(_array(content, kind, shape, "F" if order == "F" else "C"))


def _array(content: Any, kind: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray[Any, Any]:
    if not isinstance(kind, ArrayType) or not isinstance(content, bytes | bytearray):
        raise UnreadableError("holds an array that is not one of numbers")
    count = _numel(_sizes(shape, "shape of an array"))
    if count * kind.dtype.itemsize != len(content):
        raise UnreadableError(f"holds {len(content)} bytes for an array of {count} numbers")
    return np.frombuffer(content, kind.dtype).reshape(shape, order=order)


def _scalar(kind: Any, content: Any) -> int | float | bool:
    if not isinstance(kind, ArrayType) or not isinstance(content, bytes) or len(content) != kind.dtype.itemsize:
        raise UnreadableError("holds a numpy number whose bytes do not fit its type")
    return np.frombuffer(content, kind.dtype)[0].item()


def _sizes(items: Any, what: str) -> tuple[int, ...]:
    if not isinstance(items, tuple) or len(items) > MOST_DIMENSIONS or not all(_is_size(item) for item in items):
        raise UnreadableError(f"holds a {what} that is not made of up to {MOST_DIMENSIONS} whole numbers")
    return items


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST_SIZE


def _numel(sizes: tuple[int, ...]) -> int:
    return math.prod(sizes)
