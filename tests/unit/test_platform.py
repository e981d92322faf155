"""What only POSIX has is asked for, not assumed: everything can be imported where it is missing, as on Windows."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, math, os, pathlib, pkgutil, signal, sys
import filelock, hydra, lmdb, onnx, rich.progress, safetensors.torch, torch, torchvision, typer
import torch.utils.data, torch.utils.tensorboard
import stylegan
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None  # an import raises ImportError
for name in ("geteuid", "getuid", "mkfifo", "sched_getaffinity", "sysconf", "O_NOFOLLOW", "O_NONBLOCK", "fork"):
    delattr(os, name)
for name in ("SIGHUP", "SIGALRM", "SIGKILL"):
    delattr(signal, name)
names = [module.name for module in pkgutil.walk_packages(stylegan.__path__, "stylegan.")]
for name in names:
    importlib.import_module(name)
assert len(names) > 100

from stylegan.files import atomic_write, open_below
from stylegan.ops.memory import peak_host_gib
from stylegan.ops.ownership import require_ours
here = pathlib.Path(sys.argv[1])
require_ours(here, here)
atomic_write(here / "a", "text")
with open_below(here, "b/c", "w") as file:
    file.write("text")
assert math.isnan(peak_host_gib())
"""


def test_windows_lacks_nothing_that_is_assumed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
