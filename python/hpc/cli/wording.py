"""What became of a job, in words: why it waits, how it ended, which exit code that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hpc import ranges
from hpc.cli import asked
from hpc.cli.output import when
from hpc.states import SETTLED, STATES
from hpc.terminal import fit
from hpc.units import show_duration, show_memory

Info = Mapping[str, Any]
"""A job as `GET /jobs/{id}` tells it."""

_MIB: Final = 1 << 20
_BY_SIGNAL: Final = 128
_TITLE_COLUMNS: Final = 24
_HPC_FAILED: Final = 125
_NOT_EXECUTABLE: Final = 126
_CODES: Final = {
    "time limit": 124,
    "not found": 127,
    "oom": _BY_SIGNAL + 9,
    "cancelled": _BY_SIGNAL + 15,
}
"""Exit codes by cause, for tasks that have left neither a code nor a signal."""


def value_text(value: object) -> str:
    """Return a value of a fact as it stands in a table: a text plainly, anything else as JSON."""
    import json  # noqa: PLC0415 - most commands print no facts

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def outcome(info: Info) -> str:
    """Return the state, and how it ended or why it waits: `failed: exit code 7`."""
    state, why = str(info["state"]), info.get("why")
    if reason := how_it_ended(info):
        return f"{state}: {reason}" if state in SETTLED else f"{state}; so far {reason}"
    if why is None:
        return state
    kept, sign, release = str(why).partition("held: ")
    if kept or not sign:
        return f"{state}: {why}"
    if state == "held":
        return str(why)
    # Some of it goes on, and what waits waits for this alone.
    held = (info.get("counts") or {}).get("held", 0)
    return f"{state}; {'1 task is' if held == 1 else f'{held} tasks are'} held: {release}"


def how_it_ended(info: Info) -> str | None:
    """Return why tasks did not succeed, each reason once, or None where nothing says so."""
    spec = limits(info)
    settled = info.get("settled") or []
    tasks_of: dict[str, list[range]] = {}
    for row in (row for row in settled if row["state"] == "failed"):
        for attempt in _deciding(info, row):
            if row.get("cause") == "lost":
                # What its last attempt reports after that is how it was ended, and settles nothing.
                reason = ending({}, spec, cause="lost") + _lost_with(info, row)
            else:
                reason = ending(attempt, spec, cause=row.get("cause"))
            common = _common(str(row["tasks"]), str(attempt.get("tasks", row["tasks"])))
            tasks_of.setdefault(reason, []).extend(common)
    # Whoever cancelled may have said why.
    for row in (row for row in settled if row["state"] == "cancelled" and row.get("reason")):
        of_all = info.get("state", "cancelled") == "cancelled"
        reason = row["reason"] if of_all else f"cancelled: {row['reason']}"
        tasks_of.setdefault(reason, []).extend(ranges.spans(str(row["tasks"])))
    if not _is_array(info):
        return "; ".join(tasks_of) or None
    counts = {why: _distinct(spans) for why, spans in tasks_of.items()}
    counted = (f"{'1 task' if n == 1 else f'{n} tasks'}: {why}" for why, n in counts.items())
    return "; ".join(counted) or None


def limits(info: Info) -> Info:
    """Return a job's spec without the memory limit, where a retry has set another since.

    Which of the two an attempt has had its report does not tell.
    """
    spec: Info = info.get("spec") or {}
    now = (info.get("resources") or {}).get("memory_mib", spec.get("memory"))
    if now == spec.get("memory"):
        return spec
    return {name: value for name, value in spec.items() if name != "memory"}


def ending(attempt: Info, spec: Info, *, cause: str | None = None) -> str:
    """Return how one attempt ended, in words.

    Args:
        attempt: A row of the job's `attempts`.
        spec: The job's spec, whose limits are named; see `limits`.
        cause: Why the task was settled so, where the attempt does not say.
    """
    cause = attempt.get("cause") or cause
    where = attempt.get("node_id") or "its node"
    limit_mib, limit_s = spec.get("memory"), spec.get("time_limit")
    limit_bytes = spec.get("output_limit")
    words = {
        "oom": "over its memory limit"
        + (f" of {show_memory(limit_mib * _MIB)}" if isinstance(limit_mib, int) else ""),
        "time limit": "over its time limit"
        + (f" of {show_duration(limit_s)}" if isinstance(limit_s, int | float) else ""),
        "output limit": "over its output limit"
        + (f" of {show_memory(limit_bytes)}" if isinstance(limit_bytes, int) else ""),
        "lost": "lost with its relay three times while it ran",
        "cancelled": "cancelled",
        "not found": f"command `{spec.get('command')}` was not found on {where}",
        "cwd not found": f"folder `{spec.get('cwd')}` does not exist on {where}",
        "refused": f"refused by {where}",
    }
    if cause in words:
        text = words[cause]
    elif attempt.get("signal") is not None:
        text = f"ended by {signal_name(attempt['signal'])}"
    elif attempt.get("exit_code") is not None:
        text = f"exit code {attempt['exit_code']}"
    else:
        text = cause or "unknown"
    detail = attempt.get("detail")
    # A program that ended by itself has said why; of one that could not be begun this alone does.
    is_said = cause in {"exit", "signal"} and not is_unbegun(attempt)
    return f"{text} ({detail})" if detail and not is_said else text


def is_unbegun(attempt: Info) -> bool:
    """Return whether an attempt's program was never executed, so that it has said nothing."""
    is_refused = attempt.get("exit_code") == _NOT_EXECUTABLE and attempt.get("detail")
    return bool(is_refused) or attempt.get("cause") in {"not found", "cwd not found", "refused"}


