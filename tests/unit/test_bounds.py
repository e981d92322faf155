"""What is compressed, sparse, lying, a pipe or a device is refused, or left out, for a few bytes of memory and in a moment."""

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from stylegan import run_dir as layout
from stylegan.data.archive import METADATA, ImageDataset
from stylegan.data.guarded import TAR_GROWTH, TAR_SPARE, GuardedFile, open_packed
from stylegan.data.image_files import IMAGE_BYTES
from stylegan.data.inspection import describe
from stylegan.data.parallel import Turns
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.errors import UnreadableError, UserError, refusal
from stylegan.files import read_bounded, read_file
from tests.integration.images import write_archive
from tests.unit.test_prepare_sources import png, random_images

MEMORY = 2**31
HUGE = 2**30 + 2**24  # bytes
OPTIONS = ImageOptions((8, 8), workers=1)


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    """No test may take more than 2 GiB beyond what the process has."""
    import resource

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def image(seed: int = 0) -> bytes:
    return png(random_images(seed + 1)[seed])


def prepared(source: Path, out: Path) -> tuple[int, list[str]]:
    """How many images an archive of a source holds, and why others were left out."""
    made = prepare_images(source, out, OPTIONS)
    assert len(ImageDataset(out)) == made.count
    return made.count, [reason for _, reason in made.skipped]


class Endless(io.RawIOBase):
    """Zeros, as many as are asked for at once, and no end."""

    def __init__(self) -> None:
        self.given = self.most = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "all of it is asked for"
        self.given, self.most = self.given + size, max(self.most, size)
        return bytes(size)


def test_reading_ends_at_the_bound_and_goes_there_in_small_steps() -> None:
    file = Endless()
    with pytest.raises(UnreadableError, match="more than 10 MiB, the most that is read of an image"):
        read_bounded(file, 10 * 2**20, "an image")  # pyright: ignore[reportArgumentType]
    assert file.given == 10 * 2**20 + 1 and file.most <= 2**20
    for size in (0, 1, 100, 2**20, 2**20 + 1):
        assert read_bounded(io.BytesIO(b"x" * size), size, "an image") == b"x" * size
    with pytest.raises(UnreadableError):
        read_bounded(io.BytesIO(b"xx"), 1, "an image")


def test_a_guarded_file_reads_neither_much_at_once_nor_beyond_its_end() -> None:
    content = bytes(range(100))
    file = GuardedFile(io.BytesIO(content), 60, "a TAR", end=80)
    assert file.seekable() and file.read(60) == content[:60] and file.tell() == 60
    for size in (61, 2**40):
        with pytest.raises(UnreadableError, match="at once"):
            file.read(size)
    with pytest.raises(UnreadableError, match="beyond 80 bytes"):
        file.seek(81)
    assert file.seek(20) == 20
    with pytest.raises(UnreadableError, match="more than 60 bytes"):
        file.read()
    file.seek(70)
    with pytest.raises(UnreadableError, match="beyond"):
        file.read(20)


def test_whatever_goes_wrong_in_a_reader_is_its_one_refusal() -> None:
    for error in (
        KeyError("x"),
        RecursionError(),
        ValueError("a\x1b[31m" + "b" * 5000),
        MemoryError(),
        OSError(5, "io"),
    ):
        with pytest.raises(UserError) as caught, refusal("a.x is no X", "mend it"):
            raise error
        text = str(caught.value)
        assert (
            text.startswith("a.x is no X (") and text.endswith("); mend it") and text.isprintable() and len(text) < 400
        )
    with pytest.raises(UserError, match=r"^as it was$"), refusal("a.x is no X", "mend it"):
        raise UserError("as it was")
    with pytest.raises(KeyboardInterrupt), refusal("a.x is no X", "mend it"):
        raise KeyboardInterrupt


