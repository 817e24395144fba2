"""What a user typed, as the event that is sent: the command, its limits, its ids. Pure but for ids.

What was typed is what runs: a list of words is executed directly, a single text is run by
`/bin/sh -c`. The command line and the Python client both go through here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hpc.errors import UsageError
from hpc.limits import checked_bytes, checked_ulimits, parse_bytes, umask_text, warned
from hpc.nearest import nearest
from hpc.resources import check_amounts, check_ids, check_labels
from hpc.units import MEMORY_MIB_MAX, parse_duration, parse_memory

if TYPE_CHECKING:
    from hpc.arrays import Entries, Numbers, Piece

MEMORY_MIB_DEFAULT: Final = 1024
"""What a job without `memory` reserves; it is not enforced."""

CAUSES: Final = ("exit", "signal", "oom", "time limit", "output limit", "lost")
"""Why a task may have failed that could be tried again."""

_ELSEWHERE: Final = {
    "array": "tasks",
    "cores": "cpu",
    "depends_on": "after",
    "dir": "cwd",
    "ram": "memory",
    "threads": "cpu",
    "timeout": "time_limit",
    "timeout_s": "time_limit",
    "walltime": "time_limit",
}
"""What arguments are called elsewhere, where their letters are not near."""

_SHELL_SIGNS: Final = frozenset("|&;<>()$`\\\"'*?[]#~{}!")
_BATCH_BYTES: Final = 32 * 1024 * 1024
"""So much of an array goes into one batch. The Hub takes twice that; it takes it in one turn."""

_BATCH_EVENTS_MAX: Final = 100_000
_ID_LETTERS: Final = "0123456789abcdefghjkmnpqrstvwxyz"

Event = dict[str, Any]


def is_line(words: Sequence[str]) -> bool:
    """Return whether typed words are one line for a shell: a blank or a sign of its own in it."""
    return len(words) == 1 and any(sign.isspace() or sign in _SHELL_SIGNS for sign in words[0])


def command_of(command: str | Sequence[str]) -> dict[str, Any]:
    """Return `command`, and `args` where it is executed directly.

    Args:
        command: A text for the shell, or the program and its arguments.

    Raises:
        UsageError: There is no command.
    """
    if isinstance(command, str):
        fields: dict[str, Any] = {"command": command}
    else:
        fields = {"command": command[0] if command else "", "args": list(command[1:])}
    if not fields["command"].strip():
        raise UsageError("A job needs a command", field="command", hint="hpc run -- python fit.py")
    return fields


def check_names(of: str, more: Mapping[str, Any], takes: Callable[..., Any]) -> None:
    """Refuse arguments that neither a function nor `batch_spec` has.

    Args:
        of: The function by its name.
        more: What it was given beside those that it names.
        takes: The function.

    Raises:
        TypeError: One has no such name; it says which are near, and which there are.
    """
    known = {**(batch_spec.__kwdefaults__ or {}), **(takes.__kwdefaults__ or {})}
    unknown = [name for name in more if name not in known]
    if not unknown:
        return
    name = unknown[0]
    near = [_ELSEWHERE[name]] if name in _ELSEWHERE else nearest(name, known, 1)
    hint = f"; did you mean `{near[0]}`?" if near else "."
    raise TypeError(
        f"{of}() has no argument `{name}`{hint} It takes: command, {', '.join(sorted(known))}"
    )


def batch_spec(
    command: str | Sequence[str],
    *,
    cpu: int = 1,
    memory: int | str | None = None,
    gpus: int | None = None,
    resources: Mapping[str, int] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdin: str | os.PathLike[str] | None = None,
    stdout: str | None = None,
    stderr: str | None = None,
    time_limit: float | str | None = None,
    warn_signal: str | None = None,
    output_limit: int | str | None = None,
    umask: int | str | None = None,
    ulimits: Mapping[str, int | str] | None = None,
    grace: float | str | None = None,
    on_cut_off: str | None = None,
    retries: int | None = None,
    retry_on: Sequence[str | int] | None = None,
    max_fails: int | None = None,
    throttle: int | None = None,
    expand: bool = False,
    require: Mapping[str, str] | None = None,
    nodes: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    exclusive: bool = False,
    max_per_node: int | None = None,
    min_time: float | str | None = None,
) -> dict[str, Any]:
    """Return the spec of a job of the namespace `batch`.

    Args:
        command: A text for the shell, or the program and its arguments.
        cpu: Cores of each task.
        memory: MiB, or a text such as `4G`; enforced. None reserves 1 GiB and enforces nothing.
        gpus: GPUs of each task, which finds their ids in `CUDA_VISIBLE_DEVICES`.
        resources: Amounts of what relays offer by name: a task finds what it has of `fpgas` in
            `HPC_RESOURCE_FPGAS`.
        env: Added to the relay's environment.
        cwd: An absolute folder; None is a folder of the task's own.
        stdin: A file to read from; None is nothing.
        stdout: Where output goes, with %j, %a and %N for job, task and node; None: to the Hub.
        stderr: Likewise.
        time_limit: Seconds, or a text such as `1h30m`.
        warn_signal: Sent to the task before its time limit: `USR1@60` is SIGUSR1, 60 s before.
        output_limit: Bytes that it may write to what is captured of stdout and stderr, together;
            or a text such as `10M`. None: it goes on, and the relay keeps what it may of it.
        umask: Such as `0o027` or `"027"`; None is the relay's.
        ulimits: Soft limits of its processes, such as `{"nofile": 4096, "core": "unlimited"}`.
        grace: Between SIGTERM and SIGKILL, likewise; None is 5 s.
        on_cut_off: `finish` or `stop`, when the relay is cut off from the Hub.
        retries: How often a task that has failed is tried again, each time after twice the pause.
        retry_on: Only after these: causes such as `oom`, exit codes, 128 + signals.
        max_fails: With one more failed task the rest of the job is cancelled.
        throttle: How many tasks may be leased at a time.
        expand: Whether `{}` and its kin in the command stand for a task's entry; placeholders.py.
        require: Labels that the relay must have.
        nodes: Ids of the only nodes that it may run on; None or none: any.
        exclude: Ids of nodes that it may not run on.
        exclusive: A task has its node to itself, and all that the node offers.
        max_per_node: How many of its tasks may be on a node at a time.
        min_time: Seconds, or a text such as `30m`, that its relay must still be there.

    Raises:
        UsageError: A value that makes no sense.
    """
    spec: dict[str, Any] = {**command_of(command), "cpu": cpu, **memory_of(memory)}
    if env:
        spec["env"] = dict(env)
    for field, path in (("cwd", cwd), ("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
        if path is not None:
            spec[field] = os.fspath(path)
    for field, time_s in (
        ("time_limit", time_limit),
        ("grace", grace),
        ("min_time", min_time),
    ):
        if time_s is not None:
            spec[field] = _seconds(time_s, field)
    warning = warned(warn_signal, spec.get("time_limit"))
    if warning is not None:
        spec["warn_signal"] = warning.text
    if output_limit is not None:
        spec["output_limit"] = _bytes(output_limit, "output_limit")
    if umask is not None:
        spec["umask"] = umask_text(umask)
    if ulimits:
        spec["ulimits"] = checked_ulimits(ulimits)
    more = {
        "on_cut_off": on_cut_off,
        "retries": retries,
        "retry_on": None if retry_on is None else retried(retry_on),
        "max_fails": max_fails,
        "throttle": throttle,
    }
    spec.update((field, value) for field, value in more.items() if value is not None)
    if expand:
        spec["expand"] = True
    spec.update(_taken(gpus, resources))
    spec.update(_placed(require, nodes, exclude, max_per_node))
    if exclusive:
        spec["exclusive"] = True
    _check_text(spec)
    return spec


def _taken(gpus: int | None, resources: Mapping[str, int] | None) -> dict[str, Any]:
    """Return what a task takes beside cores and memory."""
    taken: dict[str, Any] = {}
    if gpus is not None:
        if gpus < 0:
            raise UsageError(f"`gpus` must be a number from 0, got {gpus}", field="gpus")
        taken["gpus"] = gpus
    if resources:
        check_amounts(resources)
        taken["resources"] = dict(resources)
    return taken


def _placed(
    require: Mapping[str, str] | None,
    nodes: Sequence[str] | None,
    exclude: Sequence[str] | None,
    max_per_node: int | None,
) -> dict[str, Any]:
    """Return where its tasks may run."""
    placed: dict[str, Any] = {}
    if require:
        check_labels(require, "require")
        placed["require"] = dict(require)
    for field, ids in (("nodes", nodes), ("exclude", exclude)):
        if ids:
            check_ids(ids, field)
            placed[field] = list(ids)
    if max_per_node is not None:
        if max_per_node < 1:
            raise UsageError(
                f"`max_per_node` must be a number from 1, got {max_per_node}", field="max_per_node"
            )
        placed["max_per_node"] = max_per_node
    return placed


def memory_of(memory: int | str | None) -> dict[str, Any]:
    """Return `memory` and `enforce_memory` of a spec.

    Args:
        memory: MiB, or a text such as `4G`; enforced. None reserves 1 GiB and enforces nothing.

    Raises:
        UsageError: It is no amount of memory, or less than 1 MiB.
    """
    if memory is None:
        return {"memory": MEMORY_MIB_DEFAULT, "enforce_memory": False}
    return {"memory": _mib(memory), "enforce_memory": True}


def retried(causes: Sequence[str | int]) -> list[str | int]:
    """Return causes and exit codes as they are sent.

    Raises:
        UsageError: One is neither a cause nor a number.
    """
    read: list[str | int] = []
    for cause in causes:
        text = str(cause).strip().replace("_", " ")
        if text.isdigit():
            read.append(int(text))
        elif text in CAUSES:
            read.append(text)
        else:
            raise UsageError(
                f"`retry_on` takes causes and exit codes, got {cause!r}",
                field="retry_on",
                hint=f"causes: {', '.join(CAUSES)}; a number is an exit code, or 128 + a signal",
            )
    return read


def _check_text(spec: Mapping[str, Any]) -> None:
    """Refuse what no JSON can carry, by the name of the field or the number of the argument."""
    texts = [(field, value) for field, value in spec.items() if isinstance(value, str)]
    texts += [(f"args[{i}]", arg) for i, arg in enumerate(spec.get("args", ()))]
    for name, value in spec.get("env", {}).items():
        texts += [("env", name), (f"env.{name}", value)]
    for field, text in texts:
        if isinstance(text, str) and any("\ud800" <= char <= "\udfff" for char in text):
            raise UsageError(
                f"`{field}` must be UTF-8, got {text!a}",
                field=field,
                hint="names of other encodings cannot be sent; let a script hold them",
            )


def submit_event(
    ns_id: str,
    spec: Mapping[str, Any],
    *,
    kind: str = "SubmitJob",
    job_id: str | None = None,
    name: str | None = None,
    priority: int | None = None,
    tasks: str | None = None,
    gate: Mapping[str, Any] | None = None,
) -> Event:
    """Return an event of a namespace; fields of its ctx that are None are left out.

    Args:
        ns_id: The namespace.
        spec: What its schema asks for.
        kind: Of the event.
        job_id: None is a number of the Hub's.
        name: A label.
        priority: Higher runs first.
        tasks: Ranges such as `0-99`, with steps.
        gate: See `gate_of`.
    """
    ctx: dict[str, Any] = {"ns_id": ns_id, **(gate or {})}
    if job_id is not None:
        ctx["job_id"] = checked_key(job_id)
    if tasks is not None:
        ctx["tasks"] = _range_list(tasks)
    if name is not None:
        ctx["name"] = name
    if priority is not None:
        ctx["priority"] = priority
    return {"kind": kind, "payload": {"ctx": ctx, "spec": dict(spec)}}


def gate_of(
    *,
    after: Sequence[str] = (),
    after_any: Sequence[str] = (),
    after_fail: Sequence[str] = (),
    after_task: bool = False,
    hold: bool = False,
) -> dict[str, Any]:
    """Return the fields of a ctx that keep a job from starting at once.

    Args:
        after: Ids of jobs of which every task must have succeeded.
        after_any: Likewise, of which every task must have ended in whatever way.
        after_fail: Likewise, of which one task at least must have failed.
        after_task: Each task comes after the tasks of its number only.
        hold: Nothing starts until it is released.

    Raises:
        UsageError: `after_task` without jobs.
    """
    jobs = {"after": after, "after_any": after_any, "after_fail": after_fail}
    gate: dict[str, Any] = {field: list(ids) for field, ids in jobs.items() if ids}
    if after_task:
        if not gate:
            raise UsageError(
                "`after_task` needs the jobs whose tasks come first",
                field="after_task",
                hint="hpc submit --after JOB --after-task --array 0-99 -- CMD",
            )
        gate["after_task"] = True
    if hold:
        gate["hold"] = True
    return gate


class Submission(NamedTuple):
    """A job of many tasks, cut into events and batches.

    Attributes:
        job_id: Its id; None where the Hub gives it a number.
        batches: Events, batch by batch; each batch is recorded at once or not at all.
        total: How many tasks it has.
    """

    job_id: str | None
    batches: list[list[Event]]
    total: int

    @property
    def is_one_event(self) -> bool:
        """Whether a single event says all of it."""
        return len(self.batches) == 1 and len(self.batches[0]) == 1


def submission_of(
    ns_id: str,
    spec: Mapping[str, Any],
    tasks: Numbers | Entries,
    *,
    kind: str = "SubmitJob",
    job_id: str | None = None,
    name: str | None = None,
    priority: int | None = None,
    gate: Mapping[str, Any] | None = None,
) -> Submission:
    """Return what is sent for a job of many tasks.

    Args:
        ns_id: The namespace.
        spec: One for all tasks.
        tasks: Which.
        kind: Of the events.
        job_id: None is a number of the Hub's, or an id made here if one event cannot say it all.
        name: A label.
        priority: Higher runs first.
        gate: See `gate_of`.
    """
    pieces = list(tasks.pieces())
    if job_id is None and len(pieces) > 1:
        job_id = new_job_id()
    whole = submit_event(
        ns_id, spec, kind=kind, job_id=job_id, name=name, priority=priority, gate=gate
    )
    batches = [[_part(whole, piece) for piece in few] for few in _batches(pieces, len(str(whole)))]
    return Submission(job_id, batches, tasks.total)


def _part(whole: Event, piece: Piece) -> Event:
    """Return the event of a job that names a piece of its tasks."""
    if not piece.tasks:
        return whole
    payload = whole["payload"]
    ctx = {**payload["ctx"], "tasks": piece.tasks}
    if piece.entries is not None:
        ctx["entries"] = piece.entries
    return {**whole, "payload": {**payload, "ctx": ctx}}


def _batches(pieces: Sequence[Piece], own_bytes: int) -> Iterator[list[Piece]]:
    """Yield pieces by batch; `own_bytes` is what each event has beside its piece."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        size += piece.size + own_bytes
        if batch and (size > _BATCH_BYTES or len(batch) == _BATCH_EVENTS_MAX):
            yield batch
            batch, size = [], piece.size + own_bytes
        batch.append(piece)
    yield batch


