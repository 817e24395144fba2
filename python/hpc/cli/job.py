"""`hpc job`: list, info, tasks, wait; its other commands have files of their own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any

import typer

from hpc.cli import (
    advice,
    job_attempts,
    job_log,
    job_requests,
    job_why,
    last_lines,
    output,
    reasons,
    selectors,
    wording,
)
from hpc.cli.options import HubUrl, Json, Selectors, client, noun
from hpc.client import Client
from hpc.client.ending import Over
from hpc.client.ending import wait as wait_until_over
from hpc.errors import NotFound, TimedOut, UsageError
from hpc.nearest import did_you_mean
from hpc.states import STATES
from hpc.units import parse_duration, parse_moment, show_duration

LIST_DEFAULT = 20
TASKS_DEFAULT = 100

Selector = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id, prefix, name or `last`.", show_default=False),
]


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    noun(
        app,
        "job",
        "Jobs.",
        {
            "list": list_,
            "info": info,
            "why": job_why.why,
            "tasks": tasks,
            "attempts": job_attempts.attempts,
            "wait": wait,
            "log": job_log.log,
            **job_requests.VERBS,
        },
        verb,
    )


def list_(
    jobs: Selectors = None,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only in this state.")
    ] = None,
    ns: Annotated[
        str | None, typer.Option("--ns", metavar="NS", help="Only of this namespace.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Only of this name.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Submitted in the last 2h, or since a date."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help="Submitted before then, told likewise."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last",
            "--limit",
            metavar="N",
            min=0,
            help=f"The newest; 0 is all. Else {LIST_DEFAULT}, or all that is named.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """List jobs, the newest first."""
    _check_state(state)
    with client(hub_url) as hub:
        wanted = {"state": state, "ns": ns, "name": name, **_times(since=since, until=until)}
        if jobs:
            rows, is_cut = _named(hub, jobs, last or 0, wanted)
        else:
            rows, is_cut = _newest(hub, LIST_DEFAULT if last is None else last, wanted)
        if ns is not None and not rows and not jobs and hub.at is None:
            # Of none of its jobs is told by an empty list.
            from hpc.cli.ns import one  # noqa: PLC0415 - most commands need none of it

            one(hub, ns)
    if as_json:
        output.put_json("job.list", [as_data(row) for row in rows], cursor=hub.cursor)
        return
    heads = ["JOB", "NAME", "NAMESPACE", "STATE", "TASKS", "SUBMITTED"]
    output.put_table(
        heads,
        (
            [
                row["job_id"],
                wording.title(row),
                row["ns_id"],
                row["state"],
                wording.tally(row),
                output.when(row.get("submitted_at")),
            ]
            for row in rows
        ),
    )
    if is_cut:
        again = " ".join(["hpc job list", *(jobs or ()), "--last 0"])
        output.say(f"the {len(rows)} newest; all of them: {again}")


def info(jobs: Selectors = None, as_json: Json = False, hub_url: HubUrl = None) -> None:
    """Show what is known of jobs, why they wait or how they ended.

    With --json one job is an object, and several are a list as `job list` prints it.
    """
    with client(hub_url) as hub:
        found = selectors.several(hub, jobs or ["last"])
        holds = [reasons.of_holds(hub, row) for row in found]
        # Of one job: each is a request for the nodes.
        lost = reasons.out_of_reach(hub, found[0]) if len(found) == 1 else []
        wrote = last_lines.of_failure(hub, found[0]) if len(found) == 1 else {}
    told = list(zip(found, holds, strict=True))
    if as_json:
        data = [_with_holds(row, said) for row, said in told]
        if lost:
            data[0]["notes"] = [f"it runs {text}" for text in lost]
        if wrote:
            data[0]["last_lines"] = wrote
        one = len(data) == 1
        output.put_json(
            "job.info" if one else "job.list", data[0] if one else data, cursor=hub.cursor
        )
        return
    for text in lost:
        output.say(f"note: it runs {text}")
    for number, (row, said) in enumerate(told):
        if number:
            output.put("")
        shown = wording.fields(row, [each.text() for each in said])
        last = [(f"last {stream}", "\n".join(lines)) for stream, lines in wrote.items()]
        output.put_fields([*shown, *last, ("hint", advice.of(row))])


def _with_holds(row: Mapping[str, Any], holds: Sequence[reasons.Said]) -> dict[str, Any]:
    data = as_data(row)
    if holds:
        data["holds"] = [{"tasks": said.tasks, **said.as_data()} for said in holds]
    if hint := advice.of(row):
        data["hint"] = hint
    return data


def tasks(
    job: Selector = None,
    state: Annotated[
        str | None, typer.Option("--state", metavar="STATE", help="Only in this state.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="So many; 0 is all of them.")
    ] = TASKS_DEFAULT,
    after: Annotated[
        int | None, typer.Option("--after", metavar="T", min=0, help="Of a greater number.")
    ] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """List the tasks of a job: how each ended, where, and what it used."""
    _check_state(state)
    with client(hub_url) as hub:
        job_id = str(selectors.one(hub, job)["job_id"])
        most = limit + 1 if limit else None
        rows = list(hub.tasks(job_id, state=state, after=after, limit=most))
    is_cut = bool(limit) and len(rows) > limit
    rows = rows[:limit] if is_cut else rows
    if as_json:
        output.put_json("job.tasks", [output.with_times(row) for row in rows], cursor=hub.cursor)
    else:
        output.put_table(wording.TASK_HEADS, (wording.task_cells(row) for row in rows))
        if any(row["state"] == "cancelled" and row["exit_code"] is not None for row in rows):
            output.say("note: EXIT of a cancelled task is what its last attempt ended with")
    if is_cut:
        only = "" if state is None else f" --state {state}"
        last = rows[-1]["task"]
        output.say(f"there are more: hpc job tasks {job_id}{only} --after {last} --limit {limit}")


def wait(
    jobs: Selectors = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="Such as 90s or 1h30m.")
    ] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> int:
    """Wait until jobs are finished; exits with 1 if any of them did not succeed."""
    timeout_s = None if timeout is None else parse_duration(timeout, field="timeout")
    with client(hub_url) as hub:
        found = selectors.several(hub, jobs or ["last"])
        waiting = reasons.Waiting(hub)
        for row in found:
            if row["state"] == "held":  # it waits for somebody, and that may be who waits here
                waiting(row)
        job_ids = [str(row["job_id"]) for row in found]
        return wait_for(
            hub,
            job_ids,
            timeout_s=timeout_s,
            tell=output.put,
            as_json=as_json,
            known=found,
            waiting=waiting,
        )


def wait_for(
    hub: Client,
    job_ids: Sequence[str],
    *,
    timeout_s: float | None,
    tell: Callable[[str], None],
    as_json: bool = False,
    known: Sequence[dict[str, Any]] = (),
    waiting: reasons.Waiting | None = None,
) -> int:
    """Wait for jobs, tell how each ended, and return 1 if any did not succeed, else 0."""
    told = None if as_json else tell
    waiting = waiting or reasons.Waiting(hub)
    # Imported here: threads are of no use to the other commands of this noun.
    from hpc.cli.progress import Progress  # noqa: PLC0415

    with contextlib.nullcontext() if as_json else Progress(hub, job_ids):
        rows = _ended(hub, job_ids, timeout_s=timeout_s, tell=told, known=known, waiting=waiting)
    # Of several jobs each says why it failed, and `hpc job info` what helps.
    hint = advice.of_failure(rows[0]) if len(rows) == 1 else None
    wrote = last_lines.of_failure(hub, rows[0]) if len(rows) == 1 else {}
    if as_json:
        data = [as_data(row) for row in rows]
        if wrote:
            data[0]["last_lines"] = wrote
        if hint is not None:
            data[0]["hint"] = hint
        output.put_json("job.wait", data, cursor=hub.cursor)
    else:
        for stream, lines in wrote.items():
            output.say(f"its last lines on {stream}:")
            output.say("\n".join(f"  {line}" for line in lines))
        output.say_hint(hint)
    lacking = [row for row in rows if row["state"] != "succeeded"]
    unneeded = _unneeded(lacking)
    if lacking and len(unneeded) == len(lacking):
        ids = ", ".join(unneeded)
        output.say(f"note: not needed: {ids}; the exit code is 1 as for all that is cancelled")
    return 1 if lacking else 0


def _unneeded(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which jobs never started because a failure did not come, that they are all for."""
    unmet = [
        row
        for row in rows
        if row["state"] == "cancelled"
        and all(each["cause"] == "dependency" for each in row.get("settled") or [])
    ]
    found: set[str] = set()
    for _ in unmet:  # what comes after one of them may stand before it
        found |= {
            str(row["job_id"])
            for row in unmet
            if "after_fail" in row or not found.isdisjoint(row.get("after") or ())
        }
    return [str(row["job_id"]) for row in unmet if row["job_id"] in found]


