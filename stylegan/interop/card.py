"""The model card of a network (Mitchell et al. 2019): what it is, where it comes from, what it is for and what it cannot do.

Everything in it comes from the snapshot's metadata; what those do not hold is called "not recorded" and never guessed. The
head of the file is what the Hugging Face hub reads.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stylegan import run_dir as layout
from stylegan.errors import UserError, shown
from stylegan.interop.difference import network_name, network_sha256
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE
from stylegan.interop.snapshot import Snapshot
from stylegan.models.generator import StyleBased
from stylegan.opening import require_regular_file

UNKNOWN = "not recorded"
FEW_IMAGES = 10_000  # where discriminators overfit (StyleGAN2-ADA, figure 1)
# Those of the hub's identifiers that networks and pictures are mostly given away under; others are called `other` there.
HUB_LICENCES = (
    *("apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "openrail", "creativeml-openrail-m", "cc0-1.0", "cc-by-4.0"),
    *("cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
)
_CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}


def model_card(
    path: Path, snapshot: Snapshot, *, licence: str | None = None, evaluations: Sequence[Mapping[str, Any]] = ()
) -> str:
    """The card in Markdown.

    Args:
        path: The file that the network comes from. In a run's folder, metrics.jsonl is read where the file holds none.
        snapshot: The network.
        licence: Under which it is given away; None: not stated.
        evaluations: Records of `stylegan evaluate` on this file.
    """
    provenance = snapshot.provenance
    sections = (
        _front_matter(snapshot, licence),
        _summary(path, snapshot),
        _table("The network", _network_rows(path, snapshot, licence)),
        _table("Training data", _data_rows(provenance)),
        _table("Training", _training_rows(provenance)),
        _measured(path, provenance, evaluations),
        _intended_use(provenance),
        _limits(provenance, truncation=isinstance(snapshot.G, StyleBased)),
        _recognition(path),
        _use(path, snapshot),
    )
    return "\n\n".join(sections) + "\n"


def read_evaluations(file: Path, network: Path) -> list[dict[str, Any]]:
    """The records in a file of `stylegan evaluate --out` that belong to a network's file.

    Raises:
        UserError: It cannot be read, is no such file, or holds none of this network.
    """
    require_regular_file(file, "file of --metrics")
    try:
        records = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
        digest = network_sha256(network)
        found = [record for record in records if record["network"]["sha256"] == digest]
        if not all(map(_is_evaluation, found)):
            raise ValueError
    except OSError as error:
        raise UserError(f"--metrics {file}: {error.strerror}; stylegan evaluate --out FILE writes one") from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise UserError(f"--metrics {file} was not written by stylegan evaluate --out") from None
    if not found:
        raise UserError(f"--metrics {file}: none of its {len(records)} records is of {network}; measure this file")
    return found


def _is_evaluation(record: Any) -> bool:
    """Whether it has the parts that the card shows."""
    data, results = record["data"], record["results"]
    numbers = isinstance(results, dict) and all(v is None or type(v) in (int, float) for v in results.values())
    return numbers and isinstance(data["name"], str) and all(type(record[name]) is int for name in ("fakes", "reals"))


def _front_matter(snapshot: Snapshot, licence: str | None) -> str:
    model = snapshot.metadata["model"]
    lines = ["library_name: stylegan", "pipeline_tag: unconditional-image-generation"]
    lines.append(f"tags: {json.dumps(['gan', model['kind'], 'image-generation'])}")
    if licence is not None and licence.lower() in HUB_LICENCES:
        lines.append(f"license: {licence.lower()}")
    elif licence is not None:
        lines += ["license: other", f"license_name: {json.dumps(licence)}"]
    return "\n".join(["---", *lines, "---"])


def _summary(path: Path, snapshot: Snapshot) -> str:
    model, data = snapshot.metadata["model"], snapshot.provenance.get("data", {})
    height, width = model["resolution"]
    title = _text(network_name(path).removesuffix(path.suffix))
    return (
        f"# {title}\n\nA generator of kind {model['kind']} that makes {_CHANNELS[model['channels']]} pictures of "
        f"{width}x{height} pixels; training data: {_text(data.get('name'))}. This card was written by `stylegan card` from "
        "what the file says about itself; add what only you know."
    )


def _network_rows(path: Path, snapshot: Snapshot, licence: str | None) -> Iterator[tuple[str, Any]]:
    metadata, G = snapshot.metadata, snapshot.G
    yield "licence", licence or "not stated"
    yield "file", f"`{network_name(path)}`, SHA-256 `{network_sha256(path)}`"
    yield "weights", f"SHA-256 `{metadata.get('weights_sha256', UNKNOWN)}`"
    yield "size", f"{sum(p.numel() for p in G.parameters()) / 1e6:.2f} million parameters"
    yield "latents", f"z of {G.z_dim}" + (f", {G.num_ws} times w of {G.w_dim}" if isinstance(G, StyleBased) else "")
    yield "classes", G.c_dim or "none"
    yield "precision", G.precision.value
    yield "written by", metadata.get("software")


def _data_rows(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    data = provenance.get("data", {})
    yield "name", data.get("name")
    yield "licence", data.get("licence")
    yield "source", data.get("source")
    yield "images", _with_mirrored(data)
    yield "crop", data.get("crop")
    yield "resize filter", data.get("resize_filter")
    yield "content hash", f"`{data['content_hash']}`" if data.get("content_hash") else None


def _with_mirrored(data: Mapping[str, Any]) -> str | None:
    if data.get("images") is None:
        return None
    return f"{data['images']}{', half of them mirror images' if data.get('mirrored') else ''}"


def _training_rows(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    nimg, seconds = provenance.get("nimg"), provenance.get("seconds")
    loss, optim, augment = (provenance.get(name, {}) for name in ("loss", "optim", "augment"))
    yield "length", None if nimg is None else f"{nimg / 1000:g} kimg (thousands of images shown to the discriminator)"
    yield "time", None if seconds is None else f"{seconds / 3600:.2f} hours"
    yield "started from", provenance.get("init_from") or ("random weights" if "init_from" in provenance else None)
    yield "batch", provenance.get("batch_size")
    yield "loss", ", ".join(f"{name} {_text(value)}" for name, value in loss.items() if value is not None) or None
    rates = [optim.get("G_lr"), optim.get("D_lr")]
    yield "learning rates G, D", "default" if optim and rates == [None, None] else ", ".join(map(_text, rates))
    p = provenance.get("augment_p")
    yield "augmentation", augment.get("kind") if p is None else f"{augment.get('kind')}, p {p:.3g} at the end"
    yield "seed", provenance.get("seed")
    yield "PyTorch", provenance.get("torch")


def _measured(path: Path, provenance: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (name, value, record["data"]["name"], record["fakes"], record["reals"])
        for record in evaluations
        for name, value in record["results"].items()
    ]
    own = provenance.get("metrics") or _from_run(path, provenance.get("nimg"))
    if own is not None and isinstance(own.get("results"), dict):
        counts = (own.get("fakes"), own.get("reals"))
        rows += [(name, value, "its training data", *counts) for name, value in own["results"].items()]
    if not rows:
        return f"## Measured\n\nMetrics: {UNKNOWN}. `stylegan evaluate` measures; `stylegan card --metrics` takes that over."
    table = _rows(("metric", "value", "against", "generated", "real"), rows)
    return f"## Measured\n\n{table}\n\nNumbers compare only with numbers of the same metric, data and counts."


def _from_run(path: Path, nimg: int | None) -> dict[str, Any] | None:
    """What the run in whose folder a snapshot lies measured it at."""
    run = path.resolve().parent.parent
    if nimg is None or not layout.is_run_dir(run):
        return None
    return next((record for record in reversed(layout.read_metrics(run)) if record["nimg"] == nimg), None)


def _intended_use(provenance: Mapping[str, Any]) -> str:
    licence = provenance.get("data", {}).get("licence")
    may = (
        f"The training data are under {_text(licence)}; check that your use of the pictures agrees with it."
        if licence
        else "The licence of the training data was not recorded: ask whoever trained the network before you use its pictures."
    )
    return (
        "## Intended use\n\nResearch on generative networks, teaching, and pictures wherever they are labelled as generated. "
        f"{may}\n\nNot meant for: passing pictures off as photographs, profiles of people who do not exist, statements about "
        "real people or groups, or as training or test data where real variety matters."
    )


def _limits(provenance: Mapping[str, Any], *, truncation: bool) -> str:
    data = provenance.get("data", {})
    points = [
        f"It makes what its training data show ({_text(data.get('name'))}), in the proportions found there or more one-sided "
        "ones: what is rare in the data is rarer in the pictures."
        + (" Truncation (psi below 1) makes them better and more alike." if truncation else ""),
        "Some pictures fail: look at them before you use them.",
        "A picture can resemble a training image; nothing in the file rules that out.",
    ]
    images = data.get("images")
    if isinstance(images, int) and images < FEW_IMAGES:
        points.append(f"{images} training images are few: compare pictures with the ones most like them among these.")
    if provenance.get("augment", {}).get("kind") in ("ada", "fixed"):
        points.append(
            "It was trained with augmentation, which can leak into pictures (rotated, recoloured or noisy ones)."
        )
    if provenance.get("init_from"):
        origin = _text(provenance["init_from"])
        points.append(
            f"It started from another network ({origin}): licence and limits of that one's data count as well."
        )
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points)


def _recognition(path: Path) -> str:
    return f"""## How to recognise its pictures

