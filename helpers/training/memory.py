"""Memory that one training step frees and the next one needs again."""

import ctypes
import platform


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors, for the next step to use.

    Every training step on the CPU makes and frees the same activations. The C library of Linux
    hands blocks that large back to the system at once; asking for them anew costs a page fault,
    and 4 kB of zeros to write, for every 4 kB. Kept, they cost nothing. Results stay the same;
    the process holds its peak of memory until it ends. Returned is whether it is done: only glibc
    can be told so (https://man7.org/linux/man-pages/man3/mallopt.3.html). Elsewhere nothing
    changes, nor does it for tensors on a GPU, whose memory PyTorch keeps.

    >>> keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
    True
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    # Large blocks are to come from the heap as small ones do, and the heap is never to shrink.
    mmap_max, trim_threshold = -4, -1  # The numbers that malloc.h gives the two settings.
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, -1))
