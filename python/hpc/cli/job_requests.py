"""`hpc job cancel|hold|release|priority|retry|forget`: what people ask of jobs that are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from hpc.cli import output, selectors, wording
from hpc.cli.options import HubUrl, Json, client
from hpc.states import SETTLED
from hpc.submission import request_event
from hpc.units import parse_memory

BATCH_EVENTS: Final = 10_000
"""More requests than these go as several batches."""

Jobs = Annotated[
    list[str],
    typer.Argument(metavar="JOB...", help="Ids, names, ranges, states, `last`; name:X is a name."),
]
Tasks = Annotated[
    str | None, typer.Option("--task", "--tasks", metavar="3-7", help="Only these tasks.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept with the request.")]


def _about_tasks(verb: str, kind: str, about: str) -> Callable[..., None]:
    """Return a command that asks something of jobs, or of some of their tasks."""

    def command(
        jobs: Jobs,
        tasks: Tasks = None,
        reason: Reason = None,
        as_json: Json = False,
        hub_url: HubUrl = None,
    ) -> None:
        _ask(verb, kind, jobs, as_json, hub_url, tasks=tasks, reason=reason)

    command.__doc__ = about
    return command


def priority(
    number: Annotated[int, typer.Argument(metavar="N", help="Higher runs first; -- -5 is below.")],
    jobs: Jobs,
    tasks: Tasks = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Set the priority of jobs, or of some of their tasks; what runs goes on."""
    _ask("priority", "SetPriority", jobs, as_json, hub_url, tasks=tasks, priority=number)


