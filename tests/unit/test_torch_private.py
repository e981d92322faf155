"""What is private in torch is used in one file alone (stylegan/ops/torch_private.py), which names also what C++ uses."""

import ast
import os
import re
from pathlib import Path

import pytest

from stylegan.ops import torch_private

PLACE = Path(torch_private.__file__)
PACKAGE = PLACE.parents[1]


def private(path: Path) -> list[str]:
    """Uses of private names of other packages: every `a._b` but those of `self`, `cls` and our own modules and records."""
    tree = ast.parse(path.read_text())
    ours, found = {"self", "cls"}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] == "stylegan":
                ours |= {alias.asname or alias.name for alias in node.names}
            else:
                names = [f"{module}.{alias.name}" for alias in node.names]
                found += [
                    name for name in names if is_private(name) or name == "torch.utils.flop_counter.flop_registry"
                ]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if is_private(alias.name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            whose = node.value
            if not (isinstance(whose, ast.Name) and whose.id in ours):
                found.append(ast.unparse(node))
    return found


def is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def test_private_parts_of_torch_are_used_in_one_file():
    found = {str(path.relative_to(PACKAGE)): private(path) for path in PACKAGE.rglob("*.py") if path != PLACE}
    assert len(found) > 100
    assert {path: names for path, names in found.items() if names} == {}


def test_the_search_finds_all_of_that_file():
    found = private(PLACE)
    assert {"torch._library.custom_ops", "torch.utils._pytree", "torch._C._will_engine_execute_node"} <= set(found)
    assert {"torch._fused_adam_", "torch.library._scoped_library", "op._opoverload", "storage._cdata"} <= set(found)


def test_the_file_names_what_cpp_uses():
    pattern = re.compile(r"\b(?:at|c10|torch)::(?:native::|detail::|_)\w+")
    used = {name for path in PLACE.with_name("csrc").iterdir() for name in pattern.findall(path.read_text())}
    assert used == set(re.findall(r"`(at::\w+)`", torch_private.__doc__ or ""))


def test_chatter_leaves_standard_output_alone(capfd: pytest.CaptureFixture[str]):
    print("before")
    with torch_private.chatter_on_stderr():
        os.write(1, b"from C++\n")
    print("after")
    out, err = capfd.readouterr()
    assert (out, err) == ("before\nafter\n", "from C++\n")
