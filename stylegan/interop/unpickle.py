"""Read a pickle stream as data: nothing that it names is imported, looked up or called.

A pickle is a program for a small stack machine, and the usual reader runs it with all of Python at its disposal. This one
knows plain values, containers and a list of words; each word stands for an inert value or for a function of ours that checks
what it is given. Every other name is refused where it is mentioned, before anything can be done with it. `pickletools` only
tells one instruction from the next. What a stream may cost is bounded: instructions, nesting, and whatever a word makes of what
it is given, since the same text or list can be given to it again and again. No length is believed beyond that of the file.
"""

import mmap
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from stylegan.errors import UnreadableError, shown

OPCODES = 1_000_000  # published files have 15 thousand to 60 thousand
NESTING = 100  # published files reach 25
LONGEST_INTEGER = 80  # bits; torch.save's mark has 77
WINDOW = 2**24  # bytes of a file that are kept in memory behind the position, and between two reports of progress
MADE = 2**26  # bytes of values that words make, and FACTOR times the file's size; published files need a few million
FACTOR = 4  # the oldest protocols write the bytes of tensors as text
ELEMENT = 64  # bytes that one element of a container counts for
LONGEST_KEY = 60  # bits; longer ones can be chosen to have equal hashes, which makes a dictionary slow

_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_LITERALS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONTAINERS = dict | list | tuple | set | frozenset
_EXTENSIONS = {"EXT1", "EXT2", "EXT4"}


class ForbiddenError(UnreadableError):
    """The file does not hold data, but asks for something to be done."""


@dataclass(frozen=True)
class Word:
    """A name that a stream may say.

    Attributes:
        name: `module.name`.
        call: What makes a value of its arguments; None for a name that is only handed around, such as a type.
    """

    name: str
    call: Callable[..., Any] | None = None


class Stateful:
    """A value that the BUILD instruction may complete."""

    def set_state(self, state: Any) -> None:
        """Take over the state after checking it; raises `UnreadableError`."""
        raise NotImplementedError


class Record(dict[Any, Any], Stateful):
    """A dictionary of the file (OrderedDict, EasyDict, Namespace), whose attributes are of no interest."""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise UnreadableError("gives a dictionary a state that is none")


class Namespace(Record):
    """An object that is nothing but its attributes."""

    def set_state(self, state: Any) -> None:
        super().set_state(state)
        self.update(state)


@dataclass
class Budget:
    """What reading one file may still cost. Nested streams draw on the same one.

    Attributes:
        tensor_bytes: Bytes of tensors; a file holds no more than its own size.
        made: Bytes of all other values.
        opcodes: Instructions.
    """

    tensor_bytes: int
    made: int = MADE
    opcodes: int = OPCODES

    @classmethod
    def for_file(cls, size: int) -> "Budget":
        """For a file of so many bytes."""
        return cls(tensor_bytes=size, made=MADE + FACTOR * size)

    def spend(self, *values: Any) -> None:
        """Pay for values that are copied or walked through: texts by length, containers by elements, two levels deep.

        Raises:
            UnreadableError: They come to more than any network's.
        """
        for value in values:
            if isinstance(value, str | bytes | bytearray):
                self._spend_made(len(value))
            elif isinstance(value, _CONTAINERS):
                self._spend_made(ELEMENT * len(value))
                for item in value.values() if isinstance(value, dict) else value:
                    if isinstance(item, _CONTAINERS):
                        self._spend_made(ELEMENT * len(item))

    def _spend_made(self, count: int) -> None:
        self.made -= count
        if self.made < 0:
            raise UnreadableError(
                f"makes more than {MADE} bytes of values beside its tensors; no network needs that many"
            )

    def spend_tensor_bytes(self, count: int) -> None:
        """Raises `UnreadableError` where more is asked for than the file can hold."""
        if count > self.tensor_bytes:
            raise UnreadableError(f"declares a tensor of {count} bytes, more than the file holds")
        self.tensor_bytes -= count


