"""hpc: a lattice-based, distributed job system for high-performance computing.

These names are public. They are imported when they are first used: the command line and the
supervisor import this package too and pay for nothing that they do not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpc import errors
from hpc._core import __version__

if TYPE_CHECKING:
    from hpc.client import Client, Job
    from hpc.client.graph import Graph
    from hpc.executor import BrokenWorker, Executor
    from hpc.launch.local import LocalCluster
    from hpc.waiting import as_completed

__all__ = [
    "BrokenWorker",
    "Client",
    "Executor",
    "Graph",
    "Job",
    "LocalCluster",
    "__version__",
    "as_completed",
    "errors",
]

_MODULES = {
    "BrokenWorker": "hpc.executor",
    "Client": "hpc.client",
    "Executor": "hpc.executor",
    "Graph": "hpc.client.graph",
    "Job": "hpc.client",
    "LocalCluster": "hpc.launch.local",
    "as_completed": "hpc.waiting",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        from importlib import import_module  # noqa: PLC0415 - see the module's docstring

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
