"""Document: a graph as a JSON file, read into a plan.

```json
{"defaults": {"cpu": 2, "time_limit": "10m"},
 "jobs": [{"id": "prepare", "command": ["./prepare.sh"]},
          {"id": "fit", "command": "./fit.sh {}", "entries": ["a", "b"], "after": ["prepare"]}]}
```

A job has an `id`, a `command` (a String for the shell, or a List of words) and, where they are
wanted, `tasks` or `entries`, the fields that say when it may start, and those of its spec by their
names. What it does not say is taken from `defaults`, and from what stands below those: in the
command line, its options. `env` is joined, name by name.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from hpc import arrays, submission
from hpc.errors import UsageError
from hpc.graphs.plan import AFTER, Plan
from hpc.nearest import did_you_mean
from hpc.placeholders import signs_of

_TEXT: Final = ((str,), "a String")
_WHOLE: Final = ((int,), "an Int")
_FLAG: Final = ((bool,), "true or false")
_TIME: Final = ((int, float, str), "seconds, or a text such as 1h30m")
_IDS: Final = ((list,), "a List of names and job ids")

_GATE: Final[dict[str, Any]] = {
    "after": _IDS,
    "after_any": _IDS,
    "after_fail": _IDS,
    "after_task": _FLAG,
    "hold": _FLAG,
}
_KINDS: Final[dict[str, Any]] = {
    **_GATE,
    "id": _TEXT,
    "command": ((str, list), "a String for the shell, or a List of words"),
    "tasks": ((str,), "ranges such as 0-99"),
    "entries": ((list,), "a List, a value for each task"),
    "name": _TEXT,
    "priority": _WHOLE,
    "cpu": _WHOLE,
    "memory": ((int, str), "MiB, or a text such as 4G"),
    "env": ((dict,), "an object"),
    "cwd": _TEXT,
    "stdin": _TEXT,
    "stdout": _TEXT,
    "stderr": _TEXT,
    "time_limit": _TIME,
    "grace": _TIME,
    "on_cut_off": _TEXT,
    "retries": _WHOLE,
    "retry_on": ((list,), "a List of causes and exit codes"),
    "max_fails": _WHOLE,
    "throttle": _WHOLE,
    "expand": _FLAG,
    "gpus": _WHOLE,
    "resources": ((dict,), "an object of amounts by name"),
    "require": ((dict,), "an object of labels"),
    "nodes": ((list,), "a List of node ids"),
    "exclude": ((list,), "a List of node ids"),
    "exclusive": _FLAG,
    "max_per_node": _WHOLE,
    "min_time": _TIME,
    "warn_signal": _TEXT,
    "output_limit": ((int, str), "bytes, or a text such as 10M"),
    "umask": ((str,), "an octal text such as 027"),  # a number of JSON is not octal
    "ulimits": ((dict,), "an object of limits by name"),
}
"""What a field takes; one of a spec that is not here is looked at by the Hub alone."""

SPEC: Final = frozenset(submission.batch_spec.__kwdefaults__ or ())
"""The fields of a spec beside its command."""

_FIELDS: Final = frozenset(_KINDS) | SPEC
_SHAPE: Final = '{"jobs": [{"id": "a", "command": ["./a"]}, {"id": "b", "command": ["./b"], '
_SHAPE_HINT: Final = _SHAPE + '"after": ["a"]}]}'


def parse(text: str, flag: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value that a file holds.

    Raises:
        UsageError: It is none, or an object names a field twice.
    """
    try:
        return json.loads(
            text, parse_constant=arrays.no_constant, object_pairs_hook=_without_repeats
        )
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{flag} must hold a JSON list or a graph of jobs: {error}",
            field="from_json",
            hint=f'["a", "b"], one task for each, or {_SHAPE_HINT}',
        ) from error


def plan_of(
    document: Any,  # noqa: ANN401 - any JSON value
    flag: str,
    *,
    key: str | None,
    base: Mapping[str, Any],
) -> Plan:
    """Return the plan of a graph.

    Args:
        document: As `parse` returns it.
        flag: By what it was given, for messages.
        key: See `Plan`.
        base: Fields of jobs that say nothing themselves. `cwd` is an absolute folder; a job's own
            is relative to it.

    Raises:
        UsageError: It describes no graph; the job and the field are named.
    """
    if not isinstance(document, dict):
        raise UsageError(
            f"{flag} holds no graph of jobs but {json.dumps(document)[:60]}: "
            "the elements of a list are tasks of a command",
            field="from_json",
            hint="hpc submit --from-json FILE -- CMD {}",
        )
    for field in document:
        if field not in ("jobs", "defaults"):
            raise _unknown(f"{flag}", field, frozenset({"jobs", "defaults"}))
    jobs, defaults = document.get("jobs"), document.get("defaults", {})
    if not isinstance(jobs, list) or not jobs:
        raise UsageError(
            f"{flag}: `jobs` must be a List with a job in it", field="jobs", hint=_SHAPE_HINT
        )
    _check_fields(defaults, f"{flag}: `defaults`", _FIELDS - {"id"})
    plan = Plan(key)
    for number, job in enumerate(jobs, 1):
        _add(plan, job, f"{flag}: job number {number}", [base, defaults])
    return plan