def _ended(
    hub: Client,
    job_ids: Sequence[str],
    *,
    timeout_s: float | None,
    tell: Callable[[str], None] | None,
    known: Sequence[dict[str, Any]],
    waiting: reasons.Waiting,
) -> list[Mapping[str, Any]]:
    """Wait for jobs, tell how each ended, and return them.

    Args:
        hub: Where they are.
        job_ids: Told in this order.
        timeout_s: For all of them; None is for ever.
        tell: Told of each as soon as those before it are over, and of many how many came to what
            and the first that did not succeed; None tells nobody.
        known: What was told of some of them already.
        waiting: Says why the one that is waited for has to wait.

    Raises:
        TimedOut: One is not finished after `timeout_s`.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    rows: list[Mapping[str, Any]] = []
    over = Over(hub, job_ids, known)
    are_few = len(job_ids) <= wording.EACH_MAX
    told = 0
    for number, job_id in enumerate(job_ids):
        left_s = None if until is None else max(until - time.monotonic(), 0.0)
        try:
            found = over.find(number) or wait_until_over(hub, job_id, left_s, waiting)
        except TimedOut as error:
            # The Hub's client knows what was left for this job, not what was typed.
            took = show_duration(timeout_s or 0.0)
            text = f"Job `{job_id}` is not finished after {took}"
            raise TimedOut(text, hint=error.hint) from error
        except NotFound as error:
            found = _forgotten(job_id, error)
        except KeyboardInterrupt:
            output.say(f"detached; job {job_id} goes on. cancel it: hpc job cancel {job_id}")
            raise
        rows.append(found)
        is_told = are_few or (found["state"] != "succeeded" and told < wording.EACH_MAX)
        if tell is not None and is_told:
            tell(f"job {job_id} {wording.outcome(found)}")
            told += 1
    if tell is not None and not are_few:
        tell(wording.jobs(rows))
    return rows


def _forgotten(job_id: str, error: NotFound) -> dict[str, Any]:
    """Return what there is to say of a job that was forgotten."""
    if error.outcome is None:
        raise error
    why = "its attempts and output were forgotten"
    return {"job_id": job_id, "state": error.outcome, "why": why, "forgotten": True}


def as_data(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job as `--json` shows it: times in RFC 3339, memory in bytes, how it ended."""
    data = output.with_times(row)
    data["attempts"] = [output.with_times(attempt) for attempt in row.get("attempts") or []]
    spec = dict(row.get("spec") or {})
    if row.get("ns_id") == "batch" and isinstance(spec.get("memory"), int):
        data["memory_bytes"] = spec["memory"] << 20
    data["reason"] = wording.how_it_ended(row)
    return data