class Source:
    """Bytes with a position. A length is compared with what is left before anything is allocated."""

    def __init__(self, data: bytes | mmap.mmap, progress: Callable[[int], None] | None = None):
        self.data, self.size, self.position, self.progress = data, len(data), 0, progress
        self.released = 0

    def tell(self) -> int:
        """Where the next byte is."""
        return self.position

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        if not 0 <= count <= self.size - self.position:
            raise UnreadableError(
                f"breaks off: {count} bytes are announced at byte {self.position} and {self.size - self.position} follow"
            )
        start, self.position = self.position, self.position + count
        content = self.data[start : self.position]
        if start - self.released > WINDOW:
            self._release(start)
        return content

    def _release(self, end: int) -> None:
        """Give back the memory of what was read of a mapped file, so that a large one is never in memory twice."""
        if self.progress is not None:
            self.progress(end)
        if isinstance(self.data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            end -= end % mmap.ALLOCATIONGRANULARITY
            self.data.madvise(mmap.MADV_DONTNEED, self.released, end - self.released)
        self.released = end

    def readline(self) -> bytes:
        """Up to the next line feed."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise UnreadableError(f"breaks off in the text at byte {self.position}")
        return self.read(end + 1 - self.position)


class Machine:
    """Executes one stream after another, as the pickle protocols 0 to 5 define it, over an allow-list."""

    def __init__(
        self, words: Mapping[str, Word], budget: Budget, persistent: Callable[[Any], Any] | None = None
    ) -> None:
        """Allowed words by name; what may be spent; what makes a value of a persistent id, None if there are none."""
        self.words, self.budget, self.persistent = words, budget, persistent
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def load(self, source: Source) -> Any:
        """The value of the stream that starts at the source's position, which is left behind its end.

        Raises:
            UnreadableError: It asks for something that is not on the list, is damaged, or is larger than any network's.
        """
        self.stack, self.marked, self.memo = [], [], {}
        try:
            for opcode, argument, _ in pickletools.genops(cast(IO[bytes], source)):
                self.budget.opcodes -= 1
                if self.budget.opcodes < 0:
                    raise UnreadableError(f"has more than {OPCODES} instructions; no network needs that many")
                if opcode.name == "STOP":
                    value = self._pop()
                    break
                self._execute(opcode.name, argument)
            else:
                raise UnreadableError("breaks off")
        except UnreadableError:
            raise
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            # What pickletools and the stack raise for damaged streams; KeyError: a memo entry that was never made.
            raise UnreadableError(f"is damaged: {shown(error, 80)} (byte {source.tell()})") from None
        check_nesting(value)
        return value

    def _execute(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _GET:
            stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in _PUT:
            self.memo[argument] = stack[-1]
        elif name in _CONSTANTS:
            stack.append(self._constant(argument))
        elif name in _LITERALS:
            stack.append(_LITERALS[name]())
        elif name == "MARK":
            if len(self.marked) >= NESTING:
                raise UnreadableError(f"nests its values more than {NESTING} deep")
            self.marked.append(stack)
            self.stack = []
        elif name in _SHORT_TUPLES:
            items = [self._pop() for _ in range(_SHORT_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET"):
            items = self._pop_marked()
            make = {"TUPLE": tuple, "LIST": list, "DICT": _dict, "FROZENSET": _frozen}[name]
            self.stack.append(make(items))
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._pop_marked()
            self._top(list, name).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self._pop(), self._pop()][::-1] if name == "SETITEM" else self._pop_marked()
            self._top(dict, name).update(_dict(items))
        elif name == "ADDITEMS":
            items = self._pop_marked()
            self._top(set, name).update(_frozen(items))
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            self._pop()
        elif name == "POP_MARK":
            self._pop_marked()
        elif name not in ("PROTO", "FRAME"):
            self._say(name, argument)

    def _say(self, name: str, argument: Any) -> None:
        """The instructions that could reach out of the stream."""
        if name == "GLOBAL":
            self.stack.append(self._word(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = self._pop(), self._pop()
            if not isinstance(attribute, str) or not isinstance(module, str):
                raise UnreadableError("asks for a name that is no text")
            self.stack.append(self._word(module, attribute))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, word = self._pop(), self._pop()
            self.stack.append(self._call(word, arguments))
        elif name == "BUILD":
            state, value = self._pop(), self.stack[-1]
            if not isinstance(value, Stateful):
                raise ForbiddenError(f"wants to set the attributes of a {type(value).__name__} (BUILD)")
            self.budget.spend(state)
            value.set_state(state)
        elif name == "INST":
            self._word(*argument.split(" ", 1))
            raise ForbiddenError(f"wants to make an object of {shown(argument.replace(' ', '.'), 80)} (INST)")
        elif name in _EXTENSIONS:
            raise ForbiddenError(f"asks for the registered extension {argument} ({name})")
        elif name in ("PERSID", "BINPERSID"):
            identity = argument if name == "PERSID" else self._pop()
            if self.persistent is None:
                raise ForbiddenError(f"refers to data outside of the file ({name})")
            self.budget.spend(identity)
            self.stack.append(self.persistent(identity))
        else:
            raise ForbiddenError(f"uses the pickle instruction {name}, which no network file needs")

    def _word(self, module: str, attribute: str) -> Word:
        asked = f"{module}.{attribute}"
        for new, old in (
            ("numpy._core.", "numpy.core."),
            ("__builtin__.", "builtins."),
            ("dnnlib.EasyDict", "dnnlib.util.EasyDict"),
        ):
            if asked.startswith(new):
                asked = old + asked.removeprefix(new)
        word = self.words.get(asked)
        if word is None:
            raise ForbiddenError(f"asks for {shown(f'{module}.{attribute}', 80)}")
        return word

    def _call(self, word: Any, arguments: Any) -> Any:
        if not isinstance(word, Word):
            raise ForbiddenError(f"wants to call a {type(word).__name__}")
        if word.call is None:
            raise ForbiddenError(f"wants to call {word.name}")
        if not isinstance(arguments, tuple):
            raise UnreadableError(f"calls {word.name} without arguments")
        self.budget.spend(arguments, *arguments)
        try:
            return word.call(*arguments)
        except TypeError:
            raise UnreadableError(f"calls {word.name} with {len(arguments)} arguments that it does not have") from None

    def _constant(self, value: Any) -> Any:
        self.budget.spend(value)
        if isinstance(value, int) and value.bit_length() > LONGEST_INTEGER:
            raise UnreadableError(f"holds a whole number of {value.bit_length()} bits")
        return value

    def _top(self, kind: type, name: str) -> Any:
        value = self.stack[-1]
        if not isinstance(value, kind):
            raise UnreadableError(f"wants to fill a {type(value).__name__} ({name})")
        return value

    def _pop(self) -> Any:
        return self.stack.pop()

    def _pop_marked(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items


def check_nesting(value: Any) -> None:
    """Raise `UnreadableError` where containers are nested too deeply. Takes each once: values may be shared, even circular."""
    level, seen = [value], set[int]()
    for _ in range(NESTING):
        inner = [
            item
            for container in level
            for item in _contents(container)
            if isinstance(item, dict | list | tuple | Parts)
        ]
        level = [item for item in inner if not (id(item) in seen or seen.add(id(item)))]
        if not level:
            return
    raise UnreadableError(f"nests its values more than {NESTING} deep")


class Parts:
    """A value of a word that holds others."""

    def contents(self) -> list[Any]:
        """Those, for `check_nesting`."""
        raise NotImplementedError


def _contents(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value.contents() if isinstance(value, Parts) else list(value) if isinstance(value, list | tuple) else []


def _dict(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise UnreadableError("holds a dictionary with a key and no value")
    return dict(zip(checked_keys(items[::2]), items[1::2], strict=True))


def _frozen(items: list[Any]) -> frozenset[Any]:
    return frozenset(checked_keys(items))


def checked_keys(items: list[Any]) -> list[Any]:
    """The items, if all may be keys: texts, short whole numbers and None; raises `UnreadableError`."""
    for item in items:
        # No tuples: their hash recurses without a bound.
        if not (item is None or isinstance(item, str) or (isinstance(item, int) and item.bit_length() <= LONGEST_KEY)):
            raise UnreadableError(f"has a {type(item).__name__} for a key")
    return items
