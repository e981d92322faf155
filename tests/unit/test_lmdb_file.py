"""LMDB files are read as the library reads them, and damaged ones are refused; by the library they kill the process."""

import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from stylegan.data.lmdb_file import LmdbFile
from stylegan.data.sources import open_source
from stylegan.errors import UnreadableError, UserError


def write(path: Path, count: int, *, seed: int = 0, largest: int = 9000) -> dict[bytes, bytes]:
    """Entries written, rewritten and removed in several transactions, small ones and ones of several pages."""
    random, entries = np.random.default_rng(seed), dict[bytes, bytes]()
    with lmdb.open(str(path), map_size=2**26) as database:
        for _ in range(4):
            with database.begin(write=True) as transaction:
                for number in random.integers(0, count, count).tolist():
                    key = f"{number:x}".encode() * int(random.integers(1, 12))
                    value = random.bytes(int(random.integers(0, largest) * random.random() ** 3))
                    transaction.put(key, value)
                    entries[key] = value
                for key in random.permutation(sorted(entries))[: count // 8].tolist():
                    transaction.delete(key)
                    del entries[key]
    return entries


def read(path: Path, start: int = 0) -> list[tuple[bytes, bytes]]:
    file = LmdbFile(path / "data.mdb")
    return [(file.keys[i], file.value(i)) for i in range(start, len(file.keys))]


@pytest.mark.parametrize("count", [1, 30, 300, 6000])
def test_entries_are_those_of_the_library(tmp_path: Path, count: int) -> None:
    """From no page to three levels of them."""
    entries = write(tmp_path, count, largest=9000 if count < 6000 else 300)
    with lmdb.open(str(tmp_path), readonly=True, lock=False) as database, database.begin() as transaction:
        expected = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
        assert database.stat()["depth"] == {1: 1, 30: 2, 300: 2, 6000: 3}[count]
    assert read(tmp_path) == expected == sorted(entries.items())
    assert read(tmp_path, start=len(entries) // 2) == expected[len(entries) // 2 :]


def test_an_empty_one(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path)).close()
    assert read(tmp_path) == []
    with pytest.raises(UserError, match="holds no images"):
        open_source(tmp_path)


@pytest.mark.parametrize("left", [0, 100, 4096, 8191, 8192, 12288, -4096, -1])
def test_one_that_was_cut_is_refused_before_an_image_is_read(tmp_path: Path, left: int) -> None:
    write(tmp_path, 300)
    path = tmp_path / "data.mdb"
    # The library leaves pages at the end that nothing refers to.
    used = next(n for n in range(path.stat().st_size // 4096, 0, -1) if not whole(path, n * 4096 - 4096))
    content = path.read_bytes()[: used * 4096]
    path.write_bytes(content)
    read(tmp_path)
    path.write_bytes(content[:left] if left >= 0 else content[: left % len(content)])
    with pytest.raises(UserError, match=r"not a readable LMDB \(.*\); copy it again"):
        open_source(tmp_path)


def whole(path: Path, size: int) -> bool:
    """Whether all that it holds lies in its first bytes."""
    content = path.read_bytes()
    path.write_bytes(content[:size])
    try:
        LmdbFile(path)
    except UnreadableError:
        return False
    finally:
        path.write_bytes(content)
    return True


def test_one_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    write(tmp_path, 300)
    source = open_source(tmp_path)
    readers = source.readers(range(len(source.names)))
    next(readers)()
    with (tmp_path / "data.mdb").open("r+b") as file:
        file.truncate(8192)
    with pytest.raises(UserError, match="cut short"):
        list(readers)


def test_damage_of_any_kind_is_refused_or_harmless(tmp_path: Path) -> None:
    write(tmp_path, 120, largest=6000)
    path, random = tmp_path / "data.mdb", np.random.default_rng(1)
    content, refused = path.read_bytes(), 0
    headers = [at for start in range(0, len(content), 4096) for at in range(start, start + 200)]
    for _ in range(1500):
        damaged = bytearray(content)
        for at in random.choice(headers, int(random.integers(1, 4))).tolist():
            damaged[at] = int(random.integers(0, 256))
        path.write_bytes(damaged)
        try:
            file = LmdbFile(path)
            assert sum(len(file.value(i)) for i in range(len(file.keys))) <= len(content)
        except UnreadableError:
            refused += 1
    assert 50 < refused < 1500


def put(content: bytearray, at: int, form: str, *values: int) -> None:
    struct.pack_into(form, content, at, *values)


def newest_meta(content: bytearray) -> int:
    """Where the description that holds begins."""
    return max((0, 4096), key=lambda at: struct.unpack_from("<Q", content, at + 144)[0])


def root_page(content: bytearray) -> int:
    return struct.unpack_from("<Q", content, newest_meta(content) + 128)[0] * 4096


def circle(content: bytearray) -> None:
    root = root_page(content)
    (node,) = struct.unpack_from("<H", content, root + 16)
    put(content, root + node, "<HHH", root // 4096, 0, 0)


def endless_depth(content: bytearray) -> None:
    put(content, newest_meta(content) + 94, "<H", 60000)


def one_node_many_times(content: bytearray) -> None:
    root = root_page(content)
    put(content, root + 12, "<H", 16 + 2 * 500)
    (node,) = struct.unpack_from("<H", content, root + 16)
    put(content, root + 16, "<500H", *[node] * 500)


@pytest.mark.parametrize(
    ("change", "says"),
    [(circle, "circle|belongs"), (endless_depth, "60000 levels"), (one_node_many_times, "damaged")],
)
def test_what_would_never_end(tmp_path: Path, change: Callable[[bytearray], None], says: str) -> None:
    write(tmp_path, 300)
    content = bytearray((tmp_path / "data.mdb").read_bytes())
    change(content)
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(UnreadableError, match=says):
        LmdbFile(tmp_path / "data.mdb")


def test_several_databases_are_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=2) as database:
        database.open_db(b"one")
    with pytest.raises(UserError, match="several databases"):
        open_source(tmp_path)


def test_a_value_larger_than_an_image_is_left_out_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lmdb.open(str(tmp_path), map_size=2**24) as database, database.begin(write=True) as transaction:
        transaction.put(b"a", b"x" * 50_000)
        transaction.put(b"b", b"y" * 20)
    monkeypatch.setattr("stylegan.data.sources.IMAGE_BYTES", 1000)
    large, small = open_source(tmp_path).readers([0, 1])
    assert small() == b"y" * 20
    with pytest.raises(UnreadableError, match="it holds 50000 bytes, and 1000 are the most"):
        large()
