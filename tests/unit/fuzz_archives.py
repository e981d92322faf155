"""Reads thousands of odd sources of images and what belongs to them: ZIP, TAR, LMDB, IDX, CIFAR-10, folders, dataset.json, and
files of labels and of landmarks. Each is made into an archive, and read as one where it could be trained on. See `fuzzing`.
"""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import random
import shutil
import struct
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from PIL import Image

from stylegan.data.archive import METADATA, ImageDataset
from stylegan.data.convert import Fit
from stylegan.data.inspection import describe
from stylegan.data.prepare import ImageOptions, prepare_images
from stylegan.errors import UserError, shown
from tests.unit import fuzzing

Case = tuple[Path, ImageOptions]
FORMATS = ("png", "jpeg", "webp", "bmp", "tiff", "ppm", "gif", "jpeg2000")
# fmt: off
NAMES = (
    "../x.png", "/x.png", "./a/0.png", "a//0.png", "a/0.png", "a\\0.png", "\x1b[31m.png", "\udcff.png", "a\n.png",
    "ü.png", "", ".png", "a/", "a" + "/b" * 300 + ".png", "x" * 5000 + ".png", METADATA, "data_batch_1.bin", "x.tar",
    "a/.png/0.png",
)
TEXTS = (
    "", " ", "nan", "-inf", "1e400", "9" * 5000, "-1", "2147483648", "é", '"', '"\n"', "a\0b", "x" * 200_000, "\ufeff",
    ";", "\t",
)
SIZES = (
    b"77777777777\0", b"00000000000\0", b"00000001000\0", b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000001\0",
    b"x" * 12,
)
# fmt: on


def picture(rng: random.Random, kind: str = "png") -> bytes:
    """A small image in some format."""
    pixels = np.frombuffer(rng.randbytes(192), np.uint8).reshape(8, 8, 3)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


def genuine(rng: random.Random) -> dict[str, bytes]:
    """Members of an archive of six images, labelled, as a tool of ours or of others writes it."""
    files = {f"{'ab'[i // 3]}/{i}.png": picture(rng) for i in range(6)}
    about: dict[str, Any] = {"labels": [[name, i % 3] for i, name in enumerate(files)]}
    if rng.random() < 0.3:
        about["labels"] = [[name, [0.5, float(i)]] for i, name in enumerate(files)]
    if rng.random() < 0.5:
        about |= {
            "content_hash": "0" * 64,
            "count": 6,
            "resolution": [8, 8],
            "channels": 3,
            "name": "x",
            "crop": "cover",
        }
        about |= {
            "class_names": ["u", "v", "w"],
            "made_with": {"label_names": ["p", "q"]},
            "attributes": [{"age": 1}] * 6,
        }
    return {**files, METADATA: json.dumps(about).encode()}


def odd_json(content: bytes, rng: random.Random) -> bytes:
    """The same with other values, other bytes, or as something that has no end."""
    match rng.randrange(8):
        case 0:
            return fuzzing.flip(content, rng)
        case 1:
            return rng.choice(
                [b"[" * 100_000, b'{"a":' * 100_000, b'{"labels": [' + b"[]," * 10**6, b"9" * 10_000, b"null"]
            )
        case _:
            value = json.loads(content)
            for _ in range(rng.choice([1, 1, 2, 3])):
                with contextlib.suppress(IndexError, KeyError, TypeError, OverflowError):  # nothing is left to change
                    fuzzing.change(value, rng)
            return json.dumps(value).encode()


def odd_members(files: dict[str, bytes], rng: random.Random) -> list[tuple[str, bytes]]:
    """Members with one thing that is not as it should be."""
    name = rng.choice([name for name in files if name != METADATA])
    match rng.randrange(9):
        case 0:
            files[name] = fuzzing.flip(picture(rng, rng.choice(FORMATS)), rng)
        case 1:
            files[name] = rng.choice(
                [b"", bytes(100), files[name][:20], files[name] + bytes(10**6), b"II*\0" + b"\xff" * 99]
            )
        case 2:
            files[rng.choice(NAMES)] = files[name]
        case 3 if rng.random() < 0.1:
            files[name] += bytes(300 * 2**20)
        case 4:
            return [*files.items(), (name, files[rng.choice(list(files))])]
        case 5:
            files = dict(list(files.items())[: rng.randrange(3)])
        case 6:
            header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(
                ">II", *rng.choices([0, 1, 2**16, 2**31 - 1, 12_000], k=2)
            )
            files[name] = header + files[name][24:]
        case _:
            files[METADATA] = odd_json(files[METADATA], rng)
    return list(files.items())


