"""A node in words and as data: its state, what it runs, what `--json` shows of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from hpc import ranges
from hpc.cli import output
from hpc.cli.reasons import Said
from hpc.errors import NotFound
from hpc.nearest import did_you_mean

MIB: Final = 1 << 20
GONE_SHOWN_MS: Final = 86_400_000
"""A node that is gone for longer is listed only where all are asked for."""

_KNOWN_MAX: Final = 20


def state(row: Mapping[str, Any], lost: Said | None = None) -> str:
    """Return `up`, `unreachable` or `left`, with `drained` and `draining` where it is.

    With `lost` it is one that somebody has given up: `lost`.
    """
    words = [
        str(row["state"]) if lost is None else "lost",
        *(word for word in ("drained", "draining") if row.get(word)),
    ]
    return ", ".join(words)


def unknown(node: str, known: Collection[str]) -> NotFound:
    """Return the error of a node that the Hub does not know, and which one may have been meant."""
    shown = ", ".join(islice(known, _KNOWN_MAX)) + (", …" if len(known) > _KNOWN_MAX else "")
    return NotFound(
        f"Node `{node}` is not known\n  known: {shown or 'none'}",
        hint=did_you_mean(node, known) or "hpc node list",
    )


def deadline(row: Mapping[str, Any]) -> str | None:
    """Return when a drained node gives back what it runs, or None where it is left to end."""
    return output.when(row.get("drain_deadline"))


def recent(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out nodes that have been gone for more than a day and hold nothing."""
    # Imported here: the other commands of this noun look at no clock.
    import time  # noqa: PLC0415

    since = time.time_ns() // 1_000_000 - GONE_SHOWN_MS
    return [row for row in rows if row.get("leases") or (row.get("gone_at") or since) >= since]


def runs_now(row: Mapping[str, Any]) -> str:
    """Return how many tasks run, and how many more are leased ahead: `2`, or `2 +10 ahead`."""
    more = row.get("ahead") or 0
    return f"{_leased(row) - more} +{more} ahead" if more else str(_leased(row))


def ahead(row: Mapping[str, Any]) -> str | None:
    """Return what is leased ahead in words, or None where nothing is."""
    more = row.get("ahead") or 0
    tasks = "1 task" if more == 1 else f"{more} tasks"
    return f"{tasks} of these; each starts as another ends" if more else None


def _leased(row: Mapping[str, Any]) -> int:
    return sum(ranges.count(str(lease["tasks"])) for lease in row.get("leases") or [])


def runs(row: Mapping[str, Any]) -> str:
    """Return `runs nothing` or `runs 3 tasks`, and until when where it is drained."""
    tasks = _leased(row)
    if not tasks:
        return "runs nothing"
    text = "runs 1 task" if tasks == 1 else f"runs {tasks} tasks"
    until = deadline(row)
    return text if until is None else f"{text} until {until}"


def as_data(
    row: Mapping[str, Any], drain: Said | None = None, lost: Said | None = None
) -> dict[str, Any]:
    """Return a node as `--json` shows it: times in RFC 3339, memory in bytes.

    And why it is drained, and why it was given up.
    """
    data = output.with_times(row)
    if lost is not None:
        data["lost"] = lost.as_data()
    if drain is not None:
        data["drain"] = {**drain.as_data(), "by_relay": drain.by_relay}
    if "drain_deadline" in row:
        data["drain_deadline"] = deadline(row)
    for field in ("resources", "used"):
        amounts = dict(row.get(field) or {})
        if "memory_mib" in amounts:
            amounts["memory_bytes"] = amounts.pop("memory_mib") * MIB
        data[field] = amounts
    return data
