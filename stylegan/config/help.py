"""The pages of `--help`, made from the documentation of the dataclasses' fields."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

TRAIN_HELP = """Train a style-based GAN.

  python train.py                                            a demo on rendered faces, on any machine
  python train.py experiment=NAME data.path=images.zip       a recipe on your images (stylegan prepare makes the archive)
  python train.py run_dir=runs/NAME                          go on exactly where that run stopped
  python train.py -m seed=0,1,2                              one run per value
  python train.py --cfg job                                  print the configuration and stop
  torchrun --standalone --nproc-per-node=N train.py ...      N processes or GPUs

[or a ramp]: a setting that may change in the training: '{start: 1, end: 0, kimg: 100, shape: linear}' (or cosine)."""


GENERATE_HELP = """Make a picture from a trained network.

  python generate.py network=runs/demo seeds=0-31 out=grid.png
  python generate.py network=demo figure=images seeds=0-3,7 out=faces truncation_psi=0.7
  python generate.py figure=NAME --help                      the options of a figure"""


def help_page(
    app: str,
    header: str,
    root: Any,
    choices: Mapping[str, Mapping[str, type[Any]]],
    files: Mapping[str, Sequence[str]] | None = None,
    brief: Sequence[str] = (),
) -> dict[str, str]:
    """A help page for Hydra's `--help`, made from the documentation of the dataclasses' fields.

    Args:
        app: The script.
        header: What the page begins with.
        root: The script's configuration with its defaults.
        choices: Tables by Hydra's group, such as `model/G`: all that may stand in that place is listed with its options.
        files: Names of the YAML files that may be chosen, by group.
        brief: Groups of which only the names are listed; a choice's own page has its options.
    """
    settings = "\n".join(f"  {name:<34}  {text}".rstrip() for name, text in _field_help(root, choices, brief=brief))
    page = f"{header}\n\nSettings (name=value), with what they are when not given:\n\n{settings}"
    listed = "\n".join(
        f"{group}: {', '.join(sorted(names))}" for group, names in sorted({**choices, **(files or {})}.items())
    )
    page += f"\n\nRecipes and other groups (group=name):\n\n{listed}\n"
    return {"app_name": app, "header": "", "footer": "", "template": page.replace("$", "$$")}


def _field_help(
    config: Any, choices: Mapping[str, Mapping[str, type[Any]]], prefix: str = "", brief: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    for item in dataclasses.fields(config):
        value, key = getattr(config, item.name), f"{prefix}{item.name}"
        group = key.replace(".", "/")
        if group in choices:
            for name, kind in choices[group].items():
                yield f"{group}={name}", (kind.__doc__ or "").splitlines()[0]
                if group not in brief:
                    yield from ((f"  {option}", text) for option, text in _field_help(kind(), choices, f"{key}."))
        elif dataclasses.is_dataclass(value):
            yield from _field_help(value, choices, f"{key}.")
        else:
            yield f"{key}={'null' if value is None else shown(value)}", item.metadata.get("help", "")


def shown(value: Any) -> Any:
    """A value as one types it, also in a shell."""
    if isinstance(value, list):
        return f"[{','.join(str(shown(item)) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    return value.name if isinstance(value, Enum) else value


def choice_page(app: str, group: str, name: str, kind: type[Any]) -> dict[str, str]:
    """The help page of one choice of a group: what it is, and its options."""
    options = "\n".join(f"  {option:<34}  {text}".rstrip() for option, text in _field_help(kind(), {}, f"{group}."))
    text = (inspect.getdoc(kind) or "").partition("\n\nExample:")[0]
    page = f"{group}={name}: {text}\n\nOptions (name=value), with what they are when not given:\n\n{options}\n"
    page += f"\n{app} --help lists the settings of all.\n"
    return {"app_name": app, "header": "", "footer": "", "template": page.replace("$", "$$")}
