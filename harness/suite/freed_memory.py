"""Returns the memory of large values to the system as soon as they are freed.

glibc takes blocks from 128 KiB on directly from the system, and returns them. But the first large block that is freed
raises this size to its own, up to 32 MiB (mallopt(3), M_MMAP_THRESHOLD). From then on buffers of responses come from
its heap, which stays at its largest: a small value at its end keeps all of it. With hostile responses two thirds of the
heap were free, and yet in memory. A size that is set is never raised.
"""

from __future__ import annotations

import ctypes
import sys

LARGE_BYTES = 256 * 1024

_M_MMAP_THRESHOLD = -3  # malloc.h


def return_freed_memory() -> bool:
    """Keep blocks of LARGE_BYTES out of the heap, in this process. Returns whether its C library has that setting."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES))
