"""What a generated picture says about itself: that no camera took it, which network made it, and from which numbers.

It is said twice, for people and programs that know the one or the other: in an XMP packet (ISO 16684-1) with the properties
of the IPTC Photo Metadata Standard 2025.1 for pictures by generative networks, where image banks, search engines and exiftool
look; and in PNG's own text chunks. There is no date in it: the same command gives the same bytes.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from PIL.PngImagePlugin import PngInfo

import stylegan

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
DESCRIPTION = "Made by a generative neural network; not a photograph."
XMP_CHUNK = "XML:com.adobe.xmp"  # PNG third edition, section 11.3.3.5
TEXT_CHUNK = "stylegan"

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_DC = "http://purl.org/dc/elements/1.1/"
_OWN = "urn:stylegan:provenance/1.0/"
_PREFIXES = {"x": "adobe:ns:meta/", "rdf": _RDF, "Iptc4xmpExt": _IPTC, "xmp": _XMP, "dc": _DC, "stylegan": _OWN}
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# XML 1.0 allows no other characters, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The byte order mark and this id are the standard's, the same in every packet.
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_END = '\n<?xpacket end="r"?>'

for _prefix, _uri in _PREFIXES.items():
    ElementTree.register_namespace(_prefix, _uri)


def png_text(about: Mapping[str, Any]) -> PngInfo:
    """The text chunks of a generated picture.

    Args:
        about: How it was made, as JSON types: `network`, `network_sha256`, `seeds` and whatever else belongs to it.

    Returns:
        What PIL's `save(..., pnginfo=...)` takes.
    """
    info = PngInfo()
    info.add_text("Software", _software())
    info.add_text("Description", DESCRIPTION)
    info.add_text(TEXT_CHUNK, _json(about))
    info.add_itxt(XMP_CHUNK, xmp_packet(about))
    return info


def xmp_packet(about: Mapping[str, Any]) -> str:
    """An XMP packet for a generated picture; `about` as for `png_text`.

    Each key of `about` is a property `stylegan:KEY` of its own; a value that is no text stands there as JSON.

    Raises:
        ValueError: A key is no XML name.
    """
    root = ElementTree.Element("{adobe:ns:meta/}xmpmeta")
    description = ElementTree.SubElement(ElementTree.SubElement(root, f"{{{_RDF}}}RDF"), f"{{{_RDF}}}Description")
    description.set(f"{{{_RDF}}}about", "")
    properties = {
        f"{{{_IPTC}}}DigitalSourceType": DIGITAL_SOURCE_TYPE,
        f"{{{_IPTC}}}AISystemUsed": f"{stylegan.__name__}, network {about.get('network', 'unknown')}",
        f"{{{_IPTC}}}AISystemVersionUsed": stylegan.__version__,
        f"{{{_XMP}}}CreatorTool": _software(),
        **{_own_name(key): value if isinstance(value, str) else _json(value) for key, value in about.items()},
    }
    for name, value in properties.items():
        ElementTree.SubElement(description, name).text = _NOT_XML.sub("\ufffd", value)
    languages = ElementTree.SubElement(ElementTree.SubElement(description, f"{{{_DC}}}description"), f"{{{_RDF}}}Alt")
    sentence = ElementTree.SubElement(languages, f"{{{_RDF}}}li", {_XML_LANG: "x-default"})
    sentence.text = DESCRIPTION
    ElementTree.indent(root)
    return _BEGIN + ElementTree.tostring(root, encoding="unicode") + _END


def _own_name(key: str) -> str:
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key):
        raise ValueError(f"{key!r} cannot name a property of a picture; use letters, digits and _")
    return f"{{{_OWN}}}{key}"


def _software() -> str:
    return f"stylegan {stylegan.__version__}"


def _json(value: Any) -> str:
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, sort_keys=True)
