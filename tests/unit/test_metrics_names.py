"""What metrics are called."""

import pytest

from stylegan.errors import UserError
from stylegan.metrics.names import KINDS, parse, parse_all


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
    assert [request.output(output) for output in request.kind.outputs] == outputs


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


def test_every_metric_has_outputs_of_its_own() -> None:
    outputs = [output for kind in KINDS.values() for output in kind.outputs]
    assert len(outputs) == len(set(outputs))