Pictures made by `generate.py` say so, unless `provenance=false` was given: their XMP packet holds the IPTC digital source type
`{DIGITAL_SOURCE_TYPE}`, and XMP and PNG text name software, network, the SHA-256 of its file, seeds and settings.

```sh
exiftool -XMP:all -PNG:all picture.png
```

`network_sha256` there equals the SHA-256 of `{network_name(path)}` above, and
`generate.py` with the seeds and settings named makes the picture again (to a grey level, on another machine), which proves
where it is from. Metadata are lost where a picture is converted or uploaded: one without them may be generated all the same."""


def _use(path: Path, snapshot: Snapshot) -> str:
    G = snapshot.G
    label = f"torch.eye({G.c_dim})[[0] * 4]" if G.c_dim else "None"
    truncation = ", truncation_psi=0.7" if isinstance(G, StyleBased) else ""
    return f"""## Use

```python
import torch
import stylegan

G = stylegan.load_generator("{network_name(path)}")  # runs no code from the file
z = torch.randn(4, G.z_dim)
images = G(z, {label}{truncation})  # float32 [4, {G.channels}, {G.resolution[0]}, {G.resolution[1]}] in about [-1, 1]
```"""


def _table(title: str, rows: Iterator[tuple[str, Any]]) -> str:
    return f"## {title}\n\n{_rows(('', ''), rows)}"


def _rows(head: Sequence[str], rows: Any) -> str:
    cells = [[_text(value) for value in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), ["---"] * len(head), *cells])


def _text(value: Any) -> str:
    """A value in one line of Markdown that cannot become markup: names come from whoever made a data set."""
    if value is None or value == "":
        return UNKNOWN
    text = f"{value:.5g}" if isinstance(value, float) else shown(" ".join(str(value).split()))
    return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")
