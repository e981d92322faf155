"""Reads thousands of mutated files, with a hook that sees whatever Python does; see `fuzzing`."""

import contextlib
import os
import pickle
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stylegan.errors import UserError
from stylegan.interop.networks import read_networks
from stylegan.interop.torch_file import read_pickled
from stylegan.interop.unpickle import UnreadableError
from tests.unit import fuzzing
from tests.unit import official_pickle as official
from tests.unit.fuzz_networks import alias_free
from tests.unit.public_pickle import dumps, network_call
from tests.unit.public_r3gan import write
from tests.unit.tiny import tiny_pair

BUILD_EVERY = 6  # building networks takes longest
HARMFUL = ("os.", "subprocess.", "shutil.", "socket.", "ctypes.", "marshal.", "urllib.", "webbrowser.", "pty.", "code.")
HARMFUL += ("exec", "compile", "import", "pickle.find_class", "builtins.input", "tempfile.", "pathlib.")
SNIPPETS = [
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\nexec\n", b"cbuiltins\ngetattr\n", b"csubprocess\nPopen\n"),
    *(b"\x8c\x02os\x8c\x06system\x93", b"ios\nsystem\n", b"(ios\nsystem\n", b"\x82\x01", b"\x84\x01\x00\x00\x00"),
    *(b"R", b"b", b"o", b"\x81", b"\x92", b"Q", b"(", b"t", b"l", b"d", b"0", b"1", b"2", b"u", b"s", b"e", b"a"),
    *(b"}", b"]", b")", b"\x85", b"\x86", b"\x87", b"\x90", b"\x91", b"\x8f", b"\x94", b".", b"N", b"\x88", b"h\x01"),
    *(b"K\xff", b"J\xff\xff\xff\x7f", b"\x8a\xff" + b"\xff" * 255, b"B\xff\xff\xff\xff", b"X\xff\xff\xff\xff"),
    *(
        b"\x8e" + b"\xff" * 8,
        b"\x8d" + b"\x7f" * 8,
        b"\x96" + b"\xff" * 8,
        b"r\xff\xff\xff\xff",
        b"I1\n",
        b"V\\u0041\n",
    ),
    *(b"S'a'\n", b"F1e999\n", b"L99999999999L\n", b"G\x7f\xf8\0\0\0\0\0\0", b"\x97", b"\x98", b"Pabc\n", b"(" * 200),
    *(
        b"c__main__\nx\n",
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"\x85" * 300,
    ),
]


class Evil:
    """The pickle that everyone fears."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


class Watch:
    """Audits the process while it is armed."""

    def __init__(self) -> None:
        self.armed, self.events = False, Counter[str]()
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1].strip("rbtU")
        writes = writes or (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if writes or event.startswith(HARMFUL):
            self.events[f"{event} {str(arguments)[:60]}"] += 1


def mutate(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One to three changes: bytes, instructions, pieces of other files, lengths."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(data) + 1)
        match rng.choice([0, 1, 2, 3, 4, 4, 4, 5]):
            case 0:
                for _ in range(rng.randint(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
            case 1:
                data[at:at] = rng.choice(SNIPPETS)
            case 2:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                length = rng.randint(1, 60)
                data[at : at + rng.choice([0, length])] = other[start : start + length]
            case 3:
                del data[at : at + rng.randint(1, 20)]
            case 4:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case _:
                data = data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.3 else data + data[at : at + 40]
        data = data or bytearray(b".")
    return bytes(data)


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`; fails at once where the hook or the canary do not see what they are there for."""
    seeds = write_seeds(folder)
    canary, watch = folder / "canary", Watch()
    contents, evil = [path.read_bytes() for path in seeds], pickle.dumps(Evil(canary))
    (folder / "evil.pkl").write_bytes(evil)
    for path in [*seeds, folder / "evil.pkl"]:  # so that all that is imported on the way has been
        with contextlib.suppress(UserError):
            read_networks(path)
    "x".encode("cp437")  # zipfile takes this codec of Python's own for names that are not UTF-8, and imports it then
    assert not canary.exists()
    watch.armed = True
    pickle.loads(evil)
    watch.armed = False
    assert any("os.system" in event for event in watch.events) and canary.exists()
    canary.unlink()

    def read(path: Path, *, build: bool) -> str:
        watch.events.clear()
        watch.armed = True
        try:
            if build:
                read_networks(path)
            else:
                read_pickled(path)
            return "read"
        except UnreadableError as error:
            raise UserError(f"it {error}"[:1000]) from None
        finally:
            watch.armed = False
            if watch.events or canary.exists():
                raise AssertionError(f"something ran: {dict(watch.events)}")

    def make(rng: random.Random) -> Callable[[], str | None]:
        i = rng.randrange(len(seeds))
        path = folder / f"mutated{seeds[i].suffix}"
        path.write_bytes(mutate(contents[i], [*contents, evil], rng))
        build = rng.randrange(BUILD_EVERY) == 0
        return lambda: read(path, build=build)

    return make


def write_seeds(folder: Path) -> list[Path]:
    """Genuine files of every kind."""
    G, D = tiny_pair(resolution=(8, 8))
    for protocol in (0, 2, 4):
        content = {"G_ema": network_call(G), "augment_pipe": None, "training_set_kwargs": {"path": "x.zip"}}
        (folder / f"p{protocol}.pkl").write_bytes(dumps(content, protocol))
    (folder / "d.pkl").write_bytes(dumps({"G_ema": network_call(G), "D": network_call(D)}))
    (folder / "r.pkl").write_bytes(dumps({"G_ema": network_call(alias_free())}))
    write(folder / "r3gan.pkl", generator="r3gan_g_c5_r8", discriminator="r3gan_d_c5_r8")
    official.write(folder / "progan.pkl", generator="pg_g_c3_r8", discriminator="pg_d_c3_r8", version=2)
    official.write(folder / "stylegan.pkl", generator="sg1_g_c3_r8", discriminator="sg1_d_c3_r8", protocol=2)
    for zipped in (True, False):
        torch.save({"g_ema": G.state_dict()}, folder / f"{zipped}.pt", _use_new_zipfile_serialization=zipped)
    return sorted(folder.iterdir())


if __name__ == "__main__":
    fuzzing.judge("fuzz_pickles", prepare)
