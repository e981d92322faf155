"""Keep freed memory in the process: large temporaries of every op are otherwise mapped, faulted in and unmapped again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's <malloc.h>


def keep_freed_memory() -> bool:
    """Tell glibc's malloc to serve large blocks from its heap and never to give the heap back.

    Page faults are a quarter of an iteration on the CPU otherwise (`tests/bench/bench_allocator.py`). Memory in use is the
    same; memory that was used once stays with the process.

    Returns:
        Whether the C library here understands it; only glibc does.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 64 << 20}
    accepted = [libc.mallopt(key, value) for key, value in settings.items()]
    return all(accepted)
