"""From what people type to what Hydra's grammar takes.

That grammar gives a meaning to `=`, `(`, `~`, quotes, blanks and underscores in numbers, and knows no letters beyond ASCII;
in a path or a name they mean nothing. A setting that is a text is what was typed, whatever it looks like: `null` is none,
quotes around it are taken off, a leading `~` is the home folder, and with `-m` commas part the values of a sweep. A list may be
written with commas and without brackets. Whatever cannot be taken is refused, with the form that works, before Hydra sees it.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString, RangeSweep

from stylegan.config.script import Kind, Script, names_in
from stylegan.errors import UserError, nearest
from stylegan.values import at_home

FLAGS = ("--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m", "--info", "-i")
WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-dir", "-cd")
SHOWN = ("job", "hydra", "all")  # what --cfg prints
LONGEST_VALUE = 1000
MOST_RUNS = 10_000  # of a range in a sweep
_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)
_OPENS, _CLOSES = "([{", ")]}"


def hydra_arguments(arguments: Sequence[str], script: Script) -> list[str]:
    """The arguments of a script's command line as Hydra takes them.

    Args:
        arguments: What was typed, without the script's own name.
        script: What it can be told.

    Raises:
        UserError: An option or setting that does not exist, or a value that cannot be one.
    """
    options, typed = _split_options(arguments, script)
    sweeps = any(option in ("-m", "--multirun") for option in options) or "hydra.mode=MULTIRUN" in typed
    groups = dict(script.groups)
    for option, folder in pairwise(options):
        if option in ("--config-dir", "-cd"):
            for group, names in names_in(Path(folder)).items():
                groups[group] = sorted({*groups.get(group, []), *names})
    found: dict[str, str] = {}
    choices = [*typed, *script.defaults]
    for argument in typed:
        key, value = _key_and_value(argument, script)
        if key in found:
            several = (script.kind_of(key, choices) if key in script else Kind.text) in (
                Kind.texts,
                Kind.scalars,
                Kind.seeds,
            )
            how = f"; {key}=A,B is a list" if several and not sweeps else f"; -m {key}=A,B makes a run of each"
            raise UserError(f"{key} is given twice, the second time as {argument}{how}")
        if key.startswith(("hydra.", "hydra/")):
            if not _readable(argument):
                raise UserError(f"{argument}: this value cannot be read; put quotes around it: {key}='\"VALUE\"'")
            found[key] = argument
            continue
        if "${" in value:
            raise UserError(f"{argument}: settings hold values, ${{...}} is not looked up; write what it stands for")
        if key in groups:
            found[key] = f"{key}={','.join(_choices(key, value, groups[key], sweeps))}"
        elif key in script:
            found[key] = f"{key}={_as_value(key, value, script.kind_of(key, choices), sweeps)}"
        elif key in script.nodes():
            chosen = f"{key.replace('.', '/')}=NAME chooses one, " if key.replace(".", "/") in groups else ""
            example = next(
                name for name in script.settings if name.startswith(f"{key}.") and not name.endswith(".kind")
            )
            raise UserError(
                f"{argument}: {key} holds settings and has no value; {chosen}{example}=VALUE sets one of them"
            )
        else:
            raise UserError(f"there is no setting {key}; {nearest(key, [*script.settings, *groups])}")
    if sweeps:
        _check_runs([*found.values()])
    return [*options, *found.values()]


def _split_options(arguments: Sequence[str], script: Script) -> tuple[list[str], list[str]]:
    """Options with their values, and settings."""
    options: list[str] = []
    typed: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            typed.append(argument)
            continue
        name, equals, value = argument.partition("=")
        if name in WITH_VALUE:
            given = value if equals else next(rest, None)
            if given is None:
                raise UserError(f"{name} needs a value: {name} VALUE")
            if name in ("--cfg", "-c") and given not in SHOWN:
                raise UserError(f"{name} {given}: {nearest(given, SHOWN)}")
            if name in ("--package", "-p") and given not in (nodes := script.nodes()):
                raise UserError(f"{name} {given}: there is no such part; {nearest(given, nodes)}")
            options += [name, given]
        elif argument in FLAGS:
            options.append(argument)
        else:
            key = name.lstrip("-").replace("-", "_")
            known = key in script or key in script.groups
            how = (
                f"settings have no dashes: {key}={value or 'VALUE'}" if known else nearest(name, [*FLAGS, *WITH_VALUE])
            )
            raise UserError(f"there is no option {name}; {how}")
    return options, typed


def _key_and_value(argument: str, script: Script) -> tuple[str, str]:
    key, equals, value = argument.partition("=")
    if argument.startswith("~") and "/" not in key:
        raise UserError(f"{argument}: nothing can be taken out of the configuration; give another value instead")
    if not equals:
        how = f"write {key}=VALUE" if key in script or key in script.groups else "settings are written NAME=VALUE"
        raise UserError(f"{argument!r} is no setting; {how}")
    return key.lstrip("+"), value


def _choices(group: str, value: str, known: Sequence[str], sweeps: bool) -> list[str]:
    """The names chosen of a group."""
    names = [_unquoted(part) for part in (_parted(value) if sweeps else [value])]
    for name in names:
        if name not in known:
            raise UserError(f"there is no {group}={name}; {nearest(name, known)}")
    return [name if re.fullmatch(r"\w+", name, re.ASCII) else _quoted(name) for name in names]


def _as_value(key: str, value: str, kind: Kind, sweeps: bool) -> str:
    """A value, or the values of a sweep, in Hydra's grammar."""
    if sweeps and _SWEEP.fullmatch(value) and _readable(f"key={value}"):
        return value
    if kind in (Kind.text, Kind.seeds):
        one: Callable[[str], str] = _text if kind is Kind.text else _seeds
        return ",".join(one(part) for part in (_parted(value) if sweeps else [value]))
    if kind in (Kind.texts, Kind.scalars):
        item = _text if kind is Kind.texts else _value
        lists = _parted(value) if sweeps else [value]
        return ",".join(_list(key, one, item) for one in lists)
    if len(value) > LONGEST_VALUE:
        raise UserError(f"{key} is a value of {len(value)} characters; {LONGEST_VALUE} are the most")
    if not sweeps and len(_parted(value)) > 1:
        raise UserError(f"{key}={value}: this takes one value; -m {key}={value} makes a run of each")
    return _value(value)


