"""Advice: what to type next for a job that waits for what may not come, or that has failed.

It goes by what the Hub has told of the job, asks for nothing more, and is silent where it could
only guess.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hpc.nearest import did_you_mean

_MIB_OF_A_G: Final = 1024
_UNITS_S: Final = (("h", 3600), ("m", 60))


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


def of_failure(info: Mapping[str, Any]) -> str | None:
    """Return what helps a job that has failed; None where its output alone can say."""
    causes = [row.get("cause") for row in info.get("settled") or [] if row["state"] == "failed"]
    advise = _BY_CAUSE.get(causes[0] or "") if causes else None
    return advise(info, info.get("spec") or {}) if advise else None


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


def _meant(_: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    command = str(spec.get("command", ""))
    path = str((spec.get("env") or {}).get("PATH", ""))
    if re.search(r"\s", command):
        return "the program's name has a blank in it, maybe by quotes: hpc submit -- python fit.py"
    if "/" in command or not path:
        return None
    if os.path.isfile(os.path.join(str(spec.get("cwd", "")), command)):  # noqa: PTH113, PTH118
        return f"it lies in the job's folder, which is not in its PATH: ./{command}"
    return did_you_mean(command, _programs(path)) or f"its PATH is {path}"


def _programs(path: str) -> Iterator[str]:
    """Yield the names of what this machine has in these folders; the relay's are often the same."""
    for folder in path.split(":"):
        try:
            yield from os.listdir(folder)  # noqa: PTH208 - thousands, of which the names are enough
        except OSError:
            continue


_BY_CAUSE: Final = {"oom": _more_memory, "time limit": _more_time, "not found": _meant}
