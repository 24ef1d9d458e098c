"""Where to compute, and what this machine is told about memory."""

import ctypes
import os
import platform

import torch


def pick_device() -> torch.device:
    """Choose the accelerator, such as cuda or mps, if any, else cpu; `$CARDS_DEVICE` overrides.

    Raises:
        ValueError: if `$CARDS_DEVICE` names a device this machine does not have.

    >>> isinstance(pick_device(), torch.device)
    True
    """
    if wanted := os.environ.get("CARDS_DEVICE"):
        try:
            torch.zeros(1, device=wanted)
        except (RuntimeError, AssertionError) as error:
            found = f"$CARDS_DEVICE is {wanted!r}, which PyTorch cannot use here"
            raise ValueError(f"{found}; set it to cpu or cuda, or unset it ({error})") from error
        return torch.device(wanted)
    available = torch.accelerator.is_available()
    return torch.accelerator.current_accelerator() if available else torch.device("cpu")


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
