"""What metrics are called: METRIC COUNT [_FEATURES], such as `fid50k` or `kid5k_mobilenet_v2`.

A name without features stands for the networks of the papers: Inception-v3 for fid, kid and is; VGG16 for pr and dc. Another
network is part of the name, since its numbers are other ones.
"""

import re
from dataclasses import dataclass

from stylegan.errors import UserError, nearest
from stylegan.metrics.features import INCEPTION, VGG16, check_feature_name


@dataclass(frozen=True)
class Kind:
    """A metric.

    Attributes:
        name: METRIC of the grammar.
        help: What it tells, in a few words.
        outputs: Its results; the value says whether more is better.
        features: The network of the papers; empty where no network is chosen.
        least: Images of each side that it needs at least.
        count: How many fakes where the name does not say; 0: it must say.
        of_network: It moves the network's inputs, instead of comparing two sets of images.
    """

    name: str
    help: str
    outputs: dict[str, bool]
    features: str = ""
    least: int = 2
    count: int = 0
    of_network: bool = False


def _path_kinds() -> list[Kind]:
    kinds = []
    for space in "zw":
        for sampling in ("full", "end"):
            for crop in ("", "_crop"):
                name = f"ppl_{space}{sampling}{crop}"
                where = "anywhere on" if sampling == "full" else "at the start of"
                what = f"path length in {space.upper()}, {where} the path{', of the face only' * bool(crop)}"
                kinds.append(Kind(name, what, {name: False}, of_network=True))
    return kinds


KINDS = {
    kind.name: kind
    for kind in [
        Kind("fid", "Fréchet distance of features", {"fid": False}, INCEPTION),
        Kind("kid", "kernel distance of features", {"kid": False}, INCEPTION),
        Kind("pr", "precision and recall", {"precision": True, "recall": True}, VGG16, least=5),
        Kind("dc", "density and coverage", {"density": True, "coverage": True}, VGG16, least=7),
        Kind("is", "inception score", {"is": True, "is_std": False}, INCEPTION, least=10),
        *_path_kinds(),
        Kind("eqt", "equivariance to translation by whole pixels, dB", {"eqt": True}, of_network=True),
        Kind("eqt_frac", "equivariance to any translation, dB", {"eqt_frac": True}, of_network=True),
        Kind("eqr", "equivariance to rotation, dB", {"eqr": True}, of_network=True),
        Kind(
            "attributes",
            "sex, age, ancestry ... of faces: distances, and which people are missing",
            {"attributes": False, "attributes_coverage": True},
            least=20,
            count=5000,
        ),
        Kind("leaks", "what augmentation leaked into the images", {"leaks": False}, count=5000),
    ]
}


@dataclass(frozen=True)
class Request:
    """One metric as asked for.

    Attributes:
        name: As written.
        kind: The metric.
        count: How many fakes.
        count_text: As written: `50k`; empty where the name does not say.
        features: The feature network; empty where the metric takes none.
    """

    name: str
    kind: Kind
    count: int
    count_text: str
    features: str

    def output(self, name: str, features: str | None = None) -> str:
        """The full name of one of the metric's outputs.

        Args:
            name: The output.
            features: What the features turned out to be, for instance with the hash of foreign weights; None: as asked for.
        """
        used = self.features if features is None else features
        return f"{name}{self.count_text}" + (f"_{used}" if used != self.kind.features else "")


def parse(name: str) -> Request:
    """Read one name.

    Raises:
        UserError: It is none; the message proposes the nearest.
    """
    match = re.fullmatch(r"([a-z_]+?)(?:(\d+)(k?)(?:_(.+))?)?", name)
    kind = KINDS.get(match[1]) if match else None
    if match is None or kind is None:
        stem = re.split(r"\d", name, maxsplit=1)[0]
        rest = name[len(stem) :] or "50k"
        examples = [f"{known.name}{rest}" if not known.count else known.name for known in KINDS.values()]
        raise UserError(f"there is no metric {name}; {nearest(name, examples)}")
    if match[2] is None and not kind.count:
        raise UserError(f"metric {name}: say how many images, such as {name}50k, or {name}5k where time is short")
    count = int(match[2]) * (1000 if match[3] else 1) if match[2] else kind.count
    if count < kind.least:
        raise UserError(f"metric {name}: {kind.name} needs at least {kind.least} images")
    if match[4] and not kind.features:
        raise UserError(f"metric {name}: {kind.name} takes no other features; leave out _{match[4]}")
    if match[4]:
        check_feature_name(match[4])
    text = f"{match[2]}{match[3]}" if match[2] else ""
    return Request(name, kind, count, text, match[4] or kind.features)


def parse_all(names: list[str]) -> list[Request]:
    """Read several names, each once, in order. Raises `UserError` for wrong ones, or where there are none."""
    requests = [parse(name) for name in dict.fromkeys(name.strip() for name in names if name.strip())]
    if not requests:
        raise UserError("no metric is named; give some, such as --metrics fid50k,kid50k")
    return requests
