"""Running somebody's code so that it ends, and so that nothing it sets outlasts it."""

import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from IPython import get_ipython

MEMORY = 1 << 29  # Bytes that one attempt may take, beyond what is taken already.
AGAIN = 5e-5  # Seconds until the next interruption, should the code catch the first.
SETTINGS = (  # How to read what code may have set, and how to set it.
    (torch.get_default_device, lambda x: torch.set_default_device(x if x.type != "cpu" else None)),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (sys.getrecursionlimit, sys.setrecursionlimit),
)


class TooLong(BaseException):
    """The time is over; no `except Exception` of the code that is run is to catch this."""


@dataclass(frozen=True)
class Outcome:
    """What a call came to: a value, or the exception that it raised."""

    value: Any = None
    error: BaseException | None = None


def run(seconds: float, function: Callable[..., Any], *arguments: Any) -> Outcome:
    """Call a function and return its outcome, `TooLong` if it takes longer than it may.

    What counts is the time that it works; on a busy machine that may take five times as long.
    It cannot be stopped on Windows, in another thread than the first, or deep in a C function.

    >>> run(1, int, "x").error
    ValueError("invalid literal for int() with base 10: 'x'")
    """
    began, start = thread_time(), perf_counter()
    timed = hasattr(signal, "setitimer")
    timed = timed and threading.current_thread() is threading.main_thread()

    def stop(_: int, frame: Any) -> None:
        if frame.f_code in (run.__code__, stop.__code__):  # It would break what is below.
            return
        worked, passed = thread_time() - began, perf_counter() - start
        if passed / 100 < worked < seconds and passed < 5 * seconds:  # A busy machine.
            signal.setitimer(signal.ITIMER_REAL, max(seconds - worked, 1e-3), AGAIN)
            return
        while frame.f_code is not run.__code__:
            if "importlib" in frame.f_code.co_filename:  # Half a module would stay for good.
                signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
                return
            frame = frame.f_back
        raise TooLong

    try:
        if timed:
            before = signal.signal(signal.SIGALRM, stop)
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
        try:
            return Outcome(function(*arguments))
        finally:
            if timed:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
    except KeyboardInterrupt:  # The learner's own.
        raise
    except BaseException as error:
        return Outcome(error=error)


@contextmanager
def settings_kept() -> Iterator[None]:
    """Put back what code may have set in PyTorch, NumPy and Python."""
    before = [get() for get, _ in SETTINGS]
    try:
        yield
    finally:
        for (get, put), value in zip(SETTINGS, before, strict=True):
            if get() != value:
                put(value)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep random states, warnings and IPython as they are, and the memory within bounds."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one.
    shell = get_ipython()  # Whose `exit` would end the kernel after the cell.
    exits = patch.object(shell, "ask_exit", sys.exit) if shell else nullcontext()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), exits, _memory_limit():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def _memory_limit() -> Iterator[None]:
    """Let huge allocations fail at once, instead of filling the machine; on Linux only."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MEMORY
    if soft == resource.RLIM_INFINITY or soft > limit:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