def _add(plan: Plan, job: Any, where: str, below: list[Mapping[str, Any]]) -> None:  # noqa: ANN401
    """Add one job; `below` is what it falls back on, the last first."""
    if not isinstance(job, dict):
        raise UsageError(
            f"{where} must be an object, got {json.dumps(job)[:60]}",
            field="jobs",
            hint=_SHAPE_HINT,
        )
    name = job.get("id")
    if not isinstance(name, str):
        raise UsageError(
            f"{where} must have an `id`, a String by which others can come after it",
            field="id",
            hint=_SHAPE_HINT,
        )
    where = f"Job `{name}`"
    _check_fields(job, where, _FIELDS)
    fields: dict[str, Any] = {}
    for layer in (*below, job):
        fields |= {field: value for field, value in layer.items() if field != "env"}
    fields = {field: value for field, value in fields.items() if value is not None}
    layers = (layer.get("env") or {} for layer in (*below, job))
    fields["env"] = {variable: value for env in layers for variable, value in env.items()}
    if "after_task" not in job and not any(fields.get(field) for field in AFTER):
        fields.pop("after_task", None)  # it is for those that come after others
    _place(fields, below[0].get("cwd"))
    with _told_of(where):
        spec, tasks, gate = _read(fields)
    plan.add(
        name, spec, tasks, gate=gate, label=fields.get("name"), priority=fields.get("priority")
    )


def _read(
    fields: Mapping[str, Any],
) -> tuple[dict[str, Any], arrays.Numbers | arrays.Entries, dict[str, Any]]:
    """Return the spec of a job, its tasks, and what keeps it from starting at once."""
    command = fields.get("command")
    if command is None:
        raise UsageError(
            "it has no `command`", field="command", hint='"command": ["python", "fit.py"]'
        )
    words = [command] if isinstance(command, str) else command
    tasks = arrays.named(fields.get("tasks"), fields.get("entries"))
    more = {field: fields[field] for field in SPEC & fields.keys()}
    if isinstance(tasks, arrays.Entries):
        arrays.check_signs(words, tasks)
        more.setdefault("expand", bool(signs_of(words)))
    gate = submission.gate_of(**{field: fields[field] for field in _GATE if field in fields})
    return submission.batch_spec(command, **more), tasks, gate


def _place(fields: dict[str, Any], folder: str | None) -> None:
    """Make the paths of a job absolute: its folder, and what it reads from there."""
    if folder is not None and "cwd" in fields:
        fields["cwd"] = posixpath.normpath(posixpath.join(folder, fields["cwd"]))
    if "cwd" in fields and "stdin" in fields:
        fields["stdin"] = posixpath.join(fields["cwd"], fields["stdin"])


def _check_fields(job: Any, where: str, known: frozenset[str]) -> None:  # noqa: ANN401 - of a file
    if not isinstance(job, dict):
        raise UsageError(f"{where} must be an object, got {json.dumps(job)[:60]}", field="defaults")
    for field, value in job.items():
        if field not in known:
            raise _unknown(where, field, known)
        kinds, expected = _KINDS.get(field, ((object,), ""))
        # In Python a flag is a number too.
        is_other_flag = isinstance(value, bool) and bool not in kinds and object not in kinds
        if value is not None and (is_other_flag or not isinstance(value, kinds)):
            raise _not_so(where, field, expected, value)
        if isinstance(value, list) and field in ("command", "after", "after_any", "after_fail"):
            odd = [one for one in value if not isinstance(one, str)]
            if odd:
                raise _not_so(where, field, f"{expected}, each a String", odd[0])


def _not_so(where: str, field: str, expected: str, got: object) -> UsageError:
    shown = json.dumps(got, ensure_ascii=False)[:60]
    return UsageError(
        f"{where}: `{field}` must be {expected}, got {shown}",
        field=field,
        hint="what each field is: docs/dependencies.md, and hpc submit --help",
    )


def _unknown(where: str, field: str, known: frozenset[str]) -> UsageError:
    hint = did_you_mean(field, known) or f"fields: {', '.join(sorted(known))}"
    return UsageError(f"{where} has a field that nobody knows: `{field}`", field=field, hint=hint)


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    """Have errors say which job they are about."""
    try:
        yield
    except UsageError as error:
        error.message = f"{where}: {error.message}"
        raise


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has `{twice}` twice")
    return found