def test_a_member_that_unpacks_to_gigabytes_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "in.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.png", image())
        with archive.open("b.png", "w", force_zip64=True) as member:
            member.write(image(1))
            for _ in range(HUGE // 2**24):
                member.write(bytes(2**24))
    assert source.stat().st_size < 2**24
    count, reasons = prepared(source, tmp_path / "out.zip")
    assert count == 1 and reasons == ["it holds more than 256 MiB, the most that is read of an image"]
    with pytest.raises(UserError, match=r"b.png.*more than 256 MiB"):
        ImageDataset(source).verify()


def one_colour(side: int) -> bytes:
    """A PNG of so many pixels in a side, RGBA; it is small."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 4 * side)) for _ in range(side)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    framed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_an_image_of_too_many_pixels_is_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "in.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a.png", image())
        archive.writestr("b.png", one_colour(8200))
    count, reasons = prepared(source, tmp_path / "out.zip")
    assert count == 1 and reasons == ["it has 8200x8200 pixels, more than 67108864 (see --max-pixels)"]
    with pytest.raises(UserError, match=r"8200x8200 pixels"):
        ImageDataset(source)
    made = prepare_images(source, tmp_path / "all.zip", ImageOptions((8, 8), workers=1, max_pixels=8200**2))
    assert made.count == 2


def test_large_images_are_converted_one_at_a_time() -> None:
    turns, begun, go = Turns(10), Event(), Event()

    def large() -> None:
        with turns.taken(99):  # more than there is: all
            begun.set()
            go.wait(30)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(large)
        assert begun.wait(30)
        second = pool.submit(lambda: turns.taken(1).__enter__())
        with pytest.raises(TimeoutError):
            second.result(0.2)
        go.set()
        first.result(30)
        second.result(30)
    with turns.taken(9):
        pass


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_can_only_unpack_whole_is_left_out(tmp_path: Path, kind: int) -> None:
    source = tmp_path / "in.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("a.png", image())
        archive.writestr("b.png", image(1) + bytes(2**20), kind)
    assert prepared(source, tmp_path / "out.zip")[1][0].startswith("it is neither stored nor deflated")


def test_a_chunk_before_the_pixels_is_bounded(tmp_path: Path) -> None:
    """Pillow reads it whole as it opens the image, of which only the size is asked for."""
    source, whole = tmp_path / "in.zip", image()
    with (
        zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.png", "w", force_zip64=True) as member,
    ):
        member.write(whole[:33] + struct.pack(">I", 2**31 - 1) + b"iCCP")
        for _ in range(HUGE // 2**24):
            member.write(bytes(2**24))
    with pytest.raises(UserError, match=r"a.png .*cannot be read: it goes beyond 268435456 bytes"):
        ImageDataset(source)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "folder"])
def test_dataset_json_is_read_as_far_as_fits_the_number_of_images(tmp_path: Path, kind: str) -> None:
    source, members = tmp_path / f"in.{kind}", {"a.png": image(), METADATA: b'{"labels": [' + b" " * 2**25}
    if kind == "folder":
        source.mkdir()
        for name, data in members.items():
            (source / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(source, "w:gz") as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    with pytest.raises(UserError, match=r"the most that is read of a dataset.json for 1 images"):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)


def sparse_tar(path: Path, size: int) -> Path:
    """A TAR in which GNU's sparse b.png claims a size, of which it holds nothing; and a.png."""
    header = bytearray(tarfile.TarInfo("b.png").tobuf(tarfile.GNU_FORMAT))
    header[156] = ord("S")
    header[483:495] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    out = io.BytesIO(bytes(header))
    out.seek(0, 2)
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("a.png")
        member.size = len(image())
        archive.addfile(member, io.BytesIO(image()))
    path.write_bytes(out.getvalue())
    return path


def test_a_sparse_member_is_left_out(tmp_path: Path) -> None:
    count, reasons = prepared(sparse_tar(tmp_path / "in.tar", 2**50), tmp_path / "out.zip")
    assert count == 1 and reasons == ["it holds more than 256 MiB, the most that is read of an image"]


def test_headers_of_a_tar_are_not_longer_than_names_are(tmp_path: Path) -> None:
    member = tarfile.TarInfo("name")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, HUGE
    source = tmp_path / "in.tar"
    source.write_bytes(member.tobuf())
    with source.open("r+b") as file:
        file.truncate(2 * HUGE)
    with pytest.raises(UserError, match=r"not a readable TAR.*asks for"):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.open), ("bz2", bz2.open), ("xz", lzma.open)])
