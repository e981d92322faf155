"""Types thousands of odd command lines, in one process, each up to where its work would start.

`python -m tests.unit.fuzz_command_lines --count 2000 --seed 1`. Options and settings come from the commands and the typed
configurations themselves, so that new ones are tried, too. A command line is accepted, or refused with one message and exit
code 2; everything else is printed, and makes the exit code 1.
"""

import argparse
import contextlib
import io
import itertools
import os
import random
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import torch
import typer

import generate
import train
from stylegan import cli, run_dir
from stylegan.assemble import build_plan
from stylegan.config.groups import generate_script, train_script
from stylegan.config.saved import save_config
from stylegan.config.script import Script
from stylegan.latent.direction_file import Direction
from stylegan.metrics.names import parse_all
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.ops.device import pick_device
from stylegan.training.config import TrainConfig, resolved
from stylegan.training.job import rounds_of
from stylegan.training.memory import check_training_memory

SHAPE = {"resolution": (16, 16), "channels": 3, "c_dim": 0}
# fmt: off
NUMBERS = [
    "nan", "inf", "-inf", "NaN", "1e400", "1e5", "0", "-1", "0.5", "1e-400", "1_000", "0x10", "007", "10**3", "1,2", "1,x",
    "true", "5", "64", "0-3,7", "5-2", "1e18",
]
NUMBERS += [str(10**9), str(10**20), str(2**32), str(2**63), "-" + "9" * 30, "9" * 5000]
TEXTS = [
    "", " ", "null", "None", "~", "~nobody-here/x", "${oc.env:HOME}", "${", "???", "ü", "日本.zip", "photos (1).zip", "a=1.zip",
    "a,b", "(", ")", "[", "]", "{", "}", "[]", "{}", "[1,2", "[a,b]", "'", '"', "''", "'a", "a'b", "\\", "\\'", "a\nb", "\t",
    "\x1b[31m", "\udcff", "x" * 5000, "n" * 300, "a/" * 3000, "2024_05_01", "2024-01-01", "@x", ";", "|", "$HOME", "-", "--",
    "choice(1,2)", "range(1,3)", "glob(*)", "{a: 1}", "{start: 1, end: nan, kimg: 1}", "{start: 1}", "{start: [], end: {}}",
    "{start: 0, end: 1, kimg: 1, shape: []}", "demo", "auto", "cuda:99999999999999999999", "cpu:0", "fid50k", "kid2k,kid2k",
    "fid" + "9" * 400, "mobilenet_v2=x", "=", "a=b=c", "[{resolution: 8}]", "[{resolution: x}]", "[{start_kimg: 1}]", "[5]",
]
# fmt: on


