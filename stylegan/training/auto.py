"""Settings that follow from the data: the public configuration `auto` of Karras et al. 2020, "Training Generative Adversarial
Networks with Limited Data". Learning rate, R1 weight and half-life of G_ema follow, too: `phases.default_lr` and others.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AutoSettings:
    """What `auto` chooses.

    Attributes:
        batch_size: Images of one iteration over all ranks.
        minibatch_std_group: Images that D compares.
        channel_base: Feature maps of a block = this / its longer side.
    """

    batch_size: int
    minibatch_std_group: int
    channel_base: int


def auto_settings(resolution: tuple[int, int], ranks: int, images: int) -> AutoSettings:
    """Choose by what there is.

    A rank takes 4096 / side images at once and at most 32, all ranks together at most 64; D compares up to four of a rank's.
    Below 512 pixels networks have half the feature maps. So far the public configuration, where side is a power of two; for
    other sides, and numbers of ranks that do not divide 64, we round down to whole groups. Nothing else in it depends on how
    many images there are, as ADA itself finds out how much they are too few; we only keep a batch from being larger than the
    data set.

    Args:
        resolution: (H, W); the longer one counts.
        ranks: Processes that train together.
        images: Images of the data set.
    """
    side = max(resolution)
    together = min(ranks * max(min(4096 // side, 32), 1), 64, max(images, 1))
    share = max(together // ranks, 1)
    group = min(share, 4)
    share -= share % group
    return AutoSettings(share * ranks, group, 32768 if side >= 512 else 16384)
