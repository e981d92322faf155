"""Exported networks, run by the programs that their users have: onnxruntime, and torch without this project."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from stylegan import run_dir
from stylegan.errors import UserError
from stylegan.files import sha256
from stylegan.interop import export
from stylegan.interop.export import ExportOptions, export_network
from stylegan.interop.provenance import DIGITAL_SOURCE_TYPE
from stylegan.interop.snapshot import read_snapshot
from stylegan.interop.snapshot_writer import save_snapshot
from stylegan.models.build import GENERATORS
from stylegan.models.generator import StyleBased
from stylegan.models.layers import Architecture, Precision
from stylegan.models.mapping import MappingConfig
from stylegan.models.stylegan2 import StyleGAN2Config
from stylegan.models.stylegan3 import StyleGAN3Config
from tests.integration.test_evaluate import stylegan
from tests.unit.without_w import WithoutWConfig

PROVENANCE = {"data": {"name": "heads", "licence": "CC0-1.0"}, "nimg": 4000}
TINY: dict[str, Any] = {"z_dim": 8, "w_dim": 6, "channel_max": 8, "mapping": MappingConfig(num_layers=2)}
# Each as hard to export as it can be; the first has weights per image, in another format.
NETWORKS = {
    "fused": (StyleGAN2Config(**TINY, channel_base=64, fused_modconv=True, precision=Precision.bf16), (4, 8), 0),
    "resnet": (StyleGAN2Config(**TINY, channel_base=64, architecture=Architecture.resnet), (4, 8), 3),
    "stylegan3": (StyleGAN3Config(**TINY, channel_base=128, num_layers=2, num_critical=1, margin_size=2), (16, 16), 3),
}


def network(name: str) -> StyleBased:
    """A generator of which every parameter and buffer counts."""
    config, resolution, c_dim = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G = config.build(resolution=resolution, channels=3, c_dim=c_dim)
        for key, parameter in G.named_parameters():
            if key.endswith(("bias", "noise_strength")):
                parameter.data += 0.5 * torch.randn(parameter.shape)
        G.mapping.w_avg.normal_()
    return G.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots of the networks by name."""
    folder = tmp_path_factory.mktemp("export")
    for name in NETWORKS:
        save_snapshot(folder / f"{name}.safetensors", network(name), provenance=PROVENANCE)
    return folder


def exported(source: Path, out: Path, **options: Any) -> list[export.Exported]:
    return list(export_network(source, read_snapshot(source), out, ExportOptions(**options)))


