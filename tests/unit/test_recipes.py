"""datasets/recipes: every file is complete, and its commands are ones that `stylegan prepare` takes."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from stylegan import cli
from stylegan.data.archive import check_resolution
from stylegan.data.convert import Fit, ResizeFilter

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "datasets" / "recipes").glob("*.yaml"))
REQUIRED = {"name", "what", "from", "licence", "get", "commands", "count", "md5", "experiments", "notes"}
ALLOWED = REQUIRED | {"script", "content_hash"}


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def parse(command: str) -> dict[str, Any]:
    """The arguments of a `stylegan prepare` command line, as the command itself would understand them."""
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("stylegan", "prepare")
    group: Any = typer.main.get_command(cli.app)
    return group.commands["prepare"].make_context("prepare", arguments).params


def test_all_that_are_promised() -> None:
    expected = {"ffhq", "celebahq", "afhqv2", "metfaces", "lsun", "cifar10", "fashion_mnist", "dicebear"}
    assert {path.stem for path in RECIPES} == expected
    table = (ROOT / "datasets" / "README.md").read_text(encoding="utf-8")
    for path in RECIPES:
        row = next(line for line in table.splitlines() if line.startswith(f"| `{path.name}`"))
        assert f"{load(path)['count']:,}" in row


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe(path: Path) -> None:
    recipe = load(path)
    assert set(recipe) >= REQUIRED and set(recipe) <= ALLOWED
    assert all(isinstance(recipe[key], str) and recipe[key] for key in ("name", "what", "from", "licence", "notes"))
    assert recipe["count"] > 0 and recipe["commands"] and recipe["experiments"]
    for experiment in recipe["experiments"]:
        assert (ROOT / "configs" / "experiment" / f"{experiment}.yaml").is_file()
    for digest in recipe["md5"].values():
        assert re.fullmatch("[0-9a-f]{32}", digest)
    assert re.fullmatch("[0-9a-f]{64}", recipe.get("content_hash", "0" * 64))
    compile(recipe.get("script", ""), path.name, "exec")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_commands(path: Path) -> None:
    for command in load(path)["commands"]:
        options = parse(command)
        assert options["source"] and options["dest"].suffix == ".zip" and options["name"] and options["origin"]
        check_resolution(*cli._resolution(options["resolution"]), command)
        assert options["fit"] is None or Fit(options["fit"])
        assert options["resize"] is None or ResizeFilter(options["resize"])


def test_a_wrong_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("stylegan prepare a b --resolutoin 256")
