"""Figures of this machine, as the fields of `HardwareStats`.

It measures and keeps nothing but the last reading of the cpu counters. Memory is the cgroup's where
that is smaller than the machine's; cpu usage is the machine's.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from hpc import gpus, machine
from hpc.clock import Clock

_KIB = 1024


class Sampler:
    """Takes samples.

    Args:
        clock: For the uptime.
        disk: A folder on the disk whose free space is reported.
        root: Where traces of a GPU's driver are looked for.
    """

    def __init__(self, clock: Clock, disk: Path, *, root: Path = Path("/")) -> None:
        self._clock = clock
        self._disk = disk
        # Where no driver is, its library is not even imported.
        self._gpus = _gpu_reader() if gpus.has_driver(root) else list
        psutil.cpu_percent()  # the first reading is the base of the first sample

    def sample(self) -> dict[str, Any]:
        """Return the figures now; cpu usage is the mean since the former call."""
        memory = machine.memory()
        figures: dict[str, Any] = {
            "cpu_usage": f"{psutil.cpu_percent():.1f}%",
            "mem_used_kb": memory.used_bytes // _KIB,
            "mem_total_kb": memory.total_bytes // _KIB,
            "load1": round(psutil.getloadavg()[0], 2),
            "cpus": len(machine.allowed_cpus()),
            "uptime_s": self._clock.boottime_ms() // 1000,
        }
        # An optional figure: a disk that cannot be asked must not end the report.
        with contextlib.suppress(OSError):
            figures["disk_free_kb"] = shutil.disk_usage(self._disk).free // _KIB
        if found := self._gpus():
            figures["gpus"] = found
        return figures


def _gpu_reader() -> Callable[[], list[dict[str, Any]]]:
    """Return a reader of the GPUs' figures; of none where nvidia-ml-py or a driver is missing."""
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return list
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return list

    def read() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                device = nvml.nvmlDeviceGetHandleByIndex(index)
                memory = nvml.nvmlDeviceGetMemoryInfo(device)
                name = nvml.nvmlDeviceGetName(device)
                found.append(
                    {
                        "name": name.decode() if isinstance(name, bytes) else name,
                        "usage": f"{nvml.nvmlDeviceGetUtilizationRates(device).gpu}%",
                        "mem_used_kb": memory.used // _KIB,
                        "mem_total_kb": memory.total // _KIB,
                    }
                )
        except nvml.NVMLError:
            return []  # a driver that went away; the other figures still count
        return found

    return read