def in_onnxruntime(path: Path) -> Callable[..., Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(**inputs: Tensor | float) -> Tensor:
        return torch.from_numpy(
            session.run(None, {name: np.asarray(value, dtype=np.float32) for name, value in inputs.items()})[0]
        )

    return run


def interface(path: Path) -> dict[str, list[Any]]:
    """Names and shapes of what a valid ONNX file takes and returns; it must consist of standard operations."""
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert [item.domain for item in model.opset_import] == [""] and not model.functions
    return {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


def agrees(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and (found - expected).abs().max().item() <= 1e-4


def test_onnx_as_one_model(folder: Path, tmp_path: Path) -> None:
    source = folder / "fused.safetensors"
    (file,) = exported(source, tmp_path / "a.onnx", licence="cc-by-4.0")
    assert file.path == tmp_path / "a.onnx" and file.error <= 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"], "all in one file"
    assert interface(file.path) == {"z": ["batch", 8], "psi": [], "image": ["batch", 3, 4, 8]}
    G, run = network("fused"), in_onnxruntime(file.path)
    G.set_precision(Precision.fp32)
    for batch in (1, 5):
        z = torch.randn(batch, 8)
        for psi in (1.0, 0.5):
            image = run(z=z, psi=psi)
            assert agrees(image, G(z, truncation_psi=psi, noise_mode="const"))
            assert not agrees(image, G(z, truncation_psi=psi, noise_mode="none"))
        assert not agrees(run(z=z, psi=1.0), run(z=z, psi=0.5))
    props = {item.key: item.value for item in onnx.load(str(file.path)).metadata_props}
    assert props["network_sha256"] == sha256(source) and props["licence"] == "cc-by-4.0"
    assert json.loads(props["model"]) == read_snapshot(source).metadata["model"]
    assert json.loads(props["provenance"]) == PROVENANCE and props["data_licence"] == "CC0-1.0"
    assert json.loads(props["settings"]) == {"noise_mode": "const", "precision": "fp32", "truncation_cutoff": None}
    assert props["digital_source_type"] == DIGITAL_SOURCE_TYPE
    assert list(json.loads(props["inputs"])) == ["psi", "z"] and list(json.loads(props["outputs"])) == ["image"]


def test_onnx_as_mapping_and_synthesis(folder: Path, tmp_path: Path) -> None:
    files = exported(folder / "stylegan3.safetensors", tmp_path / "a.onnx", split=True, truncation_cutoff=2)
    assert [file.path.name for file in files] == ["a-mapping.onnx", "a-synthesis.onnx"]
    G = network("stylegan3")
    ws_shape = ["batch", G.num_ws, 6]
    assert interface(files[0].path) == {"z": ["batch", 8], "psi": [], "c": ["batch", 3], "ws": ws_shape}
    assert interface(files[1].path) == {"ws": ws_shape, "image": ["batch", 3, 16, 16]}
    mapping, synthesis = (in_onnxruntime(file.path) for file in files)
    for batch in (1, 4):
        z, c = torch.randn(batch, 8), torch.eye(3)[torch.arange(batch) % 3]
        ws = mapping(z=z, psi=0.5, c=c)
        assert agrees(ws, G.mapping(z, c, 0.5, 2))
        ws = ws + torch.randn(ws.shape)
        assert agrees(synthesis(ws=ws), G.synthesis(ws)) and G.synthesis(ws).std() > 0.01


PLAIN_SCRIPT = """
import json, sys, torch
sys.modules["stylegan"] = None  # not even there
extra = {"stylegan.json": ""}
program = torch.export.load("a.pt2", extra_files=extra)
used = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
assert not [name for name in used if "stylegan" in name], used
inputs = torch.load("inputs.pt")
network = program.module()
torch.save([network(*given) for given in inputs], "images.pt")
print(extra["stylegan.json"])
"""


def test_torch_export_runs_without_this_project(folder: Path, tmp_path: Path) -> None:
    exported(folder / "resnet.safetensors", tmp_path / "a.pt2", noise_mode="none")
    G, classes = network("resnet"), torch.eye(3)
    inputs = [(torch.randn(n, 8), torch.tensor(0.7), classes[torch.arange(n) % 3]) for n in (1, 4)]
    torch.save(inputs, tmp_path / "inputs.pt")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PLAIN_SCRIPT]
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for (z, _, c), image in zip(inputs, torch.load(tmp_path / "images.pt"), strict=True):
        assert agrees(image, G(z, c, truncation_psi=0.7, noise_mode="none"))
    about = json.loads(result.stdout)
    assert about["network_sha256"] == sha256(folder / "resnet.safetensors") and about["licence"] is None
    assert about["provenance"] == PROVENANCE and list(about["inputs"]) == ["c", "psi", "z"]


@pytest.mark.parametrize("c_dim", [0, 3])
def test_a_network_without_w_takes_no_psi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, c_dim: int) -> None:
    monkeypatch.setitem(GENERATORS, WithoutWConfig.kind, WithoutWConfig)
    source = tmp_path / "a.safetensors"
    G = WithoutWConfig().build(resolution=(8, 4), channels=3, c_dim=c_dim)
    save_snapshot(source, G, provenance=PROVENANCE)
    for options, message in (
        ({"split": True}, "--split needs a network with w; without_w has none: write one file"),
        ({"truncation_cutoff": 1}, "--truncation-cutoff needs a network with w; without_w has none: leave it out"),
    ):
        with pytest.raises(UserError, match=message):
            exported(source, tmp_path / "b.pt2", **options)
    (file,) = exported(source, tmp_path / "a.onnx")
    label = {"c": ["batch", 3]} if c_dim else {}
    assert interface(file.path) == {"z": ["batch", 8], **label, "image": ["batch", 3, 8, 4]}
    exported(source, tmp_path / "a.pt2")
    for batch in (1, 5):
        given = {"z": torch.randn(batch, 8), **({"c": torch.eye(3)[torch.arange(batch) % 3]} if c_dim else {})}
        image = G(**given)
        assert agrees(in_onnxruntime(file.path)(**given), image) and image.std() > 0.01
        assert agrees(torch.export.load(tmp_path / "a.pt2").module()(*given.values()), image)


def test_what_differs_from_the_network_is_not_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = torch.export.load

    def off(path: Path) -> SimpleNamespace:
        run = honest(path).module()
        return SimpleNamespace(module=lambda: lambda *inputs: run(*inputs) + 2e-4)

    monkeypatch.setattr(torch.export, "load", off)
    (tmp_path / "a-mapping.pt2").write_text("before")
    with pytest.raises(UserError, match=r"exported mapping differs from the network by 0\.0002, more than 0\.000"):
        exported(folder / "fused.safetensors", tmp_path / "a.pt2", split=True, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a-mapping.pt2"]
    assert (tmp_path / "a-mapping.pt2").read_text() == "before"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.onx"], ".onnx (ONNX) or .pt2"),
        (["there.onnx"], "there.onnx exists already"),
        (["there.onnx", "--split"], "there-synthesis.onnx exists already"),
        (["folder.pt2"], "folder.pt2 is a folder"),
        (["file/a.pt2"], "cannot write file/a.pt2"),
        (["a.onnx", "--noise", "random"], "--noise random: there are: const, none"),
        (["a.onnx", "--truncation-cutoff", "99"], "--truncation-cutoff 99: this network takes 0 to 4"),
    ],
)
def test_bad_input(
    arguments: list[str],
    says: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("file", "there.onnx", "there-synthesis.onnx"):
        Path(name).touch()
    Path("folder.pt2").mkdir()
    before = sorted(tmp_path.rglob("*"))
    source = str(folder / "fused.safetensors")
    result = stylegan("export", source, *arguments, capsys=capsys, monkeypatch=monkeypatch)
    assert (result.code, result.out) == (2, "") and says in result.err, result.err
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_without_a_snapshot_and_missing_packages(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("run", run_dir.CONFIG).touch()
    result = stylegan("export", "run", "a.onnx", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and "this run has no snapshot yet" in result.err
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    source = str(folder / "fused.safetensors")
    result = stylegan("export", source, "a.onnx", capsys=capsys, monkeypatch=monkeypatch)
    assert result.code == 2 and "needs the packages onnxscript: pip install 'stylegan[export]'" in result.err


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_a_full_disk_is_told_like_any_other(folder: Path, tmp_path: Path, suffix: str) -> None:
    """A limit of the size of files stands in for the disk; a process that torch ends has another exit code."""
    source, out = folder / "stylegan3.safetensors", tmp_path / f"out{suffix}"
    code = "import resource, stylegan.cli; resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)); stylegan.cli.main()"
    command = [sys.executable, "-c", code, "export", str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: cannot write {out}: File too large") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