def request_event(
    kind: str,
    ns_id: str,
    job_id: str,
    *,
    tasks: str | None = None,
    reason: str | None = None,
    priority: int | None = None,
    resources: Mapping[str, int] | None = None,
) -> Event:
    """Return a request about a job, or about some of its tasks, such as `CancelJob`.

    Args:
        kind: Which request.
        ns_id: The job's namespace.
        job_id: The job.
        tasks: Only these; None is all.
        reason: Kept with it.
        priority: Of a `SetPriority`.
        resources: Of a `RetryJob`: what tasks take from the next lease on, instead of the spec's.
    """
    ctx: dict[str, Any] = {"ns_id": ns_id, "job_id": job_id}
    if tasks is not None:
        ctx["tasks"] = _range_list(tasks)
    if priority is not None:
        ctx["priority"] = priority
    spec: dict[str, Any] = {} if reason is None else {"reason": reason}
    if resources:
        spec["resources"] = dict(resources)
    return {"kind": kind, "payload": {"ctx": ctx, "spec": spec}}


def _range_list(tasks: str) -> str:
    # Imported here: most requests are about whole jobs.
    from hpc.arrays import range_list  # noqa: PLC0415

    return range_list(tasks)


def checked_key(key: str) -> str:
    """Return a job id that a client may choose.

    Raises:
        UsageError: It is no id, or one of the Hub's own.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", key):
        raise UsageError(
            f"`key` must be an id, got {key!r}",
            field="key",
            hint="letters, digits, `.`, `_` and `-`, at most 128, the first a letter or a digit",
        )
    if key.isdigit():
        raise UsageError(
            f"`key` must not be digits only, got {key!r}: such ids are the Hub's",
            field="key",
            hint=f"--key job-{key}",
        )
    return key


def new_job_id() -> str:
    """Return an id that no one else makes; later ones sort after earlier ones."""
    number = (time.time_ns() // 1_000_000 << 50) | (int.from_bytes(os.urandom(7)) >> 6)
    letters = [_ID_LETTERS[number >> shift & 31] for shift in range(95, -1, -5)]
    return "j" + "".join(letters)


def new_batch_id() -> str:
    """Return a random UUID (version 4)."""
    number = int.from_bytes(os.urandom(16))
    number = number & ~(0xF << 76) | 4 << 76
    number = number & ~(0x3 << 62) | 2 << 62
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _seconds(time_s: float | str, field: str) -> float:
    return parse_duration(time_s, field=field) if isinstance(time_s, str) else float(time_s)


def _bytes(size: int | str, field: str) -> int:
    if isinstance(size, str):
        return parse_bytes(size, field=field)
    return checked_bytes(size, field=field)


def _mib(memory: int | str) -> int:
    if isinstance(memory, str):
        return parse_memory(memory)
    if not 1 <= memory <= MEMORY_MIB_MAX:
        raise UsageError(
            f"`memory` must be from 1 MiB, got {memory}", field="memory", hint="memory='4G'"
        )
    return memory
