"""The allocator of the C library, told to keep what is freed.

glibc maps large blocks afresh at every allocation and gives them back at once, so that each of an iteration's large
tensors costs a page fault for every 4 KiB. Kept in the process, the pages are there already.
"""

import ctypes
import platform

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