def odd_zip(path: Path, rng: random.Random) -> Case:
    """A ZIP."""
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in odd_members(genuine(rng), rng):
            member = zipfile.ZipInfo(name.encode(errors="ignore").decode() or "a")
            member.external_attr = rng.choice([0o100644, 0o100644, 0o100644, 0o120777, 0o010644, 0o020644]) << 16
            archive.writestr(member, content, kinds[rng.choice([0, 0, 1, 1, 2, 3])])
    content = out.getvalue()
    directory = max(content.rindex(b"PK\x05\x06") if rng.random() < 0.3 else content.find(b"PK\x01\x02"), 0)
    match rng.randrange(4):
        case 0:
            content = fuzzing.flip(content, rng)
        case 1:
            content = fuzzing.flip(content, rng, range(directory, len(content)))
        case 2:
            content = put_number(content, rng, rng.randrange(directory, len(content)))
    return written(path / "in.zip", content), options(rng)


def put_number(content: bytes, rng: random.Random, at: int) -> bytes:
    """A number of 16, 32 or 64 bits written over what stands at a place, such as a length."""
    kind = rng.choice(["<H", "<I", "<Q", ">I"])
    most = 2 ** (8 * struct.calcsize(kind)) - 1
    value = struct.pack(kind, rng.choice([0, 1, 4096, 2**14, most, most // 2, rng.randrange(most)]))
    return content[:at] + value + content[at + len(value) :]


def odd_tar(path: Path, rng: random.Random) -> Case:
    """A TAR, compressed or not."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])) as archive:
        for name, content in odd_members(genuine(rng), rng):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if rng.random() < 0.1:
                member.type, member.linkname = (
                    rng.choice(b"12346").to_bytes(),
                    rng.choice(["a/0.png", "a/1.png", "/dev/zero", "x"]),
                )
                member.size = rng.choice([0, len(content)])
            if rng.random() < 0.1:
                number = rng.choice(["0", "1", "-1", "1000000000000", "x", "9" * 5000, ""])
                keys = [
                    "size",
                    "path",
                    "linkpath",
                    "GNU.sparse.size",
                    "GNU.sparse.map",
                    "GNU.sparse.numblocks",
                    "hdrcharset",
                ]
                keys += ["GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.realsize", "GNU.sparse.name", "mtime"]
                member.pax_headers = dict.fromkeys(rng.sample(keys, 3), number)
            archive.addfile(member, io.BytesIO(content))
    content = out.getvalue()
    if rng.random() < 0.6:
        content = odd_header(content, rng)
    if rng.random() < 0.2:
        content = fuzzing.flip(content, rng)
    suffix, pack = rng.choice([("", bytes), ("", bytes), ("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)])
    suffix, pack = rng.choice([(suffix, pack)] * 4 + [(".xz", lzma.compress)])
    content = pack(content)
    if suffix and rng.random() < 0.5:
        content = fuzzing.flip(content, rng)
    return written(path / f"in.tar{suffix}", content), options(rng)


def odd_header(content: bytes, rng: random.Random) -> bytes:
    """One header of a TAR with another field, and the checksum that belongs to it."""
    starts = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    if not starts:
        return content
    at = rng.choice(starts)
    header = bytearray(content[at : at + 512])
    match rng.randrange(5):
        case 0 | 1:
            header[124:136] = rng.choice([*SIZES, b"\x80" + rng.randbytes(11), b"\x80" + bytes(6) + rng.randbytes(5)])
        case 2:
            header[156] = rng.choice(b"\x00012345677LKxgXSDVMN")
        case 3:  # GNU's sparse files: four pairs of offset and length, whether more follow, and the whole length
            header[156] = ord("S")
            header[386:482] = b"".join(rng.choice(SIZES[:4]) for _ in range(8))
            header[482:495] = bytes([rng.choice([0, 1])]) + rng.choice(SIZES)
        case _:
            field = rng.randrange(512)
            header[field : field + 8] = rng.randbytes(8)
    header = header[:512]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return content[:at] + bytes(header) + content[at + 512 :]


def odd_lmdb(path: Path, rng: random.Random) -> Case:
    """An LMDB."""
    with lmdb.open(str(path), map_size=2**20) as database, database.begin(write=True) as transaction:
        for i in range(rng.choice([3, 100])):
            transaction.put(b"%d" % i, picture(rng, rng.choice(["png", "bmp"])) + bytes(rng.choice([0, 5000])))
    file = path / "data.mdb"
    content = fuzzing.flip(file.read_bytes(), rng)
    if rng.random() < 0.5:
        content = put_number(
            content, rng, rng.choice([rng.randrange(200), 4096 + rng.randrange(200), rng.randrange(len(content))])
        )
    return written(file, content).parent, options(rng)


def odd_idx(path: Path, rng: random.Random) -> Case:
    """MNIST's format, with labels."""
    images = struct.pack(">HBBIII", 0, 8, 3, 5, 8, 8) + rng.randbytes(320)
    labels = struct.pack(">HBBI", 0, 8, 1, 5) + rng.randbytes(5)
    which = rng.random() < 0.7
    changed = [images, labels][which]
    at = rng.choice([0, 4, 4, 8, 12])
    changed = put_number(changed, rng, at) if rng.random() < 0.7 else fuzzing.flip(changed, rng)
    images, labels = (images, changed) if which else (changed, labels)
    pack, suffix = rng.choice([(gzip.compress, ".gz"), (bytes, "")])
    if rng.random() < 0.01:
        images += bytes(2**30 + 2**20)
    written(path / f"a-labels-idx1-ubyte{suffix}", pack(labels))
    packed = pack(images)
    packed = fuzzing.flip(packed, rng) if suffix and rng.random() < 0.3 else packed
    return written(path / f"a-images-idx3-ubyte{suffix}", packed), options(rng)


def odd_cifar(path: Path, rng: random.Random) -> Case:
    """CIFAR-10's batches."""
    files = {f"c/data_batch_{i}.bin": rng.randbytes(3073 * 2) for i in range(2)} | {"c/batches.meta.txt": b"a\nb\n"}
    name = rng.choice(list(files))
    files[name] = rng.choice(
        [b"", files[name][:-1], fuzzing.flip(files[name], rng), bytes(rng.choice([10, 2**28, 3073])), b"\xff"]
    )
    with tarfile.open(path / "in.tar.gz", "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name + rng.choice(["", "", "", ".x"]))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path / "in.tar.gz", options(rng)


def odd_folder(path: Path, rng: random.Random) -> Case:
    """A folder in which not everything is a file."""
    for name, content in genuine(rng).items():
        written(path / name, content)
    for name in rng.sample(["c.png", "a/c.png", "a/0.png", "d", METADATA], rng.choice([1, 1, 2])):
        place = path / name
        place.unlink(missing_ok=True)
        match rng.randrange(8):
            case 0:
                os.mkfifo(place)
            case 1:
                place.symlink_to("nowhere.png")
            case 2:
                place.symlink_to(place.name)
            case 3:
                place.symlink_to(rng.choice(["/dev/zero", "/dev/null", "/dev/tty"]))
            case 4:
                place.mkdir()
            case 5:
                place.symlink_to(rng.choice(["..", ".", "a", "0.png"]))
            case 6:
                with place.open("wb") as file:
                    file.truncate(2**40)
            case _:
                written(place, fuzzing.flip(picture(rng, rng.choice(FORMATS)), rng))
    return path, options(rng)


def odd_table(rng: random.Random, values: Callable[[], Any]) -> tuple[str, bytes]:
    """A file of labels or landmarks, and the end of its name."""
    names = [f"{'ab'[i // 3]}/{i}.png" for i in range(6)]
    table = {name: values() for name in names}
    if rng.random() < 0.5:
        forms: list[Any] = [
            table,
            {"labels": [list(pair) for pair in table.items()]},
            [list(pair) for pair in table.items()],
        ]
        return ".json", odd_json(json.dumps(rng.choice(forms)).encode(), rng)
    flat = {name: np.ravel(value).tolist() if isinstance(value, list) else [value] for name, value in table.items()}
    rows = [[name, *map(str, cells)] for name, cells in flat.items()]
    rows = [["name", *(f"c{i}" for i in range(len(rows[0]) - 1))], *rows] if rng.random() < 0.5 else rows
    for _ in range(rng.choice([1, 1, 2])):
        row = rng.choice(rows)
        match rng.randrange(5):
            case 0:
                rows.append(list(row))
            case 1:
                del row[rng.randrange(len(row)) :]
            case 2:
                row.append(rng.choice(TEXTS))
            case _ if row:
                row[rng.randrange(len(row))] = rng.choice(TEXTS)
    rows = [row for row in rows if row] or [["a"]]
    text = rng.choice(["\n", "\r\n", "\r"]).join(rng.choice([",", ",", ";", "\t"]).join(row) for row in rows)
    content = text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]), "replace")
    return rng.choice([".csv", ".tsv", ".txt"]), fuzzing.flip(content, rng) if rng.random() < 0.3 else content


def odd_labels(path: Path, rng: random.Random) -> Case:
    """A file of labels."""
    kinds = [lambda: rng.randrange(3), lambda: rng.choice("xyz"), lambda: [rng.random(), 1.5], rng.random]
    suffix, content = odd_table(rng, rng.choice(kinds))
    return beside(path, rng, f"labels{suffix}", content, lambda file: options(rng, labels_file=file))


def odd_landmarks(path: Path, rng: random.Random) -> Case:
    """A file of landmarks."""
    suffix, content = odd_table(rng, lambda: [[rng.uniform(0, 8), rng.uniform(0, 8)] for _ in range(5)])
    return beside(path, rng, f"landmarks{suffix}", content, lambda file: options(rng, align=str(file)))


def beside(path: Path, rng: random.Random, name: str, content: bytes, made: Callable[[Path], ImageOptions]) -> Case:
    """A genuine folder of images with an odd file beside it."""
    for image, data in genuine(rng).items():
        written(path / "images" / image, data)
    if rng.random() < 0.05:
        (path / name).symlink_to(rng.choice(["nowhere", name, "/dev/zero", "images"]))
    elif rng.random() < 0.05:
        os.mkfifo(path / name)
    else:
        written(path / name, content)
    return path / "images", made(path / name)


def written(path: Path, content: bytes) -> Path:
    """Write a file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def options(rng: random.Random, **more: Any) -> ImageOptions:
    """Ways to make an archive."""
    fit, labels = (Fit.COVER, False) if more else (rng.choice([Fit.COVER, Fit.NONE]), rng.random() < 0.2)
    return ImageOptions((8, 8) if fit is Fit.COVER else None, fit=fit, labels=labels, workers=1, **more)


KINDS = (odd_zip, odd_zip, odd_tar, odd_tar, odd_lmdb, odd_idx, odd_cifar, odd_folder, odd_labels, odd_landmarks)


def read(source: Path, chosen: ImageOptions, out: Path) -> str:
    """Make an archive of a source, and read the source as one. Returns what came of it."""
    refused = []
    attempts = (
        lambda: prepare_images(source, out / "out.zip", chosen),
        lambda: as_archive(source),
        lambda: describe(source),
    )
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings(action="ignore"):
        for attempt in attempts:
            try:
                attempt()
            except UserError as error:
                refused.append(shown(error, 1900))
    if len(refused) == len(attempts):
        raise UserError(refused[0])
    return "read" if not refused else "partly read"


def as_archive(source: Path) -> None:
    """Read every image and label."""
    dataset = ImageDataset(source)
    if dataset.has_labels:
        dataset = ImageDataset(source, use_labels=True)
    for i in range(min(len(dataset), 20)):
        dataset[i]


def prepare(folder: Path) -> Callable[[random.Random], Callable[[], str | None]]:
    """See `fuzzing.judge`."""

    def make(rng: random.Random) -> Callable[[], str | None]:
        place = Path(tempfile.mkdtemp(dir=folder))
        with warnings.catch_warnings(action="ignore"):  # of zipfile, about names that it writes twice
            source, chosen = rng.choice(KINDS)(place, rng)
        out = Path(tempfile.mkdtemp(dir=folder))

        def call() -> str | None:
            try:
                return read(source, chosen, out)
            finally:
                shutil.rmtree(place)
                shutil.rmtree(out)

        return call

    return make


if __name__ == "__main__":
    fuzzing.judge("fuzz_archives", prepare)
