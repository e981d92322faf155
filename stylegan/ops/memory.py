"""The allocator of the C library, told to keep what is freed; and how much memory a process has held.

glibc maps large blocks afresh at every allocation and gives them back at once, so that each of an iteration's large
tensors costs a page fault for every 4 KiB. Kept in the process, the pages are there already.
"""

import ctypes
import platform
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of asking for new pages; its peak stays with it.

    Returns:
        Whether the C library is glibc and has accepted it; elsewhere nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, 64 << 20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def peak_host_gib() -> float:
    """The most of the machine's memory that this process has held, in GiB; NaN where the system is not POSIX."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20  # bytes on macOS, KiB on Linux
