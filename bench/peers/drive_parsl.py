"""Parsl with its HighThroughputExecutor: one block on this machine with two workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import parsl
from bench.machine import descendants
from bench.peers.driver import PoolDriver, nothing, serve
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


class Parsl(PoolDriver):
    """This process is its server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1)
        executor = HighThroughputExecutor(
            max_workers_per_node=2,
            cores_per_worker=1,
            address="127.0.0.1",
            loopback_address="127.0.0.1",
            encrypted=False,
            provider=provider,
        )
        parsl.load(Config(run_dir=str(folder), executors=[executor], usage_tracking=0))
        self.apps: dict[Callable[..., Any], Any] = {}
        self.results([self.call(nothing, n) for n in range(20)])

    def version(self) -> str:
        return f"parsl {version('parsl')}"

    def pids(self) -> list[int]:
        return sorted(descendants([os.getpid()]))

    def close(self) -> None:
        parsl.dfk().cleanup()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        if fn not in self.apps:
            self.apps[fn] = parsl.python_app(fn)
        return self.apps[fn](*args)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return [future.result(110) for future in futures]


if __name__ == "__main__":
    serve(Parsl)
