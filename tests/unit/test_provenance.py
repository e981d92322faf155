"""What pictures say about themselves, read back by other programs: an XML parser, Pillow and exiftool."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

import stylegan
from stylegan.figures.pixels import to_pixels
from stylegan.figures.writing import save_png
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE, xmp_packet

ABOUT = {
    "network": "Zoë & <me>.safetensors",
    "network_sha256": "ab" * 32,
    "seeds": ["0-3", 7],
    "truncation_psi": 0.7,
    "truncation_cutoff": None,
}
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
OWN = "{urn:stylegan:provenance/1.0/}"


@pytest.fixture
def picture() -> Image.Image:
    return to_pixels(torch.randint(256, (3, 5, 7), dtype=torch.uint8))


def chunks(path: Path) -> list[str]:
    """The types of a PNG file's chunks, in order: length, type, data, checksum."""
    content, names, at = path.read_bytes(), [], 8
    while at < len(content):
        names.append(content[at + 4 : at + 8].decode())
        at += 12 + int.from_bytes(content[at : at + 4])
    return names


def properties(packet: str) -> dict[str, str | None]:
    """The simple properties of an XMP packet by name."""
    found = ElementTree.fromstring(packet).findall(".//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    return {element.tag: element.text for element in found[0] if len(element) == 0}


def test_the_xmp_chunk_says_that_the_picture_is_generated_and_how(tmp_path: Path, picture: Image.Image) -> None:
    save_png(picture, tmp_path / "a.png", ABOUT)
    with Image.open(tmp_path / "a.png") as file:
        packet = file.info["XML:com.adobe.xmp"]
    assert packet.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet.endswith('<?xpacket end="r"?>')
    found = properties(packet)
    assert found[f"{IPTC}DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert DIGITAL_SOURCE_TYPE == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert found["{http://ns.adobe.com/xap/1.0/}CreatorTool"] == f"stylegan {stylegan.__version__}"
    assert found[f"{OWN}network"] == ABOUT["network"] and found[f"{OWN}network_sha256"] == ABOUT["network_sha256"]
    for name in ("seeds", "truncation_psi", "truncation_cutoff"):
        assert json.loads(found[f"{OWN}{name}"] or "") == ABOUT[name]


def test_the_text_chunks_say_the_same(tmp_path: Path, picture: Image.Image) -> None:
    save_png(picture, tmp_path / "a.png", ABOUT)
    with Image.open(tmp_path / "a.png") as file:
        assert json.loads(file.info["stylegan"]) == ABOUT
        assert file.info["Software"] == f"stylegan {stylegan.__version__}"
        assert "not a photograph" in file.info["Description"]


def test_the_same_picture_has_the_same_bytes(tmp_path: Path, picture: Image.Image) -> None:
    for name, about in (("a", ABOUT), ("b", dict(ABOUT)), ("c", {**ABOUT, "seeds": 8})):
        save_png(picture, tmp_path / name, about)
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != other


def test_plain_files_hold_nothing_but_the_picture(tmp_path: Path, picture: Image.Image) -> None:
    save_png(picture, tmp_path / "a.png")
    assert chunks(tmp_path / "a.png") == ["IHDR", "IDAT", "IEND"]


def test_characters_that_xml_does_not_allow_are_replaced() -> None:
    found = properties(xmp_packet({"network": "a\x00\x1b\ud800\ufffeb\tc"}))
    assert found[f"{OWN}network"] == "a\ufffd\ufffd\ufffd\ufffdb\tc"
    with pytest.raises(ValueError, match="cannot name a property"):
        xmp_packet({"two words": 1})


@pytest.mark.skipif(
    shutil.which("exiftool") is None, reason="exiftool is not installed (apt install libimage-exiftool-perl)"
)
def test_exiftool_finds_all_of_it_and_no_fault(tmp_path: Path, picture: Image.Image) -> None:
    save_png(picture, tmp_path / "a.png", ABOUT)
    found = exiftool(tmp_path / "a.png")
    assert found["ExifTool:Validate"] == "0 0 0", "errors, warnings, minor ones"
    assert found["XMP-iptcExt:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert found["XMP-iptcExt:AISystemVersionUsed"] == stylegan.__version__
    assert found["XMP-xmp:CreatorTool"] == found["PNG:Software"] == f"stylegan {stylegan.__version__}"
    assert found["XMP-stylegan:Network"] == ABOUT["network"]
    assert found["XMP-stylegan:Network_sha256"] == ABOUT["network_sha256"]
    assert found["XMP-stylegan:Truncation_psi"] == ABOUT["truncation_psi"]
    assert json.loads(found["XMP-stylegan:Seeds"]) == ABOUT["seeds"]
    assert json.loads(found["PNG:Stylegan"]) == ABOUT
    save_png(picture, tmp_path / "plain.png")
    assert not [name for name in exiftool(tmp_path / "plain.png") if name.startswith("XMP") or "Software" in name]


def exiftool(path: Path) -> dict[str, Any]:
    command = ["exiftool", "-json", "-G1", "-n", "-validate", "-all", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0]
