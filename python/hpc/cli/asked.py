"""What a job asks for, in words: what was typed at `hpc submit`, where it differs from the default.

It reads the spec of the namespace `batch`. Of another, whose fields may mean anything, it tells
what the Hub has made of them: what each task takes, and what the job comes after.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hpc.resources import GPUS, named
from hpc.units import show_duration, show_memory

Info = Mapping[str, Any]
"""A job as `GET /jobs/{id}` tells it."""

PASSED_ON: Final = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "LANG")
"""Variables that every job is given from where it was submitted, without being asked."""

_MIB: Final = 1 << 20
_GRACE_S: Final = 5.0
_NAMES_SHOWN: Final = 20
_AFTER: Final = (
    ("after", "has succeeded", "have succeeded"),
    ("after_any", "has ended", "have ended"),
    ("after_fail", "has failed", "have failed"),
)


def fields(info: Info) -> list[tuple[str, object]]:
    """Return what a job asks for by name; None is what it does not ask for."""
    spec: Info = (info.get("spec") or {}) if info.get("ns_id") == "batch" else {}
    return [
        ("needs", _needs(spec, info.get("resources") or {})),
        ("where", _where(spec)),
        ("after", _after(info)),
        ("limits", _limits(spec)),
        ("retries", _retries(spec)),
        ("at a time", _most(spec, "throttle", "task")),
        ("max fails", _most(spec, "max_fails", "failed task")),
        ("cut off", "stops when its relay loses the Hub" if _stops(spec) else None),
        ("variables", _variables(spec)),
        *((stream, spec.get(stream)) for stream in ("stdin", "stdout", "stderr")),
    ]


def _needs(spec: Info, resources: Info) -> str | None:
    """Return what a task takes; a retry may have set other amounts than the spec has."""
    parts = []
    cpus = resources.get("cpus", spec.get("cpu"))
    if cpus is not None:
        parts.append(_plural(cpus, "cpu"))
    memory_mib = resources.get("memory_mib", spec.get("memory"))
    if isinstance(memory_mib, int):
        is_limit = spec.get("enforce_memory", True)
        parts.append(show_memory(memory_mib * _MIB) + ("" if is_limit else " (no limit)"))
    others = named(resources)
    if gpus := others.pop(GPUS, 0):
        parts.append(_plural(gpus, "gpu"))
    parts += [f"{others[name]} {name}" for name in sorted(others)]
    if spec.get("time_limit") is not None:
        parts.append(f"at most {show_duration(spec['time_limit'])}")
    return ", ".join(parts) or None


def _where(spec: Info) -> str | None:
    parts = []
    if require := spec.get("require"):
        labels = ", ".join(f"{key}={require[key]}" for key in sorted(require))
        parts.append(f"on relays of {labels}")
    if nodes := spec.get("nodes"):
        parts.append(f"on {_listed(nodes, 'or')}")
    if exclude := spec.get("exclude"):
        parts.append(f"not on {_listed(exclude, 'or')}")
    if spec.get("exclusive"):
        parts.append("each task has a node to itself")
    if spec.get("max_per_node") is not None:
        parts.append(f"at most {_plural(spec['max_per_node'], 'task')} at a time on a node")
    if spec.get("min_time") is not None:
        parts.append(f"where the relay stays {show_duration(spec['min_time'])}")
    return "; ".join(parts) or None


def _after(info: Info) -> str | None:
    """Return the jobs that it comes after, and what must have become of them."""
    parts = []
    for field, one, many in _AFTER:
        if ids := info.get(field):
            parts.append(f"{_listed(ids, 'and')} {one if len(ids) == 1 else many}")
    text = "; ".join(parts)
    return (f"{text}, task by task" if info.get("after_task") else text) or None


def _limits(spec: Info) -> str | None:
    parts = []
    if isinstance(spec.get("output_limit"), int):
        parts.append(f"output {show_memory(spec['output_limit'])}")
    if spec.get("warn_signal"):
        parts.append(f"{spec['warn_signal']} s before the time limit")
    if spec.get("grace") not in (None, _GRACE_S):
        parts.append(f"{show_duration(spec['grace'])} of grace")
    ulimits = spec.get("ulimits") or {}
    parts += [f"{name}={ulimits[name]}" for name in sorted(ulimits)]
    return ", ".join(parts) or None


def _retries(spec: Info) -> str | None:
    if not spec.get("retries"):
        return None
    causes = [str(each) for each in spec.get("retry_on") or ()]
    causes = [f"exit code {cause}" if cause.isdecimal() else cause for cause in causes]
    only = f", after {_listed(causes, 'or')} only" if causes else ""
    return f"{spec['retries']}{only}"


def _stops(spec: Info) -> bool:
    return spec.get("on_cut_off") == "stop"


def _most(spec: Info, field: str, what: str) -> str | None:
    return None if spec.get(field) is None else f"at most {_plural(spec[field], what)}"


def _variables(spec: Info) -> str | None:
    """Return the names alone: the values may be meant for the job only, and `--json` has them."""
    names = sorted(set(spec.get("env") or {}) - set(PASSED_ON))
    more = len(names) - _NAMES_SHOWN
    shown = names[:_NAMES_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return ", ".join(shown) or None


def _plural(number: object, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _listed(names: list[str], last: str) -> str:
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))
