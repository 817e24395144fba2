"""A part of a simulation: the environment or the policy, with all that it has started itself.

Each is a process group of its own, so that a line for the shell is ended with what it runs. The
process is reaped at last only: until then its number is nobody else's, and names the group.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping


class Part:
    """A process that runs.

    Args:
        name: What it is.
        argv: Executed directly; a program without a slash is looked up in this process's PATH.
        env: The whole environment.

    Attributes:
        name: As given.
        exit_code: 128 + N where signal N ended it; None until it has ended.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        self.name = name
        self.exit_code: int | None = None
        self._pid = os.posix_spawnp(
            argv[0],
            argv,
            env,
            setpgroup=0,
            setsigmask=[],
            # Python itself ignores these, and a child would inherit that.
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )

    def __str__(self) -> str:
        """Say how it ended."""
        return f"the {self.name} ended with exit code {self.exit_code}"

    def has_ended(self) -> bool:
        """Return whether the process has ended; what it started may go on."""
        if self.exit_code is None:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if (ended := os.waitid(os.P_PID, self._pid, look)) is not None:
                is_exit = ended.si_code == os.CLD_EXITED
                self.exit_code = ended.si_status if is_exit else 128 + ended.si_status
        return self.exit_code is not None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and to what it has started."""
        os.killpg(self._pid, number)

    def close(self) -> None:
        """Kill what is left of it, and reap it; nothing else may be called afterwards."""
        self.signal(signal.SIGKILL)
        os.waitpid(self._pid, 0)
