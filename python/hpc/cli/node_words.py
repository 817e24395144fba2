"""A node in words and as data: its state, what it runs, what `--json` shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hpc import ranges
from hpc.cli import output

MIB: Final = 1 << 20


def state(row: Mapping[str, Any]) -> str:
    """Return `up`, `up, drained`, `unreachable` or `left`."""
    return f"{row['state']}, drained" if row.get("drained") else str(row["state"])


def deadline(row: Mapping[str, Any]) -> str | None:
    """Return when a drained node gives back what it runs, or None where it is left to end."""
    return output.when(row.get("drain_deadline"))


def runs(row: Mapping[str, Any]) -> str:
    """Return `runs nothing` or `runs 3 tasks`, and until when where it is drained."""
    tasks = sum(ranges.count(str(lease["tasks"])) for lease in row.get("leases") or [])
    if not tasks:
        return "runs nothing"
    text = "runs 1 task" if tasks == 1 else f"runs {tasks} tasks"
    until = deadline(row)
    return text if until is None else f"{text} until {until}"


def as_data(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node as `--json` shows it: times in RFC 3339, memory in bytes."""
    data = output.with_times(row)
    if "drain_deadline" in row:
        data["drain_deadline"] = deadline(row)
    for field in ("resources", "used"):
        amounts = dict(row.get(field) or {})
        if "memory_mib" in amounts:
            amounts["memory_bytes"] = amounts.pop("memory_mib") * MIB
        data[field] = amounts
    return data