class Reached(SystemExit):
    """Here work would start."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(0)


def reach(*_: Any, **__: Any) -> NoReturn:
    """Stands for what works."""
    raise Reached


def start_training(config: TrainConfig, *_: Any) -> None:
    """Everything that is checked before a training starts, but for its data, on images of 16 pixels."""
    pick_device(config.device)
    config = resolved(config, resolution=(16, 16), images=64, ranks=1)
    check_training_memory(config, SHAPE)
    plan = build_plan(config, (16, 16))
    rounds_of(config.training, plan, getattr(config.model.D, "minibatch_std_group", 0))
    config.augment.build(channels=3, resolution=(16, 16))
    config.augment.build_controller()
    if config.metrics.names:
        parse_all(config.metrics.names)
    plan.moment(0, plan.stage(0))


def odd_files(folder: Path) -> list[str]:
    """Files of all kinds, and runs whose config.yaml is damaged."""
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "noise.bin").write_bytes(random.Random(0).randbytes(3000))
    os.mkfifo(folder / "fifo")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    names = [
        "folder",
        "empty",
        "noise.bin",
        "fifo",
        "dangling",
        "loop",
        "noise.bin/below",
        "nowhere.zip",
        "/dev/zero",
        "/dev/null",
    ]
    whole = folder / "run" / run_dir.CONFIG
    save_config(resolved(TrainConfig(), resolution=(16, 16), images=64, ranks=1), whole)
    good = whole.read_bytes()
    damaged = [
        b"",
        b"\0" * 100,
        good[:300],
        b"[" * 10000,
        b"- 1\n",
        b"a: &a [1]\nb: *a\n",
        b"seed: " + b"9" * 5000,
        b"? [1]\n: 2\n",
    ]
    damaged += [
        good.replace(b"seed: 0", new) for new in (b"seed: x", b"seed: 1e400", b"seed: 1", b"seed: ${oc.env:HOME}", b"")
    ]
    damaged += [
        good.replace(b"kimg: 25000", b"kimg: .nan"),
        b"seed: 2001-01-01\n",
        b"1: 2\n",
        good + b"seed: 1\n",
        good[::-1],
    ]
    damaged += [good.replace(b"kind: stylegan2\n", new) for new in (b"kind: [1]\n", b"kind: x\n", b"")]
    damaged += [good.replace(b"loss:", b"lost:"), b"model: 5\n", b"model: {G: {kind: stylegan2}, D: 3}\n"]
    for number, content in enumerate(damaged):
        (folder / f"run{number}").mkdir()
        (folder / f"run{number}" / run_dir.CONFIG).write_bytes(content)
        names.append(f"run{number}")
    return [*names, "run"]


def mutated(text: str, rng: random.Random) -> str:
    """Some other characters in it."""
    characters = list(text[:60]) or [""]
    for _ in range(rng.randint(1, 3)):
        characters[rng.randrange(len(characters))] = rng.choice("abc019=,.'\"()[]{}~$:\\ \n\tü\u2028/-+*?!#%&|<>@")
    return "".join(characters)


def of_script(script: Script, values: Sequence[str], rng: random.Random) -> list[str]:
    """A command line of train.py or generate.py."""
    names = [*script.settings, *script.groups]
    usual = ["experiment=debug"] if "experiment" in script.groups else []
    line = [rng.choice(["-m", "--cfg", "--help", "-x", "--resolve", "--multirun"])] if rng.random() < 0.06 else []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        name = rng.choice(names)
        match rng.randrange(30):
            case 0:
                name = mutated(name, rng)
            case 1:
                name = rng.choice(["+", "++", "~"]) + name
            case 2:
                name = rng.choice(sorted(script.nodes()))
            case 3:
                name = rng.choice(
                    ["hydra.run.dir", "hydra.job.name", "hydra.mode", "hydra/launcher", "hydra.sweep.dir"]
                )
        value = rng.choice(values) if rng.random() < 0.9 else mutated(rng.choice(values), rng)
        line.append(name if rng.random() < 0.02 else f"{name}={value}")
    return usual + line


def of_command(name: str, command: Any, values: Sequence[str], rng: random.Random) -> list[str]:
    """A command line of `stylegan NAME`."""
    value: Callable[[], str] = lambda: rng.choice(values) if rng.random() < 0.9 else mutated(rng.choice(values), rng)  # noqa: E731
    line = [name]
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        if is_argument and rng.random() < 0.95:
            line.append(rng.choice(["demo", "out", value()]))
        elif not is_argument and (parameter.required or rng.random() < 0.25):
            option = rng.choice(parameter.opts)
            line += (
                [option] if parameter.is_flag else [option, value()] if rng.random() < 0.7 else [f"{option}={value()}"]
            )
            if rng.random() < 0.03:
                line += [option, value()]
    return line


def of_server(values: Sequence[str], rng: random.Random) -> list[str]:
    """A command line of `stylegan serve` with one or two odd things about it, or none: the others let it come far."""
    names = [
        "::1",
        "faces.example",
        "FACES.example.",
        "*",
        "http://x",
        "x:80",
        "a b",
        "[::1]",
        "-",
        "x/../y",
        "\u202e",
        "%",
    ]
    odd: dict[str, Sequence[str]] = {
        "--batch": [*NUMBERS, "8", "1025"],
        "--rate": [*NUMBERS, "0.1"],
        "--port": [*NUMBERS, "65536"],
        "--host": [
            "localhost",
            "127.0.0.2",
            "0.0.0.0",
            "[::1]",
            "256.1.1.1",
            "127.1",
            "::1",
            "a b",
            "http://x",
            "x" * 300,
            "ü..x",
        ],
        "--allow-host": names,
        "--data": values,
        "--directions": values,
        "--device": ["cpu", "cpu:0", "cuda", "cuda:0", "cuda:-1", "meta", "mps", *TEXTS],
    }
    chosen = rng.sample(sorted(odd), rng.choice([0, 1, 1, 1, 2]))
    line = ["serve", "demo" if rng.random() < 0.8 else rng.choice(values)]
    line += [] if "--port" in chosen else ["--port=0"]
    for option in chosen:
        value = rng.choice(odd[option]) if rng.random() < 0.8 else rng.choice(values)
        line.append(f"{option}={value if rng.random() < 0.9 else mutated(value, rng)}")
    return line + ["--allow-upload"] * (rng.random() < 0.1)


class NoDirections:
    """Stands for what finds directions in a network, which takes seconds."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def find(self, name: str, layers: Sequence[int]) -> Direction:
        """Some."""
        return Direction(name, torch.ones(512), 1.0)


