"""What an executor fails with by itself, beside what its calls raise."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from hpc.errors import HpcError


class BrokenWorker(HpcError, BrokenExecutor):
    """A worker ended while it had a call, or an executor has no workers any more.

    As `concurrent.futures.process.BrokenProcessPool`, a `BrokenExecutor`; but where a call ends its
    own process, only that call fails, and the executor goes on.
    """

    default_code = "broken_worker"


class Shut(HpcError, RuntimeError):
    """A call that came after the executor's shutdown; nothing was sent."""

    default_code = "shut_down"
