"""What people type reaches the configuration as it is; what cannot be taken is answered with the form that works."""

import re
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.config.groups import generate_script, register, to_typed, train_script
from stylegan.config.overrides import hydra_arguments
from stylegan.config.script import Kind
from stylegan.errors import UserError
from stylegan.figures.config import GenerateConfig
from stylegan.figures.seeds import parse_seeds
from stylegan.files import shipped
from stylegan.schedule import Ramp
from stylegan.training.config import TrainConfig

SCRIPT = train_script()


def train(*typed: str) -> TrainConfig:
    from hydra import compose, initialize_config_dir

    register()
    with initialize_config_dir(str(shipped("configs").resolve()), version_base="1.3"):
        usual = [] if any(argument.startswith("experiment=") for argument in typed) else ["experiment=debug"]
        return to_typed(compose("train", hydra_arguments([*usual, *typed], train_script())), TrainConfig)


def generate(*typed: str) -> GenerateConfig:
    from hydra import compose, initialize_config_dir

    register()
    with initialize_config_dir(str(shipped("configs").resolve()), version_base="1.3"):
        return to_typed(compose("generate", hydra_arguments(typed, generate_script())), GenerateConfig)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("Müller.zip", "Müller.zip"),
        ("photos (1).zip", "photos (1).zip"),
        ("a=1.zip", "a=1.zip"),
        ("2024_05_01", "2024_05_01"),
        ("1e5", "1e5"),
        ("0x10", "0x10"),
        ("007", "007"),
        ("true", "true"),
        ("nan", "nan"),
        ("None", "None"),
        ("a,b.zip", "a,b.zip"),
        ("[a].zip", "[a].zip"),
        ("{a: b}", "{a: b}"),
        ("it's", "it's"),
        ('say "cheese".zip', 'say "cheese".zip'),
        ("'null'", "null"),
        ('"a b"', "a b"),
        ("a\\b\\", "a\\b\\"),
        ("choice(1,2)", "choice(1,2)"),
        ("a:b@c#d%e^f&g!h;i", "a:b@c#d%e^f&g!h;i"),
        ("'~/x'", "~/x"),
        ("runs/ü 日本", "runs/ü 日本"),
        ("$HOME", "$HOME"),
        (" a ", " a "),
    ],
)
def test_a_text_is_what_was_typed(typed: str, value: str) -> None:
    assert as_hydra_reads(f"data.path={typed}") == value
    assert as_hydra_reads(f"metrics.weights=[{typed}]") == ([value.strip()] if "," not in typed else ANY)


def as_hydra_reads(typed: str) -> Any:
    """The value that an override has for Hydra, where composing would take long."""
    override = OverridesParser.create().parse_override(hydra_arguments([typed], SCRIPT)[0])
    return override.value()


def test_the_configuration_holds_what_hydra_reads() -> None:
    config = train("data.path=a (1)=ü.zip", "run_dir=2024_05_01", "metrics.best=1e5")
    assert (config.data.path, config.run_dir, config.metrics.best) == ("a (1)=ü.zip", "2024_05_01", "1e5")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30))
def test_any_text_survives(text: str) -> None:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if text.lower() != "null" and not text.startswith("~") and "${" not in text and not quoted:
        assert as_hydra_reads(f"run_dir={text}") == text


def test_none_home_and_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert train("run_dir=null").run_dir is None
    assert train("data.path=~/faces.zip").data.path == "/home/me/faces.zip"
    assert train("data.path=~").data.path == "/home/me"
    with pytest.raises(UserError, match="run_dir is empty"):
        train("run_dir=")
    assert train("data.path=~nobody-of-this-name/x").data.path == "~nobody-of-this-name/x"