def outcome(run: Callable[[], None], program: str, line: Sequence[str]) -> str:
    """`accepted`, `refused`, or what should not have happened."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with (
        mock.patch.object(sys, "argv", [program, *line]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as stop:
            code = stop.code
        except BaseException:  # what this is about: nothing else may leave a command
            return traceback.format_exc()[-2000:]
    told = err.getvalue()
    if code in (0, None):
        return "accepted"
    one = (
        told.count("error: ") == 1 and told.rstrip("\n").splitlines()[-1:] == [told.rstrip("\n")]
    ) or "sage: " in told
    if code == 2 and "Traceback" not in told and (one or told.startswith("error: ")):
        return "refused"
    return f"exit code {code}: {told[-2000:]}"


@contextlib.contextmanager
def stopped_before_work() -> Iterator[None]:
    """Within, commands end where their work would start."""
    torch.manual_seed(0)
    G = StyleGAN2Config(z_dim=8, w_dim=8, channel_base=64, channel_max=8).build(**SHAPE).eval()
    workers = [
        "stylegan.data.prepare.prepare_images",
        "stylegan.data.prepare.prepare_faces3d",
        "stylegan.doctor.examine",
    ]
    workers += [
        "stylegan.ops.backend.build_all",
        "stylegan.metrics.evaluate.read_networks",
        "stylegan.interop.convert.convert",
    ]
    workers += [
        "stylegan.data.inspection.describe",
        "stylegan.interop.snapshot.read_snapshot",
        "stylegan.bench.report._prepare",
    ]
    workers += ["stylegan.bench.report.iteration_cost", "generate.describe", "uvicorn.Server.run"]
    workers += [f"stylegan.metrics.attribute_training.{name}" for name in ("train_and_save", "test_attributes")]
    with contextlib.ExitStack() as stack:
        for worker in workers:
            stack.enter_context(mock.patch(worker, reach))
        stack.enter_context(mock.patch("stylegan.web.serve.Directions", NoDirections))
        for setting in ("activate", "compute_exactly", "logging"):  # of this process
            stack.enter_context(mock.patch(f"stylegan.web.serve.{setting}"))
        stack.enter_context(mock.patch("train.run_training", start_training))
        stack.enter_context(mock.patch("generate.load_generator", lambda *_: G))
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        yield


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Try `count` command lines: how many had which outcome, and what was wrong with the others."""
    rng, outcomes, failures = random.Random(seed), Counter[str](), []
    group: Any = typer.main.get_command(cli.app)
    scripts = itertools.cycle(
        [(train.main, "train.py", train_script()), (generate.main, "generate.py", generate_script())]
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), stopped_before_work():
        values = [*NUMBERS, *TEXTS, *odd_files(Path(folder))] * 2 + [*NUMBERS]
        for i in range(count):
            if i % 8 == 1:
                run, program, line = cli.main, "stylegan", of_server(values, rng)
            elif i % 2:
                name = rng.choice(sorted(group.commands))
                run, program, line = cli.main, "stylegan", of_command(name, group.commands[name], values, rng)
            else:
                run, program, script = next(scripts)
                line = of_script(script, values, rng)
            found = outcome(run, program, line)
            outcomes[found if found in ("accepted", "refused") else "failed"] += 1
            if found not in ("accepted", "refused"):
                failures.append(f"{program} {[word[:80] for word in line]}: {found}")
    return outcomes, failures


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes, failures = fuzz(options.count, options.seed)
    for failure in failures:
        print(failure, end="\n\n")
    print(dict(outcomes))
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