def signal_name(number: int) -> str:
    """Return `signal 9 (SIGKILL)`."""
    from signal import Signals  # noqa: PLC0415 - most commands name no signal

    try:
        return f"signal {number} ({Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def exit_code(info: Info) -> int:
    """Return what `hpc run` exits with for a job of one task that is settled."""
    if info["state"] == "succeeded":
        return 0
    attempts = [a for row in info.get("settled") or [] for a in _deciding(info, row)]
    attempt = attempts[-1] if attempts else {}
    causes = {row.get("cause") for row in info.get("settled") or []}
    causes |= {attempt.get("cause"), info["state"]}
    code, signal = attempt.get("exit_code"), attempt.get("signal")
    if isinstance(signal, int):
        return _BY_SIGNAL + signal
    if isinstance(code, int) and code:
        return code
    by_cause = [_CODES[cause] for cause in causes if cause in _CODES]
    return max(by_cause, default=_HPC_FAILED)


def fields(info: Info, held: Sequence[str] = ()) -> list[tuple[str, object]]:
    """Return a job as `hpc job info` prints it.

    Args:
        info: The job.
        held: Why tasks of it are held, word by word.
    """
    spec = info.get("spec") or {}
    named = limits(info)
    is_array = _is_array(info)
    return [
        ("job", info["job_id"]),
        ("name", info.get("name")),
        ("state", outcome(info)),
        ("why", info.get("why") if how_it_ended(info) else None),
        *(("held", text) for text in held),
        ("namespace", info["ns_id"]),
        ("command", command(spec)),
        ("folder", spec.get("cwd")),
        *asked.fields(info),
        ("priority", _priority(info)),
        ("tasks", _tasks(info)),
        ("submitted", when(info.get("submitted_at"))),
        ("attempts", _attempts_cut(info)),
        *(("attempt", _attempt(row, named, is_array)) for row in _attempts_shown(info)),
    ]


def command(spec: Info) -> str | None:
    """Return the command as one line, quoted where it is a list."""
    if "command" not in spec:
        return None
    if "args" not in spec:
        return str(spec["command"])
    import shlex  # noqa: PLC0415 - most commands print no command

    return shlex.join([str(spec["command"]), *map(str, spec["args"])])


def title(info: Info) -> str | None:
    """Return a job's name, or of one without the beginning of its command in parentheses."""
    if (name := info.get("name")) is not None:
        return str(name)
    text = command(info.get("spec") or {})
    return None if text is None else f"({fit(text, _TITLE_COLUMNS)})"


def tally(info: Info) -> str:
    """Return how many tasks are in which state: `97 succeeded, 3 failed`."""
    counts = info.get("counts") or {}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def jobs(infos: Sequence[Info]) -> str:
    """Return how many jobs are in which state: `990 jobs succeeded, 10 failed`."""
    states = [str(info["state"]) for info in infos]
    first, *others = [f"{states.count(s):,} {s}" for s in STATES if s in states]
    number, _, state = first.partition(" ")
    return ", ".join([f"{number} {'job' if number == '1' else 'jobs'} {state}", *others])


EACH_MAX: Final = 10
"""Of more jobs it is told how many are in which state, and of so many how they failed."""

_ATTEMPTS_SHOWN: Final = 10


def _attempts_shown(info: Info) -> list[Info]:
    return list(info.get("attempts") or [])[-_ATTEMPTS_SHOWN:]


def _attempts_cut(info: Info) -> str | None:
    """Return that there are more attempts than are shown; None where there are not."""
    count = len(info.get("attempts") or [])
    if count <= _ATTEMPTS_SHOWN:
        return None
    return f"the last {_ATTEMPTS_SHOWN} of {count}; all: hpc job attempts {info['job_id']}"


