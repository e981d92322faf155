"""How much memory there is, asked before much of it is: a refusal costs nothing, running out of it a machine."""

import os

from stylegan.errors import UserError


def total_memory() -> int | None:
    """The bytes of this machine's main memory; None where it cannot be asked (not POSIX)."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(needed: float, what: str, mend: str, total: int | None = None) -> None:
    """Refuse what cannot be held by far.

    Args:
        needed: Bytes that it takes at least; infinite where they cannot be counted.
        what: What takes them, as the subject of a sentence in the plural.
        mend: What to do about it.
        total: Bytes that there are, of a GPU; None: this machine's main memory.

    Raises:
        UserError: There is less memory in all.
    """
    there = total_memory() if total is None else total
    if there is not None and needed > there:
        raise UserError(
            f"{what} take {size_told(needed)} of memory at least, and there are {size_told(there)} in all; {mend}"
        )


def check_images(count: float, channels: int, resolution: tuple[int, int], option: str) -> None:
    """Refuse to hold so many images of (H, W) at once, in float32; `option` is what asks for them."""
    H, W = resolution
    needed = count * channels * H * W * 4
    check_memory(needed, f"{count:.15g} images of {W}x{H} at once", f"choose a smaller {option}")


def size_told(count: float) -> str:
    """A number of bytes as people read it."""
    if count >= 2**80:
        return "more bytes than can be counted"
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB" if count < 1000 else f"{count:,.0f} TB"