def test_a_compressed_tar_may_not_grow_without_end(
    tmp_path: Path, suffix: str, pack: Callable[..., io.IOBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylegan.data.guarded.TAR_SPARE", 2**20)
    source = tmp_path / f"in.tar.{suffix}"
    member = tarfile.TarInfo("x.bin")
    member.size = 100 * 2**20
    with pack(source, "wb") as file:
        file.write(member.tobuf())  # pyright: ignore[reportAttributeAccessIssue]
        for _ in range(100):
            file.write(bytes(2**20))  # pyright: ignore[reportAttributeAccessIssue]
        file.write(bytes(1024))  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UserError, match=r"not a readable TAR.*beyond"):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)


def test_bounds_leave_room_for_real_ones() -> None:
    assert TAR_SPARE >= 2**30 and TAR_GROWTH >= 50 and IMAGE_BYTES >= 2**28


def test_a_tar_whose_first_name_looks_like_a_compressed_file_is_a_tar(tmp_path: Path) -> None:
    source = tmp_path / "in.tar"
    with tarfile.open(source, "w") as archive:
        for name in ("BZh9/a.png", "]"):
            member = tarfile.TarInfo(name)
            member.size = len(image())
            archive.addfile(member, io.BytesIO(image()))
    assert prepared(source, tmp_path / "out.zip")[0] == 1
    with open_packed(source) as file:
        assert file.read(4) == b"BZh9"


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ((2**32 - 1, 2**32 - 1, 2**32 - 1), 0, "claims the shape"),
        ((10**9, 0, 0), 0, "claims the shape"),
        ((2**23, 1, 1), 2**23, "claims the shape"),
        ((100, 8, 8), 6399, "not a readable IDX"),
        ((100, 8, 8), HUGE, "more than 1 GiB"),
    ],
)
def test_idx_files_that_lie(tmp_path: Path, shape: tuple[int, ...], data: int, message: str) -> None:
    source = tmp_path / "x-images-idx3-ubyte.gz"
    with gzip.open(source, "wb", compresslevel=1) as file:
        file.write(struct.pack(">HBBIII", 0, 8, 3, *shape))
        for start in range(0, data, 2**24):
            file.write(bytes(min(2**24, data - start)))
    with pytest.raises(UserError, match=message):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)


def test_idx_labels_that_are_more_than_the_images(tmp_path: Path) -> None:
    (tmp_path / "x-images-idx3-ubyte").write_bytes(struct.pack(">HBBIII", 0, 8, 3, 2, 8, 8) + bytes(128))
    with gzip.open(tmp_path / "x-labels-idx1-ubyte", "wb", compresslevel=1) as file:
        file.write(struct.pack(">HBBI", 0, 8, 1, 2**22) + bytes(2**23))
    with pytest.raises(UserError, match=r"x-labels.*more than 4 MiB"):
        prepare_images(tmp_path / "x-images-idx3-ubyte", tmp_path / "out.zip", OPTIONS)


def test_the_batches_of_cifar_are_bounded_together(tmp_path: Path) -> None:
    source = tmp_path / "cifar.tar.gz"
    with tarfile.open(source, "w:gz", compresslevel=1) as archive:
        for i in range(3):
            member = tarfile.TarInfo(f"data_batch_{i}.bin")
            member.size = 3073 * 40_000
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(UserError, match="the most that is read of CIFAR-10"):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)


