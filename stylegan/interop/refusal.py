"""What is wrong with a file that cannot be read as a snapshot: what it is instead, as far as its first bytes tell."""

from pathlib import Path

from stylegan.errors import shown

_CONVERT = (
    "if it holds a published network, `stylegan convert FILE NAME.safetensors` makes one of it, and runs nothing in it"
)
_READABLE = "what is read are .safetensors snapshots, the folders of runs, and published .pkl and .pt files"


def why_no_snapshot(path: Path, error: Exception) -> str:
    """A message for the user.

    Args:
        path: The file.
        error: What safetensors says of it.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as problem:
        return f"cannot read the network file {path}: {problem.strerror}; {_READABLE}"
    if head[8:] == b"{":  # as safetensors files begin: the header's length in 8 bytes, then JSON
        return f"{path} is damaged ({shown(error, 200)}); copy or download it again"
    if not head:
        what = f"is empty; {_READABLE}"
    elif head.startswith(b"PK\x03\x04"):
        what = f"is a PyTorch checkpoint (or another zip file), no snapshot; {_CONVERT}"
    elif head[:1] == b"\x80" and head[1:2] <= b"\x05":
        what = f"is a Python pickle, no snapshot; {_CONVERT}"
    else:
        what = f"is not a safetensors file, or its beginning is damaged; {_READABLE}"
    return f"{path} {what}"
