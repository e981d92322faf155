"""Scores of pictures by seed, as a user's own program or people gave them."""

import csv
import math
from pathlib import Path

import torch
from torch import Tensor

from stylegan.errors import UserError, shown
from stylegan.files import read_file
from stylegan.inference import MAX_SEED

MOST_BYTES = 2**27
MOST_ROWS, MOST_COLUMNS = 1_000_000, 100
LONGEST_NAME = 100


def read_scores(path: Path) -> tuple[list[int], dict[str, Tensor]]:
    """Seeds, and the scores [N] by column, float64; what is not known is NaN.

    The file is CSV in UTF-8: a row a picture, its seed and then its scores. The first row may name the columns:
    `seed,age,smile`; without it the scores are called `score`, `score1` and so on. Empty cells are not known.

    Raises:
        UserError: It cannot be read, is something else, or has too few rows.
    """
    try:
        text = read_file(path, MOST_BYTES, "file of scores").decode("utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines(), strict=True) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV file of scores ({shown(error, 200)}); a row is: seed,score") from None
    if not rows:
        raise UserError(f"{path} holds no scores; a row is: seed,score")
    first = 1 if _seed(rows[0][0]) is None else 0
    width = len(rows[0])
    if len(rows) - first > MOST_ROWS or not 2 <= width <= MOST_COLUMNS + 1:
        raise UserError(
            f"{path} has {len(rows)} rows of {width} columns; it takes up to {MOST_ROWS} of 2 to {MOST_COLUMNS + 1}: a seed "
            "and its scores"
        )
    names = [f"score{i or ''}" for i in range(width - 1)]
    if first:
        names = [name.strip() for name in rows[0][1:]]
        odd = next(
            (n for n in names if not n or len(n) > LONGEST_NAME or not n.isprintable() or names.count(n) > 1), None
        )
        if odd is not None:
            raise UserError(f"{path}: {shown(odd, 100)!r} is no name of a column; give each one of its own")
    seeds, values = [], []
    for number, row in enumerate(rows[first:], first + 1):
        seed = _seed(row[0])
        if seed is None or len(row) != width:
            raise UserError(f"{path}, row {number}: {shown(','.join(row), 100)} is no seed with {width - 1} scores")
        seeds.append(seed)
        values.append([_score(path, number, cell) for cell in row[1:]])
    table = torch.tensor(values, dtype=torch.float64).reshape(len(seeds), width - 1)
    return seeds, {name: table[:, i] for i, name in enumerate(names)}


def _seed(cell: str) -> int | None:
    text = cell.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_SEED else None


def _score(path: Path, row: int, cell: str) -> float:
    if not cell.strip():
        return math.nan
    try:
        return float(cell)
    except ValueError:
        raise UserError(f"{path}, row {row}: {shown(cell, 100)} is no number; leave unknown scores empty") from None
