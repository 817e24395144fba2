"""`GET /metrics`: the figures that somebody who keeps a Hub running looks at, as OpenMetrics text.

They are what `GET /healthz?full=true` says, by other names. Counters count since the start of the
process, as monitoring systems expect; what is known of jobs and nodes is a gauge.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

CONTENT_TYPE: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"

_GAUGES: Final = {
    "hpc_jobs": ("jobs", "Jobs by state."),
    "hpc_tasks": ("tasks", "Tasks by state."),
    "hpc_nodes": ("nodes", "Nodes by state."),
}
_COUNTERS: Final = {
    "hpc_requests": ("requests", "Requests that were put to the engine."),
    "hpc_turns": ("turns", "Turns of the Hub."),
    "hpc_commits": ("commits", "Commits to the log; each is an fsync."),
    "hpc_output_syncs": ("output_syncs", "Syncs of the output of tasks."),
    "hpc_turned_away": ("turned_away", "Connections that were closed for where they came from."),
}
_REFUSED: Final = ("unauthorized", "forbidden")


def render(figures: Mapping[str, Any]) -> bytes:
    """Return the text.

    Args:
        figures: What `GET /healthz?full=true` answers.
    """
    return ("\n".join([*_lines(figures), "# EOF"]) + "\n").encode()


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from _family("hpc_hub", "info", "The log that this Hub keeps.")
    yield f'hpc_hub_info{{hub="{figures["hub"]}"}} 1'
    yield from _gauge("hpc_log_seq", "Seq of the last durable event.", figures.get("cursor", 0))
    yield from _gauge("hpc_requests_open", "Requests without an answer.", figures.get("open", 0))
    damaged = len(figures.get("damaged", ()))
    yield from _gauge("hpc_damaged_batches", "Batches of the log that are set aside.", damaged)
    free = figures.get("free_bytes", 0)
    yield from _gauge("hpc_free_bytes", "Free on the disk of the log.", free)
    least = figures.get("min_free_bytes", 0)
    yield from _gauge("hpc_min_free_bytes", "Below so many, submits are refused.", least)
    totals: Mapping[str, Mapping[str, int]] = figures.get("totals", {})
    for name, (of, about) in _GAUGES.items():
        yield from _family(name, "gauge", about)
        for state, count in totals.get(of, {}).items():
            if state != "drained":  # they are up, and were counted
                yield f'{name}{{state="{state}"}} {count}'
    drained = totals.get("nodes", {}).get("drained", 0)
    yield from _gauge("hpc_nodes_drained", "Nodes that are up and drained.", drained)
    for name, (of, about) in _COUNTERS.items():
        yield from _family(name, "counter", about)
        yield f"{name}_total {figures.get(of, 0)}"
    yield from _family("hpc_refused", "counter", "Requests refused for want of a token or a role.")
    for code in _REFUSED:
        yield f'hpc_refused_total{{code="{code}"}} {figures.get(code, 0)}'
    failed = figures.get("callbacks", {}).get("failed", 0)
    yield from _family("hpc_callbacks_failed", "counter", "Calls of callbacks that did not arrive.")
    yield f"hpc_callbacks_failed_total {failed}"
    yield from _process()


def _process() -> Iterator[str]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    yield from _family("process_cpu_seconds", "counter", "CPU time of the Hub, in seconds.")
    yield f"process_cpu_seconds_total {cpu_s:.3f}"
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    size = pages * resource.getpagesize()
    yield from _gauge("process_resident_memory_bytes", "Memory of the Hub, in bytes.", size)
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    yield from _gauge("process_open_fds", "Its open file descriptors.", descriptors)


def _gauge(name: str, about: str, value: int) -> Iterator[str]:
    yield from _family(name, "gauge", about)
    yield f"{name} {value}"


def _family(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    yield f"# HELP {name} {about}"
