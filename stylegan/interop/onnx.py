"""ONNX files: written by torch.onnx, read again and run by onnxruntime."""

import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylegan.errors import UserError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18  # the first that torch's exporter writes: the older, the more programs read it
BATCH = "batch"


def require() -> None:
    """Raise `UserError` where a package is missing that writing and checking ONNX files needs."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs the packages {', '.join(missing)}: pip install 'stylegan[export]' (in a clone: pip install -e "
            "'.[export]'), or write a .pt2, which needs none"
        )


def write(
    program: torch.export.ExportedProgram, path: Path, inputs: Sequence[str], output: str, about: Mapping[str, Any]
) -> None:
    """Write an exported program whose first dimension of every input but scalars is the batch.

    Args:
        program: What to write; its operations must be torch's own.
        path: The file, all weights included.
        inputs: Names of the inputs, in order.
        output: Name of the result.
        about: Goes into the file's metadata: text as it is, anything else as JSON.
    """
    named = {name: {0: BATCH} if name == inputs[0] else None for name in inputs}  # and all others that share its size
    with _without_hints():
        model = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=[output],
            dynamic_shapes=named,
            verbose=False,
        )
    assert model is not None
    for key, value in about.items():
        model.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    model.save(path, external_data=False)


@contextmanager
def _without_hints() -> Iterator[None]:
    """The optimiser tells which constants it leaves as they are; that is no message for whoever exports a network."""
    logger = logging.getLogger("onnxscript.optimizer")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def runner(path: Path) -> Callable[..., Tensor]:
    """An ONNX file of one result as a function of its inputs, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run
