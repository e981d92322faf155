"""How well somebody, or something, tells generated pictures from real ones: what counts, and how sure that is."""

import math

import torch
from torch import Tensor

CHANCE = 0.5  # of a pair, and of `auc`
_Z = 1.959963984540054  # the 97.5 % point of the normal distribution


def score_interval(right: int, played: int) -> tuple[float, float]:
    """The 95 % interval of the share of right answers; 0 to 1 where none was given.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference": it holds for few answers, too.

    Args:
        right: Right answers, 0 to `played`.
        played: Answers.

    Raises:
        ValueError: Other numbers.
    """
    if not 0 <= right <= played:
        raise ValueError(f"{right} right of {played} cannot be")
    if played == 0:
        return 0.0, 1.0
    share, z2 = right / played, _Z**2 / played
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / played + z2 / (4 * played)) / (1 + z2)
    # An end of the scale belongs to the interval exactly; rounding would leave it outside.
    return 0.0 if right == 0 else centre - half, 1.0 if right == played else centre + half


def auc(scores_positive: Tensor, scores_negative: Tensor) -> float:
    """The area under the ROC curve: how often a positive scores above a negative; ties count half.

    Mann and Whitney 1947, "On a test of whether one of two random variables is stochastically larger than the other".

    Args:
        scores_positive: [N], any real dtype.
        scores_negative: [M].

    Returns:
        0 to 1; 0.5 is chance.

    Raises:
        ValueError: One of them is empty, or holds what is no number.
    """
    positive, negative = (scores.flatten().double() for scores in (scores_positive, scores_negative))
    if not len(positive) or not len(negative) or bool(torch.cat([positive, negative]).isnan().any()):
        raise ValueError("the area under the curve takes scores of both kinds, all of them numbers")
    negative = negative.sort().values
    below = torch.searchsorted(negative, positive)
    up_to = torch.searchsorted(negative, positive, right=True)
    return float((below + up_to).double().mean()) / 2 / len(negative)