def test_lists_need_no_brackets() -> None:
    assert train("metrics.names=fid50k,kid5k").metrics.names == ["fid50k", "kid5k"]
    assert train("metrics.weights=[mobilenet_v2=mob.pth,lpips=l 2.pth]").metrics.weights == [
        "mobilenet_v2=mob.pth",
        "lpips=l 2.pth",
    ]
    assert train("metrics.weights='a,b=c',d").metrics.weights == ["a,b=c", "d"]
    assert train("metrics.names=[]").metrics.names == train("metrics.names=").metrics.names == []
    assert train("augment.pipe.imgfilter_bands=1,0.5,0,0").augment.pipe.imgfilter_bands == [1, 0.5, 0, 0]
    stages = train("training.stages={resolution: 8},{start_kimg: 0.02, resolution: 16}").training.stages
    assert [(stage.start_kimg, stage.resolution) for stage in stages] == [(0, 8), (0.02, 16)]
    assert generate("translate=0.1,0").translate == [0.1, 0]
    with pytest.raises(UserError, match=r"metrics\.names=null: this is a list; metrics\.names=\[\]"):
        train("metrics.names=null")


@pytest.mark.parametrize(
    ("typed", "seeds"),
    [("0-3,7", [0, 1, 2, 3, 7]), ("[0-3,7]", [0, 1, 2, 3, 7]), ("5", [5]), ("007", [7]), ("0, 2 ,4", [0, 2, 4])],
)
def test_seeds(typed: str, seeds: list[int]) -> None:
    assert parse_seeds(generate(f"seeds={typed}").seeds) == seeds


@pytest.mark.parametrize("typed", ["0-3,", ",3", "0,,1", "[0, ]"])
def test_a_missing_seed(typed: str) -> None:
    with pytest.raises(UserError, match="a seed is missing before or after a comma"):
        generate(f"seeds={typed}")


def test_numbers_and_ramps_are_as_ever() -> None:
    config = train("seed=1_000", "optim.G_lr={start: 0.1, end: 0.2, kimg: 3}", "loss.r1_gamma=1e1", "+training.kimg=2")
    assert (config.seed, config.loss.r1_gamma, config.training.kimg) == (1000, 10, 2)
    assert config.optim.G_lr == Ramp(0.1, 0.2, 3)