def retry(
    jobs: Jobs,
    tasks: Tasks = None,
    reason: Reason = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="What has failed or was cancelled; so it is without.")
    ] = True,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory", help="From now on, of all its tasks: such as 4G; enforced or not."
        ),
    ] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Run again what has failed or was cancelled of jobs: a further round."""
    del failed  # there is nothing else that could be meant; scripts say it all the same
    resources = None if memory is None else {"memory_mib": parse_memory(memory)}
    _ask(
        "retry",
        "RetryJob",
        jobs,
        as_json,
        hub_url,
        tasks=tasks,
        reason=reason,
        resources=resources,
    )


def forget(
    jobs: Jobs, reason: Reason = None, as_json: Json = False, hub_url: HubUrl = None
) -> None:
    """Forget jobs that are over: only what became of them is kept. There is no way back."""
    with client(hub_url) as hub:
        found = selectors.several(hub, jobs)
        events = [
            request_event("ForgetJob", row["ns_id"], row["job_id"], reason=reason) for row in found
        ]
        for start in range(0, len(events), BATCH_EVENTS):
            hub.ingest(events[start : start + BATCH_EVENTS])
    if as_json:
        data = [{"job_id": row["job_id"], "state": row["state"]} for row in found]
        output.put_json("job.forget", data, cursor=hub.cursor)
        return
    output.say("1 job is forgotten" if len(found) == 1 else f"{len(found)} jobs are forgotten")


VERBS: Final[dict[str, Callable[..., Any]]] = {
    "cancel": _about_tasks("cancel", "CancelJob", "Cancel what is not finished of jobs."),
    "hold": _about_tasks(
        "hold", "HoldJob", "Keep what has not started of jobs from starting, until it is released."
    ),
    "release": _about_tasks("release", "ReleaseJob", "Let what was held of jobs start."),
    "priority": priority,
    "retry": retry,
    "forget": forget,
}


def _ask(
    verb: str,
    kind: str,
    jobs: Sequence[str],
    as_json: bool,
    hub_url: str | None,
    **more: Any,  # noqa: ANN401 - see request_event
) -> None:
    with client(hub_url) as hub:
        found = selectors.several(hub, jobs)
        events = [request_event(kind, row["ns_id"], row["job_id"], **more) for row in found]
        if events:
            hub.ingest(events)
        after = hub.infos([row["job_id"] for row in found])
        now = [after.get(row["job_id"]) or hub.info(row["job_id"]) for row in found]
    idle = [_idle(verb, row, more.get("tasks")) for row in found]
    if as_json:
        data = [{"job_id": row["job_id"], "state": row["state"]} for row in now]
        output.put_json(f"job.{verb}", data, cursor=hub.cursor)
    counts = [0] * len(found)
    if verb == "hold":
        counts = [_started(row, more.get("tasks")) for row in now]
    elif verb == "retry":
        counts = [_to_retry(row, more.get("tasks")) for row in found]
    _say(now, idle, counts, _again if verb == "retry" else _goes_on, only_idle=as_json)


def _say(
    rows: Sequence[Mapping[str, Any]],
    idle: Sequence[str | None],
    counts: Sequence[int],
    count_text: Callable[[int], str],
    *,
    only_idle: bool,
) -> None:
    """Say how jobs are now and where there was nothing to do: each by itself if they are few.

    Args:
        rows: The jobs, as they are now.
        idle: Why there was nothing to do; None where there was.
        counts: How many tasks of each a hold came too late for, or a retry runs again.
        count_text: What stands behind a sentence of such a number.
        only_idle: Say only where there was nothing to do.
    """
    pairs = list(zip(rows, idle, strict=True))
    if len(rows) <= wording.EACH_MAX:
        for (row, why), count in zip(pairs, counts, strict=True):
            if why is not None:
                output.say(f"job {row['job_id']} {row['state']}: {why}")
            elif not only_idle:
                output.say(f"job {row['job_id']} {wording.outcome(row)}{count_text(count)}")
        return
    done = [row for row, why in pairs if why is None]
    if done and not only_idle:
        output.say(wording.jobs(done) + count_text(sum(counts)))
    for text in dict.fromkeys(why for why in idle if why is not None):
        output.say(f"{wording.jobs([row for row, why in pairs if why == text])}: {text}")


def _idle(verb: str, row: Mapping[str, Any], tasks: str | None) -> str | None:
    """Return why a request has no effect on a job, as it was before; None where it has one."""
    if verb == "retry":
        which = "no task" if tasks is None else f"none of tasks {tasks}"
        is_idle = not _to_retry(row, tasks)
        return f"nothing to retry, {which} has failed or was cancelled" if is_idle else None
    what = "change" if verb == "priority" else verb
    if not _is_open(row, tasks):
        over = "already over" if tasks is None else f"none of tasks {tasks} goes on"
        return f"nothing to {what}, {over}"
    if verb == "release" and not (row.get("counts") or {}).get("held", 0):
        return "nothing to release, no task is held"
    return None


def _is_open(row: Mapping[str, Any], tasks: str | None) -> bool:
    """Return whether any of the named tasks of a job, or of all, is not over."""
    if tasks is None:
        return row["state"] not in SETTLED
    # Imported here: most requests are about all that is there.
    from hpc.arrays import range_list  # noqa: PLC0415

    named = range_list(tasks)
    settled = (str(each["tasks"]) for each in row.get("settled") or [])
    over = sum(wording.shared(each, named) for each in settled)
    return over < wording.shared(str(row["tasks"]), named)


def _started(row: Mapping[str, Any], tasks: str | None) -> int:
    """Return how many of the named tasks of a job, or of all, run."""
    # Imported here: the other requests are about whatever is there.
    from hpc.arrays import range_list  # noqa: PLC0415

    named = str(row["tasks"]) if tasks is None else range_list(tasks)
    running = (a for a in row.get("attempts") or [] if a["state"] == "running")
    return sum(wording.shared(str(attempt["tasks"]), named) for attempt in running)


def _goes_on(count: int) -> str:
    if not count:
        return ""
    return (
        "; 1 task had started and goes on"
        if count == 1
        else f"; {count} tasks had started and go on"
    )


def _again(count: int) -> str:
    if not count:
        return ""
    return "; 1 task runs again" if count == 1 else f"; {count} tasks run again"


def _to_retry(row: Mapping[str, Any], tasks: str | None) -> int:
    """Return how many tasks a further round has, of the named ones or of all."""
    # Imported here: the other requests are about whatever is there.
    from hpc.arrays import range_list  # noqa: PLC0415

    named = str(row["tasks"]) if tasks is None else range_list(tasks)
    ended = [s for s in row.get("settled") or [] if s["state"] in ("failed", "cancelled")]
    return sum(wording.shared(str(each["tasks"]), named) for each in ended)