def _times(**texts: str | None) -> dict[str, int | None]:
    now_ms = time.time() * 1000
    return {
        name: None if text is None else parse_moment(text, field=f"--{name}", now_ms=now_ms)
        for name, text in texts.items()
    }


def _check_state(state: str | None) -> None:
    if state is not None and state not in STATES:
        raise UsageError(
            f"`--state` must be one of {', '.join(STATES)}, got {state!r}",
            field="state",
            hint=did_you_mean(state, STATES),
        )


def _newest(
    hub: Client, last: int, wanted: Mapping[str, str | int | None]
) -> tuple[list[dict[str, Any]], bool]:
    query = {name: value for name, value in wanted.items() if value is not None}
    if last == 0:
        return list(hub.jobs(order="desc", **query)), False
    rows = list(islice(hub.jobs(order="desc", limit=last + 1, **query), last + 1))
    return rows[:last], len(rows) > last


def _named(
    hub: Client, jobs: Sequence[str], last: int, wanted: Mapping[str, str | int | None]
) -> tuple[list[dict[str, Any]], bool]:
    """Return those that selectors mean, the newest first, and whether others were left out."""
    fields = {"state": "state", "ns": "ns_id", "name": "name"}
    asked = [(of, wanted[name]) for name, of in fields.items() if wanted[name] is not None]
    since, until = (wanted.get(name) for name in ("since", "until"))
    found = selectors.several(hub, jobs)
    rows = [
        row
        for row in found
        if all(row.get(field) == value for field, value in asked)
        and (since is None or row["submitted_at"] >= since)
        and (until is None or row["submitted_at"] < until)
    ]
    # Of one millisecond, the later of those that a selector gives: it gives the oldest first.
    rows.reverse()
    rows.sort(key=lambda row: row.get("submitted_at") or 0, reverse=True)
    return (rows[:last], len(rows) > last) if last else (rows, False)