def test_sweeps_part_at_commas() -> None:
    def of(typed: str) -> str:
        return hydra_arguments(["-m", typed], train_script())[-1]

    assert of("run_dir=a b,ü") == "run_dir='a b','ü'"
    assert of("run_dir='a,b',c") == "run_dir='a,b','c'"
    assert of("data.path=choice(a,b)") == "data.path=choice(a,b)"
    assert of("metrics.names=[fid50k,kid5k],[]") == "metrics.names=['fid50k','kid5k'],[]"
    assert of("metrics.names=fid50k,kid5k") == "metrics.names=['fid50k'],['kid5k']"
    assert of("experiment=demo,debug") == "experiment=demo,debug"
    assert of("seed=1,2") == "seed=1,2"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("--network=x", "there is no option --network; did you mean"),
        ("--run-dir=x", "there is no option --run-dir; settings have no dashes: run_dir=x"),
        ("--cfg=jobs", "--cfg jobs: did you mean 'job'"),
        ("--package=modle", "there is no such part; did you mean 'model'"),
        ("experiment=null", "there is no experiment=null; there are: ada_auto"),
        ("loss=null", "there is no loss=null; there are: logistic"),
        ("model/G=", "there is no model/G=; there are"),
        ("experiment=../train", "there is no experiment=../train"),
        ("~experiment", "nothing can be taken out"),
        ("~/faces.zip", "settings are written NAME=VALUE"),
        ("run_dir", "write run_dir=VALUE"),
        ("=5", "there is no setting"),
        ("dta.path=photos (1).zip", "there is no setting dta.path; did you mean 'data.path'"),
        ("figure=grid", "there is no setting figure"),
        ("data={path: x}", "data.path=VALUE sets one"),
        ("model.G=stylegan3", "model/G=NAME chooses one, model.G.z_dim=VALUE"),
        ("training=null", "training holds settings"),
        ("seed=1,2", "-m seed=1,2 makes a run of each"),
        ("run_dir=${oc.env:HOME}", "settings hold values"),
        ("seed=${oc.env:HOME}", "settings hold values"),
        ("model.G.num_layer=3", "did you mean 'model.G.num_layers'"),
        ("seed=" + "9" * 5000, "seed is a value of 5000 characters"),
        ("--experimental-rerun=x.pickle", "there is no option --experimental-rerun"),
        ("--multi", "there is no option --multi; did you mean '--multirun'"),
        ("--cfg", "--cfg needs a value"),
        ("hydra.run.dir=(", "put quotes around it"),
        ("optim.G_lr=ü", "write a number, or a ramp such as 'optim.G_lr={start"),
    ],
)
def test_what_cannot_be_taken(typed: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        if typed.startswith("experiment=") or " " in typed.partition("=")[2]:
            hydra_arguments(typed.split(), train_script())
        else:
            train(typed)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["seed=1", "seed=1"], "seed is given twice, the second time as seed=1; -m seed=A,B makes a run of each"),
        (["run_dir=a", "++run_dir=b"], "run_dir is given twice"),
        (["metrics.names=fid50k", "metrics.names=kid5k"], "; metrics.names=A,B is a list"),
        (["experiment=demo", "experiment=debug"], "experiment is given twice"),
        (["-m", "seed=1,2", "seed=3"], "seed is given twice"),
        (["-m", "seed=range(0,1000000000)"], "seed=range(0,1000000000) makes more than 10000 runs"),
        (["-m", "loss.r1_gamma=shuffle(range(0,1,1e-300))"], "makes more than 10000 runs"),
        (["-m", "seed=range(0,200)", f"run_dir={','.join(map(str, range(60)))}"], "more than 10000 runs of this sweep"),
    ],
)
def test_what_cannot_be_taken_together(typed: list[str], says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        hydra_arguments(typed, SCRIPT)


def test_sweeps_of_as_many_runs_as_one_waits_for() -> None:
    assert len(hydra_arguments(["-m", "seed=range(0,100)", "loss.r1_gamma=1,2", "data.path=glob(*)"], SCRIPT)) == 4


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("seed=1.5", "seed=1.5 is no whole number, written in digits"),
        ("seed=", "seed= is no whole number"),
        ("seed=null", "seed=null cannot be: it is never null"),
        ("training.kimg=25k", "training.kimg=25k is no number"),
        ("data.xflip=ja", "data.xflip=ja is neither true nor false"),
        ("training.on_nonfinite=Clamp", "training.on_nonfinite=Clamp: did you mean 'clamp'"),
        ("augment.pipe.imgfilter_bands=1,x,0,0", "[1,x,0,0]: x is no number"),
        ("training.start_kimg=5", "goes with init_from="),
        ("metrics.best=fid50k", "goes with metrics.names="),
    ],
)
def test_values_of_another_kind_are_refused_without_jargon(
    typed: str, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.integration.command import run_here

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stylegan.assemble._dataset", lambda *_: pytest.fail("it looked at the data first"))
    result = run_here("train", typed, capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and says in result.err and "object_type" not in result.err, result.err


def test_a_setting_of_another_choice_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.integration.command import run_here

    result = run_here("train", "model.G.num_layers=3", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and "model.G.num_layers is a setting of model/G=stylegan3" in result.err


def test_scripts_know_their_settings() -> None:
    script, figures = train_script(), generate_script()
    assert script.settings["run_dir"] is script.settings["data.path"] is Kind.text
    assert script.settings["metrics.weights"] is script.settings["augment.policy"] is Kind.texts
    assert script.settings["training.stages"] is Kind.scalars and figures.settings["seeds"] is Kind.seeds
    assert script.settings["model.G.architecture"] is script.settings["optim.G_lr.start"] is Kind.scalar
    assert script.owners["model.G.num_layers"] == ["model/G=stylegan3"] and "model.G.z_dim" not in script.owners
    assert set(figures.groups) == {"figure"}
    assert set(script.groups) == {"model/G", "model/D", "loss", "model", "augment", "experiment"}


def test_a_folder_of_ones_own_recipes(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").touch()
    typed = ["--config-dir", str(tmp_path), "experiment=mine"]
    assert hydra_arguments(typed, train_script()) == typed
    with pytest.raises(UserError, match="there is no experiment=mine"):
        hydra_arguments(typed[2:], train_script())
