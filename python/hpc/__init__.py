"""hpc: a lattice-based, distributed job system for high-performance computing.

`Client` and what it raises are public. They are imported when they are first used: the command
line and the supervisor import this package too and pay for nothing that they do not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc import errors
from hpc._core import __version__

if TYPE_CHECKING:
    from hpc.client import Client, Job

__all__ = ["Client", "Job", "__version__", "errors"]


def __getattr__(name: str) -> object:
    if name in {"Client", "Job"}:
        from hpc import client  # noqa: PLC0415 - see the module's docstring

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
