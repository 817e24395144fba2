"""Parts: a Hub, a relay or a monitor as a child process, from its start to its end.

Each has a session of its own, so that a terminal's Ctrl-C reaches only who started it, and gets a
signal from the kernel where that one is gone, however it went. It says one line on stdout when it
is ready.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

READY_S_MAX: Final = 60.0
"""How long a part may take until it says its line."""

ELSEWHERE: Final = ("HPC_TOKEN", "HPC_HUB_URL", "HPC_TLS_SHA256")
"""Environment variables that would send a part to another Hub than the one beside it."""

_PR_SET_PDEATHSIG: Final = 1


def start(
    words: Sequence[str],
    *,
    home: Path,
    stderr: IO[bytes] | None,
    on_orphaned: signal.Signals,
    python: str = sys.executable,
) -> subprocess.Popen[str]:
    """Start `hpc WORDS`.

    Args:
        words: The command and its flags.
        home: Its `$HPC_HOME`.
        stderr: Where it says what it has to say; None is where this process says it.
        on_orphaned: What it gets when the thread that called this is gone.
        python: The interpreter.
    """
    environ = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    return subprocess.Popen(
        [python, "-P", "-m", "hpc", *words],
        # An empty URL goes before the one that the user's settings may have.
        env=environ | {"HPC_HOME": os.fspath(home), "HPC_HUB_URL": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        # Who calls this has one thread, so that nothing can be locked in the child.
        preexec_fn=_orphaned_by(on_orphaned, os.getpid()),  # noqa: PLW1509
        start_new_session=True,
    )


def _orphaned_by(number: signal.Signals, parent: int) -> Callable[[], None]:
    def before_exec() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        for handled in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(handled, signal.SIG_DFL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)  # it has gone before it could be told of

    return before_exec
