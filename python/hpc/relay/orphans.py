"""The second net under the supervisor: if it dies, the relay inherits its children and ends them.

The supervisor is its children's subreaper, the relay is the supervisor's. Called only when the
supervisor is gone; otherwise no process but the supervisor ends tasks.
"""

from __future__ import annotations

import ctypes
import os

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS_MAX = 100
_ROUND_S = 0.1


def become_subreaper() -> None:
    """Inherit orphaned descendants instead of losing them to process 1.

    Raises:
        OSError: The kernel refused; nothing was changed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def end_descendants() -> bool:
    """Kill every descendant of this process, also those that are made meanwhile.

    Processes are told apart by pid and start time. Blocks for at most 10 s.

    Returns:
        Whether none is left.
    """
    myself = psutil.Process()
    for _ in range(_ROUNDS_MAX):
        children = myself.children(recursive=True)
        if not children:
            return True
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(children, timeout=_ROUND_S)
    return not myself.children(recursive=True)
