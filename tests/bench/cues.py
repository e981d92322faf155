"""How often the cues of `stylegan.detect` are right on pairs of a generated and a held-out face of faces3d.

python tests/bench/cues.py [PAIRS]
"""

import sys
from statistics import median

import torch

from stylegan.data.faces3d import render_faces
from stylegan.detect.classifier import SpectrumClassifier
from stylegan.detect.cues import compare
from stylegan.detect.score import auc, score_interval
from stylegan.detect.spectra import spectrum
from stylegan.inference import load_generator, sample

FIRST = 400  # the pairs before it were looked at when sides and margins were chosen


def main(pairs: int) -> None:
    G = load_generator("demo")
    chosen = range(FIRST, FIRST + pairs)
    fakes = list(sample(G, chosen))
    rendered, _ = render_faces(chosen, split="test", resolution=G.resolution[0])
    reals = [torch.from_numpy(image) for image in rendered]
    table = [compare(fake, real) for fake, real in zip(fakes, reals, strict=True)]
    for cues in zip(*table, strict=True):
        said = [cue for cue in cues if cue.generated is not None]
        right = sum(cue.generated == "left" for cue in said)
        low, high = score_interval(right, len(said))
        generated, real = (torch.tensor([getattr(cue, side) for cue in cues]) for side in ("left", "right"))
        print(
            f"{cues[0].name:<10} generated {median(generated.tolist()):.4f}, real {median(real.tolist()):.4f} (medians), "
            f"AUC {auc(generated, real):.3f}; right {right} of {len(said)} ({low:.1%} to {high:.1%})"
        )
    half = pairs // 2
    of_real, of_fake = (torch.stack([spectrum(image) for image in images]) for images in (reals, fakes))
    classifier = SpectrumClassifier.fit(of_real[:half], of_fake[:half])
    found = auc(classifier.score(of_fake[half:]), classifier.score(of_real[half:]))
    print(f"spectra, learned from one half, tested on the other: AUC {found:.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