def _attempt(row: Info, spec: Info, is_array: bool) -> str:
    parts = [f"{row['attempt']} on {row['node_id']}"]
    several = ranges.count(str(row.get("tasks", "0"))) > 1
    if is_array or row.get("tasks") not in (None, "0"):
        parts.append(f"task{'s' if several else ''} {row['tasks']}")
    ended = {"succeeded": "exit code 0", "failed": ending(row, spec)}
    parts.append(ended.get(str(row["state"]), str(row["state"])))
    started, finished = row.get("started_at"), row.get("finished_at")
    if started is not None and finished is not None:
        took = show_duration(max(finished - started, 0) / 1000)
        # They may have run one after another, in several rounds: `job tasks` has each by itself.
        parts.append(f"{took} from the first start to the last end" if several else took)
    if row.get("peak_memory_bytes"):
        parts.append(f"peak {show_memory(row['peak_memory_bytes'])}")
    return ", ".join(parts)


def _priority(info: Info) -> str | None:
    """Return the priority of a job and of those of its tasks that have another: `0; 7 of 3-5`."""
    others = info.get("priorities") or []
    if not others and not info.get("priority"):
        return None
    return "; ".join(
        (str(info["priority"]), *(f"{each['priority']} of {each['tasks']}" for each in others))
    )


def _tasks(info: Info) -> str | None:
    return f"{info['tasks']}: {tally(info)}" if _is_array(info) else None


def _is_array(info: Info) -> bool:
    return ranges.count(str(info.get("tasks", "0"))) > 1


def _deciding(info: Info, row: Info) -> list[Info]:
    """Return the attempts that settled a row's tasks: failed ones, or any where none failed."""
    touching = [
        attempt
        for attempt in info.get("attempts") or []
        if overlaps(str(attempt["tasks"]), str(row["tasks"]))
    ]
    ended = [attempt for attempt in touching if attempt["state"] == row["state"]]
    return ended or touching[-1:] or [{}]


def _lost_with(info: Info, row: Info) -> str:
    """Return the relays that a row's tasks were lost with, once each, in their order."""
    lost = (
        str(attempt["node_id"])
        for attempt in info.get("attempts") or []
        if attempt["state"] == "lost"
        and attempt.get("started_at") is not None
        and overlaps(str(attempt["tasks"]), str(row["tasks"]))
    )
    names = list(dict.fromkeys(lost))
    return f": {', '.join(names)}" if names else ""


def overlaps(one: str, other: str) -> bool:
    """Return whether two range lists share a task."""
    return bool(_common(one, other))


def shared(one: str, other: str) -> int:
    """Return how many tasks two range lists share."""
    return sum(map(len, _common(one, other)))


def _common(one: str, other: str) -> list[range]:
    """Return the tasks that are in both of two range lists, each in order."""
    mine, others, common = list(ranges.spans(one)), list(ranges.spans(other)), []
    while mine and others:
        a, b = mine[-1], others[-1]
        if both := range(max(a.start, b.start), min(a.stop, b.stop)):
            common.append(both)
        (mine if a.start > b.start else others).pop()
    return common


def _distinct(spans: list[range]) -> int:
    """Return how many tasks are in any of these; a task that was tried again is in several."""
    count = end = 0
    for span in sorted(spans, key=lambda span: span.start):
        count += max(span.stop - max(span.start, end), 0)
        end = max(end, span.stop)
    return count


TASK_HEADS: Final = (
    "TASK",
    "STATE",
    "ATTEMPT",
    "NODE",
    "EXIT",
    "CAUSE",
    "STARTED",
    "TOOK",
    "MEMORY",
    "CPU",
    "ENTRY",
)


def task_cells(row: Info) -> list[object]:
    """Return one row of `GET /jobs/{id}/tasks` as `hpc job tasks` prints it, below `TASK_HEADS`."""
    signal, took_s, memory = row["signal"], row["duration_s"], row["peak_memory_bytes"]
    reason = row.get("reason") or row.get("detail")
    cpu_s = row["cpu_seconds"]
    return [
        row["task"],
        row["state"],
        row["attempt"],
        row["node_id"],
        row["exit_code"] if signal is None else signal_name(signal),
        f"{row['cause']}: {reason}" if reason and row["cause"] else row["cause"],
        when(row["started_at"]),
        None if took_s is None else show_duration(took_s),
        None if memory is None else show_memory(memory),
        None if cpu_s is None else show_duration(round(cpu_s, 3)),
        None if row["entry"] is None else value_text(row["entry"]),
    ]
