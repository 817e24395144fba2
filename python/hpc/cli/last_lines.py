"""What a job wrote last that was ended from outside: it could not say itself why.

It is asked for where one job is looked at that came to a limit; of others nothing is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hpc import ranges
from hpc.client import Client
from hpc.errors import HpcError

COUNT: Final = 10
"""Of each stream."""

_BYTES: Final = 8 << 10
"""What is asked for of each stream; longer lines are cut at their beginning."""

_LIMITS: Final = frozenset({"oom", "time limit", "output limit"})


def of_failure(hub: Client, info: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return by stream the last lines of a job of one task that came to a limit.

    Of any other, and where its output is not kept, nothing.
    """
    causes = {row.get("cause") for row in info.get("settled") or [] if row["state"] == "failed"}
    if not causes & _LIMITS or ranges.count(str(info.get("tasks", "0"))) > 1:
        return {}
    found = {stream: _last(hub, str(info["job_id"]), stream) for stream in ("stdout", "stderr")}
    return {stream: lines for stream, lines in found.items() if lines}


def _last(hub: Client, job_id: str, stream: str) -> list[str]:
    try:
        with hub.log(job_id, stream=stream, last=_BYTES) as pieces:
            return b"".join(pieces).decode(errors="replace").splitlines()[-COUNT:]
    except HpcError:
        return []
