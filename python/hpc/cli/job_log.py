"""`hpc job log`: the output of a task, or where it went instead."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, NamedTuple

import typer

from hpc import ranges
from hpc.cli import output, reasons, selectors, wording
from hpc.cli.options import HubUrl, Json, client
from hpc.client import Client
from hpc.errors import NotFound, UsageError
from hpc.states import SETTLED

Selector = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id, prefix, name or `last`.", show_default=False),
]


def log(
    job: Selector = None,
    task: Annotated[
        int | None, typer.Option("--task", metavar="N", min=0, help="Of an array; else all.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="stdout|stderr", help="Only this one.")
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Only stderr.")] = False,
    last: Annotated[
        int | None,
        typer.Option("--lines", "-n", metavar="N", min=0, help="Only the last lines of each."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")
    ] = False,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> int:
    """Print the output of a job: its stdout to stdout, its stderr to stderr.

    Of an array, of each task that has begun in the order of their numbers, which stderr tells.
    With --json one object with both as text; with --follow too, a line of JSON for each piece.
    Exits with 4 where its stdout, or the one stream that was asked for, went to a file of its own.
    """
    # Imported here: threads are of no use to the other commands of this noun.
    from hpc.cli import follow as following  # noqa: PLC0415

    stream = _one_stream(stream, stderr=stderr, known=following.STREAMS)
    with client(hub_url) as hub:
        info = selectors.one(hub, job)
        job_id = str(info["job_id"])
        out = following.JsonLines if as_json else output.screen
        names = following.STREAMS if stream is None else (stream,)
        if task is None and _is_array(info):
            if follow:
                raise _one_task(info)
            return _each(hub, info, names, last, as_json=as_json)
        files = _files(hub, info, task, names)
        for file in files:
            output.say(f"note: {file.text()}")
        if follow:
            _say_held(hub, info, task)
        if not as_json:
            _say_unbegun(info)
        if follow and stream is None:
            following.Followers(hub_url, job_id, task, out, last=last).join()
        elif as_json and not follow:
            texts = _texts(hub, (job_id, task), names, last, files)
            output.put_json("job.log", {"job_id": job_id, **texts}, cursor=hub.cursor)
        else:
            for name in names:
                of = following.Output(job_id, task, name, out(name))
                if last is not None:
                    of.show_last(hub, last)
                if follow:
                    of.follow(hub)
                elif last is None:
                    of.show(hub)
    # Who reads this command's stdout has not got what was asked for.
    return NotFound.exit_code if names[0] in {file.stream for file in files} else 0


def _one_task(info: dict[str, Any]) -> UsageError:
    """Return the refusal to follow an array: its tasks write at once, and as long as they like."""
    job_id, tasks = info["job_id"], str(info["tasks"])
    running = [row["tasks"] for row in info.get("attempts") or [] if row["state"] == "running"]
    first = next(ranges.numbers(str(running[-1]) if running else tasks), 0)
    which = "one that runs" if running else "one of them"
    return UsageError(
        f"`--follow` follows one task, and job `{job_id}` has {ranges.count(tasks)}",
        field="task",
        hint=f"{which}: hpc job log --follow --task {first} {job_id}"
        f"   what all have written: hpc job log {job_id}",
    )


def _each(
    hub: Client, info: dict[str, Any], names: tuple[str, ...], last: int | None, *, as_json: bool
) -> int:
    """Print the output of all tasks that have begun and return the exit code; see `log`."""
    from hpc.cli import follow as following  # noqa: PLC0415 - see `log`

    job_id = str(info["job_id"])
    code, data = 0, []
    for row in hub.tasks(job_id):
        if row.get("started_at") is None:
            continue
        task = int(row["task"])
        files = _files(hub, info, task, names, row)
        if names[0] in {file.stream for file in files}:
            code = NotFound.exit_code
        if as_json:
            data.append({"task": task, **_texts(hub, (job_id, task), names, last, files)})
            continue
        output.say(f"==> task {task} <==")
        for file in files:
            output.say(f"note: {file.text()}")
        for name in names:
            of = following.Output(job_id, task, name)
            if last is None:
                of.show(hub)
            else:
                of.show_last(hub, last)
    if as_json:
        output.put_json("job.log", {"job_id": job_id, "tasks": data}, cursor=hub.cursor)
    return code


def _one_stream(stream: str | None, *, stderr: bool, known: tuple[str, ...]) -> str | None:
    """Return the one stream that is asked for; None is both."""
    if stderr:
        if stream == "stdout":
            raise UsageError("`--stderr` and `--stream stdout` exclude each other", field="stderr")
        return "stderr"
    if stream is not None and stream not in known:
        raise UsageError(f"`--stream` must be stdout or stderr, got {stream!r}", field="stream")
    return stream


class _File(NamedTuple):
    """Where a stream of a task goes instead of to the Hub."""

    stream: str
    of: str
    path: str
    node_id: str | None
    is_begun: bool

    def text(self) -> str:
        """Return it as a sentence."""
        verb = "is in" if self.is_begun else "goes to"
        node = f"node {self.node_id}" if self.node_id else "the node that runs it"
        return f"{self.stream} of {self.of} {verb} {self.path} on {node}"


def _files(
    hub: Client,
    info: dict[str, Any],
    task: int | None,
    names: tuple[str, ...],
    row: dict[str, Any] | None = None,
) -> list[_File]:
    """Return the files that streams of a task are written to by its own wish.

    Args:
        hub: Where it is.
        info: Its job.
        task: Its number.
        names: Of the streams.
        row: What is known of it, if it is.
    """
    spec = (info.get("spec") or {}) if info["ns_id"] == "batch" else {}
    named = [name for name in names if spec.get(name) is not None]
    if not named:
        return []
    row = row or _task(hub, info, task)
    job_id, node_id = str(info["job_id"]), row.get("node_id")
    of = f"task {row['task']} of job {job_id}" if _is_array(info) else f"job {job_id}"
    signs = {"j": job_id, "a": str(row["task"]), "%": "%"} | ({"N": node_id} if node_id else {})
    return [
        _File(name, of, _path(spec, name, signs), node_id, row.get("started_at") is not None)
        for name in named
    ]


def _path(spec: dict[str, Any], stream: str, signs: dict[str, str]) -> str:
    """Return the path as the relay makes it; a sign whose value is not known yet stays."""
    import re  # noqa: PLC0415 - for these jobs alone

    path = re.sub(r"%(.)", lambda sign: signs.get(sign[1], sign[0]), str(spec[stream]))
    return str(PurePosixPath(spec.get("cwd") or "", path))


def _say_held(hub: Client, info: dict[str, Any], task: int | None) -> None:
    """Say once why there is nothing to follow yet, and what lets it start."""
    if info["state"] in SETTLED:
        return
    holds = reasons.of_holds(hub, info)
    if info["state"] == "held" or not holds:
        reasons.say_waiting(info, holds)
        return
    row = _task(hub, info, task)
    if row["state"] == "held":
        job_id = info["job_id"]
        output.say(
            f"note: task {row['task']} of job {job_id} is held: hpc job release {job_id}"
            f"{reasons.given(holds)}"
        )


def _say_unbegun(info: dict[str, Any]) -> None:
    """Say how a job of one task ended that can have no output, since its command never began."""
    if _is_array(info) or info["state"] not in ("failed", "cancelled"):
        return
    if all(wording.is_unbegun(attempt) for attempt in info.get("attempts") or ()):
        output.say(f"note: no output; job {info['job_id']} {wording.outcome(info)}")


def _task(hub: Client, info: dict[str, Any], task: int | None) -> dict[str, Any]:
    """Return the task that is meant, by default the first.

    Raises:
        NotFound: The job has none of this number.
    """
    first = task if task is not None else next(ranges.numbers(str(info["tasks"])), 0)
    job_id = str(info["job_id"])
    for row in hub.tasks(job_id, after=first - 1 if first else None, limit=1):
        if row["task"] == first:
            return row
    raise NotFound(
        f"Job `{job_id}` has no task {first}; its tasks are {info['tasks']}",
        hint=f"hpc job tasks {job_id}",
    )


def _is_array(info: dict[str, Any]) -> bool:
    return ranges.count(str(info["tasks"])) > 1


def _texts(
    hub: Client,
    of: tuple[str, int | None],
    names: tuple[str, ...],
    last: int | None,
    files: list[_File],
) -> dict[str, Any]:
    """Return the streams of a task as `--json` shows them, and where they went instead."""
    texts: dict[str, Any] = {name: _text(hub, (*of, name), last) for name in names}
    if files:
        texts["files"] = {
            file.stream: {"path": file.path, "node_id": file.node_id} for file in files
        }
    return texts


def _text(hub: Client, of: tuple[str, int | None, str], last: int | None) -> str:
    """Return a stream of a task, or its last lines, as text; what is no UTF-8 as U+FFFD."""
    import io  # noqa: PLC0415 - for --json alone

    from hpc.cli import follow as following  # noqa: PLC0415 - see `log`

    buffer = io.BytesIO()
    stream = following.Output(*of, buffer)
    if last is None:
        stream.show(hub)
    else:
        stream.show_last(hub, last)
    return buffer.getvalue().decode(errors="replace")
