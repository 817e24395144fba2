"""Ray: a head on this machine with two CPUs, no dashboard, its reports of use off."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from bench.machine import descendants
from bench.peers.driver import PoolDriver, nothing, serve


class Ray(PoolDriver):
    """Its processes are descendants of this one, which owns the results."""

    def __init__(self, folder: Path) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        super().__init__(folder)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=200 << 20,
            _node_ip_address="127.0.0.1",
        )
        self.remote: dict[Callable[..., Any], Any] = {}
        self.results([self.call(nothing, n) for n in range(20)])

    def version(self) -> str:
        return f"ray {version('ray')}"

    def pids(self) -> list[int]:
        return sorted(descendants([os.getpid()]) - {os.getpid()})

    def close(self) -> None:
        ray.shutdown()

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        if fn not in self.remote:
            self.remote[fn] = ray.remote(fn)
        return self.remote[fn].remote(*args)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return list(ray.get(list(futures)))


if __name__ == "__main__":
    serve(Ray)
