"""Agreement with torch-fidelity 0.4.0 and lpips 0.1.4: with numbers they gave, and with themselves where they are installed.

Neither is in the extra `dev`: torch-fidelity's wheel brings a package named `tests`, which hides this one.
`pip install --no-deps --target FOLDER torch-fidelity lpips tqdm`, remove FOLDER/tests, and put FOLDER on PYTHONPATH.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from stylegan.metrics.fid import Moments, frechet_distance
from stylegan.metrics.inception import InceptionV3
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.lpips import Lpips
from stylegan.metrics.precision_recall import precision_recall
from tests.unit.metric_files import inception, vgg16_features

# What torch-fidelity gives for `features()`.
FID, KID, PRECISION, RECALL = 2.032170893112827, 0.04821115887420957, 0.74, 187 / 300
# Sums of features, logits and of their squares, for `images()` and the weights of `inception()`.
INCEPTION_SUMS = [878.2648929363804, 525.8103723287484, 8.51378570124507, 488.4508780429849]
# What lpips gives for `pair()`, VGG16 with the weights of `vgg16_features()`, and `heads()`.
LPIPS = [0.7129659652709961, 0.7132387161254883, 0.7047383189201355]


def features() -> tuple[Tensor, Tensor]:
    real, fake = torch.randn([2, 300, 24], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return real, fake * torch.linspace(0.7, 1.2, 24) + 0.1


def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 23, 31), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def pair() -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, 3, 3, 40, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return a, b


def heads() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(3)
    widths = (64, 128, 256, 512, 512)
    return {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1, generator=random) for i, n in enumerate(widths)}


def our_inception() -> tuple[Tensor, Tensor]:
    with torch.device("meta"):
        network = InceptionV3()
    network.load_state_dict(inception(), assign=True)
    with torch.no_grad():
        return network.eval()(images())


def our_lpips() -> Tensor:
    network = Lpips()
    network.features.load_state_dict({n.removeprefix("features."): t for n, t in vgg16_features().items()}, assign=True)
    network.heads.load_state_dict(heads(), assign=True)
    with torch.no_grad():
        return network(*pair())


def test_distances() -> None:
    real, fake = features()
    # torch-fidelity divides the covariance by N - 1.
    assert frechet_distance(Moments.of(real), Moments.of(fake), ddof=1) == pytest.approx(FID, rel=1e-6)
    assert kernel_distance(real, fake, subsets=1, subset_size=300) == pytest.approx(KID, rel=1e-6)
    assert precision_recall(real, fake, half=False) == pytest.approx((PRECISION, RECALL), rel=1e-9)


def test_distances_side_by_side() -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    prc = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = (side[:200] + 0.3 for side in features())
    moments = [fid.fid_features_to_statistics(side) for side in (fake, real)]
    theirs = fid.fid_statistics_to_metric(*moments, False)["frechet_inception_distance"]
    assert frechet_distance(Moments.of(real), Moments.of(fake), ddof=1) == pytest.approx(theirs, rel=1e-6)
    options = {"kid_subsets": 1, "kid_subset_size": 200, "verbose": False}
    theirs = kid.kid_features_to_metric(fake, real, **options)["kernel_inception_distance_mean"]
    assert kernel_distance(real, fake, subsets=1, subset_size=200) == pytest.approx(theirs, rel=1e-6)
    theirs = prc.prc_features_to_metric(fake, real, verbose=False)
    assert precision_recall(real, fake, half=False) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


def test_inception() -> None:
    got = [float(power.sum()) for part in our_inception() for power in (part.double(), part.double().square())]
    assert got == pytest.approx(INCEPTION_SUMS, rel=1e-4)


def test_inception_side_by_side(tmp_path: Path) -> None:
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.save(inception(), tmp_path / "inception.pth")
    outputs = ["2048", "logits_unbiased"]
    network = theirs.FeatureExtractorInceptionV3(
        "i", outputs, feature_extractor_weights_path=f"{tmp_path}/inception.pth"
    )
    for got, want in zip(our_inception(), network(images()), strict=True):
        assert torch.allclose(got, want, rtol=1e-4, atol=1e-5), float((got - want).abs().max())


def test_lpips() -> None:
    assert our_lpips().tolist() == pytest.approx(LPIPS, rel=1e-5)


def test_lpips_side_by_side() -> None:
    lpips = pytest.importorskip("lpips")
    theirs = lpips.LPIPS(pretrained=False, net="vgg", pnet_rand=True, verbose=False)
    trunk = {name: vgg16_features()[f"features.{name.split('.', 1)[1]}"] for name in theirs.net.state_dict()}
    theirs.net.load_state_dict(trunk)
    theirs.load_state_dict(heads(), strict=False)
    with torch.no_grad():
        assert torch.allclose(our_lpips(), theirs(*pair()).flatten(), rtol=1e-5)
