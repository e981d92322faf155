"""What metrics are called."""

import subprocess
import sys

import pytest

from stylegan.errors import UserError
from stylegan.metrics.names import listed, parse, parse_all
from stylegan.metrics.table import METRICS
from tests.integration.command import ROOT


@pytest.mark.parametrize(
    ("name", "count", "features", "outputs"),
    [
        ("fid50k", 50000, "inception", ["fid50k"]),
        ("kid5k_mobilenet_v2", 5000, "mobilenet_v2", ["kid5k_mobilenet_v2"]),
        ("fid50k_inception", 50000, "inception", ["fid50k"]),
        ("pr50k", 50000, "vgg16", ["precision50k", "recall50k"]),
        ("dc300_resnet50", 300, "resnet50", ["density300_resnet50", "coverage300_resnet50"]),
        ("is10", 10, "inception", ["is10", "is_std10"]),
        ("ppl_wend50k", 50000, "", ["ppl_wend50k"]),
        ("ppl_zfull_crop2k", 2000, "", ["ppl_zfull_crop2k"]),
        ("eqt_frac1k", 1000, "", ["eqt_frac1k"]),
        ("attributes", 5000, "", ["attributes", "attributes_coverage"]),
        ("attributes2k", 2000, "", ["attributes2k", "attributes_coverage2k"]),
    ],
)
def test_grammar(name: str, count: int, features: str, outputs: list[str]) -> None:
    request = parse(name)
    assert (request.count, request.features) == (count, features)
    assert [request.output(output.name) for output in request.metric.outputs] == outputs


def test_foreign_weights_are_part_of_the_name() -> None:
    assert parse("fid50k").output("fid", "inception-0123abcd") == "fid50k_inception-0123abcd"
    assert parse("ppl_wend50k").output("ppl_wend", "lpips-0123abcd") == "ppl_wend50k_lpips-0123abcd"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("fdi50k", "did you mean 'fid50k'?"),
        ("kdi5k_mobilenet_v2", "did you mean 'kid5k_mobilenet_v2'?"),
        ("attributs", "did you mean 'attributes'?"),
        ("fid", "such as fid50k"),
        ("kid5k_mobilnet_v2", "did you mean 'mobilenet_v2'?"),
        ("fid1", "at least 2"),
        ("kid10001k", "10000000 images are the most"),
        ("is9", "at least 10"),
        ("attributes5k_vgg16", "leave out _vgg16"),
        ("50k", "there is no metric 50k"),
        ("", "there is no metric"),
    ],
)
def test_wrong_names(name: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse(name)
    assert says in str(error.value)


def test_lists() -> None:
    assert [request.name for request in parse_all(["fid50k", " kid50k", "fid50k", ""])] == ["fid50k", "kid50k"]
    with pytest.raises(UserError, match="no metric is named"):
        parse_all([" "])


def test_what_is_listed_can_be_asked_for() -> None:
    lines = listed()
    assert [parse(line.partition(":")[0]).metric for line in lines] == list(METRICS.values())
    assert "fid50k: Fréchet distance of features" in lines


def test_names_are_read_without_what_measures() -> None:
    """A run without metrics waits for none of it, nor does one that only checks names."""
    heavy = ("torchvision", "rich", "PIL", "hydra")
    script = (
        f"import sys, stylegan.metrics.names as n; n.parse('pr50k'); print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
