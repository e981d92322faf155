"""What the network's own faces look like: attributes of the pictures of seeds 0, 1, 2 ..., read while nobody waits."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UserError
from stylegan.figures.conditions import parse_conditions
from stylegan.metrics.attribute_network import ATTRIBUTES, Scalar, places
from stylegan.web.engine import BusyError, Engine
from stylegan.web.faces import Faces, Recipe

_PAUSE = 0.05  # seconds between looks at whether somebody waits
_BINS = 12


@dataclass(frozen=True)
class Matches:
    """What a search found.

    Attributes:
        seeds: Of the first faces that have all that was asked for.
        accepted: How many have.
        tried: Of how many.
    """

    seeds: list[int]
    accepted: int
    tried: int


class Survey:
    """Reads attributes in a thread of its own, from the pictures that the engine makes.

    Args:
        engine, faces: Of the network; the engine reads attributes.
        count: How many seeds.
    """

    def __init__(self, engine: Engine, faces: Faces, count: int) -> None:
        self.engine, self.faces, self.count = engine, faces, count
        self._read: list[Tensor] = []
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="survey", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End."""
        self._closed.set()
        self._thread.join()

    @property
    def table(self) -> Tensor:
        """What is read so far, [N, 20], a row a seed."""
        with self._lock:
            return torch.cat(self._read) if self._read else torch.zeros(0, 20)

    def find(self, where: str, count: int) -> Matches:
        """The seeds of faces with some attributes, as `figure=attributes` is told them; raises `UserError` for nonsense."""
        conditions = parse_conditions(where, "find")
        read = self.table
        if not len(read):
            return Matches([], 0, 0)
        accepted = torch.stack([condition.holds(read) for condition in conditions]).all(dim=0)
        seeds = accepted.nonzero()[:, 0].tolist()
        return Matches(seeds[:count], len(seeds), len(read))

    def distribution(self) -> dict[str, Any]:
        """Of each attribute: shares of its words, or a histogram."""
        read, told = self.table, {}
        for attribute in ATTRIBUTES:
            columns = read[:, places()[attribute.name]]
            if isinstance(attribute, Scalar):
                counts = torch.histc(columns, _BINS, attribute.low, attribute.high) if len(read) else torch.zeros(_BINS)
                told[attribute.name] = {
                    "low": attribute.low,
                    "high": attribute.high,
                    "unit": attribute.unit,
                    "counts": counts.int().tolist(),
                }
            else:
                chosen = (
                    columns.argmax(dim=1).bincount(minlength=attribute.size)
                    if len(read)
                    else torch.zeros(attribute.size)
                )
                told[attribute.name] = {
                    "counts": dict(zip(attribute.values, chosen.int().tolist(), strict=True)),
                }
        return {"faces": len(read), "attributes": told}

    def _work(self) -> None:
        for seed in range(self.count):
            read = self._attributes(seed)
            if read is None:
                return
            with self._lock:
                self._read.append(read[None])

    def _attributes(self, seed: int) -> Tensor | None:
        """Of one seed's picture, when nobody waits; None: it is closed."""
        recipe = Recipe(seeds=[seed], class_idx=0 if self.faces.G.c_dim else None)
        point, sampling = self.faces.point(recipe), self.faces.sampling(recipe)
        while not self._closed.is_set():
            if not len(self.engine):
                try:
                    return self.engine.submit(point, sampling).result().attributes
                except BusyError:
                    pass
            time.sleep(_PAUSE)
        return None


def description(read: Tensor) -> str:
    """What a face looks like, by its attributes [20], in words for those who do not see it."""
    found = {a.name: read[places()[a.name]] for a in ATTRIBUTES}

    def number(name: str) -> float:
        return float(found[name][0])

    colours = next(a for a in ATTRIBUTES if a.name == "hair_colour")
    assert not isinstance(colours, Scalar)
    who = "man" if number("sex") > 0.5 else "woman"
    words = [f"A {who} of about {round(number('age'))}"]
    hair = "short" if number("hair_length") < 0.35 else "long" if number("hair_length") > 0.6 else "medium-long"
    words.append(f"{hair} {colours.values[int(found['hair_colour'].argmax())]} hair")
    if number("beard") > 0.1:
        words.append("a beard")
    if number("glasses") > 0.5:
        words.append("glasses")
    if number("smile") > 0.5:
        words.append("smiling")
    yaw = number("yaw")
    if abs(yaw) > 10:
        words.append(f"turned to the {'right' if yaw > 0 else 'left'}")
    return ", ".join(words)


def asked(attributes: Sequence[tuple[str, str]]) -> str:
    """The attributes of an address as `parse_conditions` takes them.

    Raises:
        UserError: A value would end the text, or an attribute stands twice.
    """
    names = [name for name, _ in attributes]
    for name, value in attributes:
        if any(letter in name + value for letter in "{},:\"'") or len(name) + len(value) > 200:
            raise UserError(
                f"{name}={value}: letters that no attribute has; write such as age=50- or hair_colour=black|brown"
            )
        if names.count(name) > 1:
            raise UserError(f"{name} stands twice; write such as age=20-50 or hair_colour=black|brown")
    return "{" + ",".join(f"{name}:{value}" for name, value in attributes) + "}"
