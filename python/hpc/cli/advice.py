"""Advice: what to type next for a job that waits for what may not come, or that has failed.

It goes by what the Hub has told of the job, asks for nothing more, and is silent where it could
only guess.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hpc import ranges
from hpc.nearest import did_you_mean

_MIB_OF_A_G: Final = 1024
_LINES: Final = 10
_UNITS_S: Final = (("h", 3600), ("m", 60))
_LINE_BYTES: Final = 256


def of(info: Mapping[str, Any]) -> str | None:
    """Return what helps a job, as the Hub tells it; None where nothing has to."""
    why = info.get("why")
    return of_waiting(str(why), str(info["job_id"])) if why else of_failure(info)


def of_waiting(why: str, job_id: str) -> str | None:
    """Return what helps a job that waits for this reason; None where time does."""
    if match := re.match(r"no relay follows `(\S+)`$", why):
        return f"start one: hpc relay --ns {match[1]}"
    if match := re.match(r"needs \d+ cpus?, the largest relay has ([1-9]\d*)$", why):
        return f"it waits until a relay that fits joins; --cpu {match[1]} would fit now"
    if re.match(r"needs .*, the largest relay", why):
        return f"it waits until a relay that fits joins; node by node: hpc job why {job_id}"
    if re.match(r"every relay of `\S+` is drained$", why):
        return f"the reason, and how to end it: hpc job why {job_id}"
    return None


def of_failure(info: Mapping[str, Any], *, is_shown: bool = False) -> str | None:
    """Return what helps a job that did not succeed; None where nothing has to.

    Args:
        info: The job, as the Hub tells it.
        is_shown: What it wrote was printed already, so that nobody has to be told where it is.
    """
    settled = info.get("settled") or []
    causes = [row.get("cause") for row in settled if row["state"] == "failed"]
    if not causes:
        return _where_it_began(settled)
    advise = _BY_CAUSE.get(causes[0] or "")
    hint = advise(info, info.get("spec") or {}) if advise else None
    is_of_output = causes[0] in _OF_OUTPUT
    return _output(info) if hint is None and is_of_output and not is_shown else hint


def _where_it_began(settled: Sequence[Mapping[str, Any]]) -> str | None:
    """Return how one looks at the job for whose sake others were cancelled."""
    for row in settled:
        if match := re.match(r"job (\S+) did not succeed$", str(row.get("reason"))):
            return f"why not: hpc job info {match[1]}"
    return None


def _more_memory(info: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    limit_mib = (info.get("resources") or {}).get("memory_mib", spec.get("memory"))
    if not isinstance(limit_mib, int):
        return None
    twice = 2 * limit_mib
    whole, rest = divmod(twice, _MIB_OF_A_G)
    amount = f"{whole}G" if not rest else f"{twice}M"
    return f"run it again with more: hpc job retry {info['job_id']} --memory {amount}"


def _more_time(_: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    limit_s = spec.get("time_limit")
    if not isinstance(limit_s, int | float):
        return None
    twice, unit = next(
        ((2 * limit_s / size, unit) for unit, size in _UNITS_S if 2 * limit_s % size == 0),
        (2 * limit_s, "s"),
    )
    return f"submit it again with more: --time-limit {twice:g}{unit}"


def _output(info: Mapping[str, Any]) -> str:
    """Return where the output of what failed is; of an array, that of the first such task."""
    job_id = info["job_id"]
    if str(info.get("tasks", "0")).isdecimal():
        return f"what it wrote last: hpc job log --lines {_LINES} {job_id}"
    failed = next(row for row in info["settled"] if row["state"] == "failed")
    first = next(ranges.spans(str(failed["tasks"]))).start
    return (
        f"which failed: hpc job tasks {job_id} --state failed   "
        f"what one wrote: hpc job log {job_id} --task {first}"
    )


def _not_executed(info: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    """Return what helps a file that the kernel would not execute; None where it did."""
    details = (str(each["detail"]) for each in info.get("attempts") or [] if each.get("detail"))
    detail, command = next(details, ""), str(spec.get("command", ""))
    if _is_here(spec) and "Permission denied" in detail:
        return f"make it executable: chmod +x {command}"
    if "Exec format error" in detail:
        return "a script's first line names what executes it, such as #!/bin/sh"
    return None


def _meant(_: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    command = str(spec.get("command", ""))
    path = str((spec.get("env") or {}).get("PATH", ""))
    if re.search(r"\s", command):
        return "the program's name has a blank in it, maybe by quotes: hpc submit -- python fit.py"
    if "/" in command and _is_here(spec):
        return _of_script(spec)
    if "/" in command or not path:
        return None
    if _is_here(spec):
        return f"it lies in the job's folder, which is not in its PATH: ./{command}"
    return did_you_mean(command, _programs(path)) or f"its PATH is {path}"


def _of_script(spec: Mapping[str, Any]) -> str:
    """Return why a script may be called not found that is there: what is to execute it is not."""
    try:
        with open(_path(spec), "rb") as script:  # noqa: PTH123
            first = script.readline(_LINE_BYTES)
    except OSError:
        first = b""
    if first.endswith(b"\r\n"):
        return f"its lines end as on Windows: sed -i 's/\\r$//' {spec['command']}"
    return "the file is here; its first line names what executes it: is that on the node, too?"


def _is_here(spec: Mapping[str, Any]) -> bool:
    """Return whether this machine has the program's file; the relay's are often the same."""
    return os.path.isfile(_path(spec))  # noqa: PTH113


def _path(spec: Mapping[str, Any]) -> str:
    return os.path.join(str(spec.get("cwd", "")), str(spec.get("command", "")))  # noqa: PTH118


def _programs(path: str) -> Iterator[str]:
    """Yield the names of what this machine has in these folders; the relay's are often the same."""
    for folder in path.split(":"):
        try:
            yield from os.listdir(folder)  # noqa: PTH208 - thousands, of which the names are enough
        except OSError:
            continue


_BY_CAUSE: Final = {
    "exit": _not_executed,
    "oom": _more_memory,
    "time limit": _more_time,
    "not found": _meant,
}
_OF_OUTPUT: Final = frozenset({"exit", "signal"})
"""Causes of which the output tells more; of a limit its last lines are shown (last_lines.py)."""
