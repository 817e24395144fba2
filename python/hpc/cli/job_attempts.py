"""`hpc job attempts`: every attempt of a job: which tasks, where, and how each ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from hpc.cli import output, selectors, wording
from hpc.cli.options import HubUrl, Json, client
from hpc.units import show_duration, show_memory

Selector = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id, prefix, name or `last`.", show_default=False),
]

HEADS: Final = ["ATTEMPT", "TASKS", "STATE", "NODE", "ENDED", "STARTED", "TOOK", "MEMORY", "CPU"]


def attempts(job: Selector = None, as_json: Json = False, hub_url: HubUrl = None) -> None:
    """List the attempts of a job; tasks of one that went alike share a row."""
    with client(hub_url) as hub:
        info = selectors.one(hub, job)
    rows = info.get("attempts") or []
    if as_json:
        output.put_json("job.attempts", [output.with_times(row) for row in rows], cursor=hub.cursor)
        return
    spec = wording.limits(info)
    output.put_table(HEADS, (_cells(row, spec) for row in rows))


def _cells(row: Mapping[str, Any], spec: Mapping[str, Any]) -> list[object]:
    """Return one row as it is printed below `HEADS`; of several tasks, of all of them together."""
    ended = {"succeeded": "exit code 0", "failed": wording.ending(row, spec)}
    started: Any = row.get("started_at")
    finished: Any = row.get("finished_at")
    took_s = None if None in (started, finished) else max(finished - started, 0) / 1000
    memory, cpu_s = row.get("peak_memory_bytes"), row.get("cpu_seconds")
    return [
        row["attempt"],
        row["tasks"],
        row["state"],
        row.get("node_id"),
        ended.get(str(row["state"])),
        output.when(started),
        None if took_s is None else show_duration(took_s),
        None if memory is None else show_memory(memory),
        None if cpu_s is None else show_duration(round(cpu_s, 3)),
    ]
