"""Memory that holds a token stays this process's own: no core dump has it, and no debugger sees it.

A process that is not dumpable belongs to root under /proc: what is read there of others of hpc's
processes are files that anybody may read. Programs that it executes begin anew, dumpable.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from typing import Final

PR_SET_DUMPABLE: Final = 4

DEBUG: Final = "HPC_DEBUG_DUMPS"
"""Set in the environment, it leaves everything as it is, for who looks for a fault."""


def keep_memory_private() -> None:
    """Write no core dumps, and let no other process of this user read this one's memory."""
    if os.environ.get(DEBUG):
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    with contextlib.suppress(OSError, AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