def _check_runs(overrides: Sequence[str]) -> None:
    """Refuse a sweep of more runs than anybody waits for: Hydra makes a list of them all before the first."""
    runs = 1.0
    for override in overrides:
        values: Any = OverridesParser.create().parse_override(override).value()
        if isinstance(values, ChoiceSweep):
            runs *= len(values.list)
        elif isinstance(values, RangeSweep) and values.start is not None and values.stop is not None:
            runs *= abs((values.stop - values.start) / (values.step or 1))
        if not runs <= MOST_RUNS:  # also NaN
            raise UserError(f"{override} makes more than {MOST_RUNS} runs of this sweep; take fewer values")


def _text(value: str) -> str:
    if value.lower() == "null":
        return "null"
    text = _unquoted(value)
    return _quoted(at_home(text) if text is value else text)  # quotes keep ~ as it is


def _value(value: str) -> str:
    """A number, switch, name or ramp; what Hydra could not read becomes a text, which the setting then refuses by name."""
    return value if _readable(f"key={value}") else _quoted(value)


def _seeds(value: str) -> str:
    """A list where there are several, with numbers as numbers: so they stand in the record of a figure."""
    parts = [part.strip() for part in _parted(value[1:-1] if _bracketed(value) else value)]
    if len(parts) > 1 and "" in parts:
        raise UserError(f"{value}: a seed is missing before or after a comma; write 5, 0-31, or 0,3,10-12")
    found = [part if re.fullmatch(r"0|[1-9][0-9]{0,9}", part) else _text(part) for part in parts]
    return f"[{','.join(found)}]" if len(found) > 1 or _bracketed(value) else found[0]


def _list(key: str, value: str, item: Callable[[str], str]) -> str:
    if value.lower() == "null":
        raise UserError(f"{key}=null: this is a list; {key}=[] is one of nothing")
    inner = (value[1:-1] if _bracketed(value) else value).strip()
    return f"[{','.join(item(part.strip()) for part in _parted(inner))}]" if inner else "[]"


def _bracketed(value: str) -> bool:
    return len(value) > 1 and value[0] == "[" and value[-1] == "]"


def _parted(value: str) -> list[str]:
    """The parts between commas that stand in no quotes and no brackets."""
    parts, depth, quote = [""], 0, ""
    for position, character in enumerate(value):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and parts[-1].strip(" [{(") == "" and character in value[position + 1 :]:
            quote = character
        elif character in _OPENS:
            depth += 1
        elif character in _CLOSES:
            depth = max(depth - 1, 0)
        elif character == "," and not depth:
            parts.append("")
            continue
        parts[-1] += character
    return parts


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _quoted(text: str) -> str:
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _readable(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except Exception:  # its lexer, its parser, and whatever Python says to a number of 5000 digits
        return False
    return True