def test_the_names_of_cifar_are_bounded(tmp_path: Path) -> None:
    source = tmp_path / "cifar.tar.gz"
    with tarfile.open(source, "w:gz", compresslevel=1) as archive:
        for name, size in (("data_batch_1.bin", 3073), ("batches.meta.txt", 2**20)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    with pytest.raises(UserError, match=r"more than 64 KiB, the most that is read of a batches.meta.txt"):
        prepare_images(source, tmp_path / "out.zip", OPTIONS)


@pytest.mark.parametrize("what", ["fifo", "dangling", "loop", "device", "sparse", "folder"])
def test_what_is_no_image_in_a_folder_is_left_out_by_name(tmp_path: Path, what: str) -> None:
    source, odd = tmp_path / "in", tmp_path / "in" / "b.png"
    source.mkdir()
    (source / "a.png").write_bytes(image())
    match what:
        case "fifo":
            os.mkfifo(odd)
        case "dangling":
            odd.symlink_to("nowhere.png")
        case "loop":
            odd.symlink_to("b.png")
        case "device":
            odd.symlink_to("/dev/zero")
        case "sparse":
            odd.touch()
            os.truncate(odd, 2**40)
        case _:
            odd.mkdir()
    assert prepared(source, tmp_path / "out.zip")[0] == 1
    if what != "sparse":
        assert len(ImageDataset(source)) == 1
    else:
        with pytest.raises(UserError, match=r"b.png"):
            ImageDataset(source).verify()


@pytest.mark.parametrize(
    "name", ["source", "archive", METADATA, "x-images-idx3-ubyte", "labels.csv", "labels.json", "data.mdb"]
)
def test_no_reader_waits_at_a_pipe(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(image())
    os.mkfifo(folder / name)
    calls: dict[str, Callable[[], object]] = {
        "archive": lambda: ImageDataset(folder / name),
        METADATA: lambda: describe(folder),
        "labels.csv": lambda: prepare_images(
            folder, tmp_path / "o.zip", ImageOptions((8, 8), labels_file=folder / name)
        ),
        "labels.json": lambda: prepare_images(
            folder, tmp_path / "o.zip", ImageOptions((8, 8), labels_file=folder / name)
        ),
    }
    with pytest.raises(UserError, match="pipe"):
        calls.get(name, lambda: prepare_images(folder / name, tmp_path / "o.zip", OPTIONS))()


def test_files_of_users_are_read_up_to_a_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert read_file(tmp_path / "a", 3, "file of labels") == b"abc"
    os.truncate(tmp_path / "a", 2**40)
    with pytest.raises(UserError, match=r"cannot read the file of labels .*more than 1 MiB"):
        read_file(tmp_path / "a", 2**20, "file of labels")
    with pytest.raises(UserError, match="there is no file of labels"):
        read_file(tmp_path / "b", 3, "file of labels")


@pytest.mark.parametrize("name", [layout.STATS, layout.METRICS])
def test_records_of_a_run_are_bounded_and_files(tmp_path: Path, name: str) -> None:
    read = layout.read_stats if name == layout.STATS else layout.read_metrics
    path = tmp_path / name
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(UserError, match="more than 128 MiB"):
        read(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="pipe"):
        read(tmp_path)
    with pytest.raises(UserError, match="in the way"), layout.sole_process(tmp_path):
        pass


@pytest.mark.parametrize("name", [layout.CHECKPOINTS, layout.SNAPSHOTS])
def test_a_file_where_a_run_has_a_folder_is_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f"{name} is in the way"), layout.sole_process(tmp_path):
        pass


@pytest.mark.parametrize(
    "change",
    [
        {"count": float("inf")},
        {"resolution": 8},
        {"resolution": [8, "x"]},
        {"class_names": 5},
        {"class_names": [1]},
        {"made_with": [1]},
        {"made_with": {"label_names": 5}},
        {"attributes": [5]},
        {"content_hash": ["x"]},
        {"name": {"a": 1}},
    ],
)
def test_what_an_archive_says_of_itself_has_the_types_that_it_should(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_archive(tmp_path / "in.zip", count=3, size=8)
    about = {"labels": None, "content_hash": "0" * 64, "count": 3, "resolution": [8, 8], "channels": 3, **change}
    with zipfile.ZipFile(path) as archive:
        images = {name: archive.read(name) for name in archive.namelist() if name != METADATA}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**images, METADATA: json.dumps(about).encode()}.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=f"{METADATA} in .*in.zip cannot be used"):
        describe(path)
