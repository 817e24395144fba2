"""`hpc map`: a command for many values, as if they ran here: each output as its task ends.

Ctrl-C, SIGTERM and a terminal that is closed cancel what is left, as of `hpc run`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from hpc import ranges, submission
from hpc.cli import array as arrays_typed
from hpc.cli import gate, interrupts, output, selectors
from hpc.cli.behind import BehindCommand
from hpc.cli.exits import READER_GONE
from hpc.cli.flags import Asks, flagged
from hpc.cli.follow import STREAMS, Output
from hpc.cli.options import JsonErrors, client
from hpc.cli.reasons import say_waiting
from hpc.cli.submit import command_spec, send
from hpc.client import Client
from hpc.errors import HpcError, UsageError
from hpc.states import SETTLED

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[--] CMD ARG... ::: VALUE...",
        help="{} stands for the value; one word with a blank or a shell sign runs by /bin/sh -c.",
        show_default=False,
    ),
]


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("map", cls=BehindCommand, context_settings={"allow_interspersed_args": False})(
        flagged(map_)
    )


def map_(
    asks: Asks,
    words: Words = None,
    each_line: arrays_typed.EachLine = None,
    from_json: arrays_typed.FromJson = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", metavar="N", min=1, help="So many at a time, at most."),
    ] = None,
    keep_order: Annotated[
        bool, typer.Option("--keep-order", "-k", help="Print in the order of the values.")
    ] = False,
    retries: gate.Retries = None,
    _as_json: JsonErrors = False,
) -> int:
    """Run a command for each of many values, and print each output whole as its task ends.

    Exits with 1 if any has failed; stderr says how many, and how to run those again.
    """
    asked = arrays_typed.asked(words or [], array=None, each_line=each_line, from_json=from_json)
    if not asked.words or asked.tasks is None:
        raise UsageError(
            "Give a command and values for it",
            field="command",
            hint="hpc map 'gzip -9 {}' ::: *.txt   or   hpc map --each-line FILE -- CMD {}",
        )
    spec = command_spec(
        asked.words,
        retries=retries,
        throttle=jobs,
        expand=asked.expands,
        stdin=None,
        **asks.place(),
        **asks.spec(),
    )
    with client(asks.hub_url) as hub:
        interrupts.heed()
        sent = submission.submission_of(
            asks.ns, spec, asked.tasks, job_id=asks.key, name=asks.name, priority=asks.priority
        )
        # Of one event it is the receipt that says which job it is, and the batch's id that asks.
        job_id = None if sent.is_one_event else sent.job_id
        batch_id = submission.new_batch_id() if sent.is_one_event else None
        try:
            receipt = send(hub, sent, batch_id)
            job_id = str(receipt["jobs"][-1])
            selectors.remember(job_id)
            info = hub.info(job_id)
            output.say(f"job {job_id}: {sent.total:,} task{'s' if sent.total != 1 else ''}")
            say_waiting(info)
            _print_all(hub, info, int(receipt["first_seq"]), keep_order=keep_order)
        except BrokenPipeError:
            code = READER_GONE
        except KeyboardInterrupt as interrupt:
            code = interrupts.code_of(interrupt)
        else:
            return _tell_end(hub.info(job_id))
        _cancel(hub, job_id, sent.batches[0], batch_id)
        return code


def _print_all(hub: Client, info: dict[str, Any], first_seq: int, *, keep_order: bool) -> None:
    """Print the output of each task that is settled, until all are."""
    job_id, tasks = str(info["job_id"]), str(info["tasks"])
    ended = _ended(hub, job_id, tasks, first_seq)
    if keep_order:
        ended = _in_order(ended, ranges.numbers(tasks))
    for task in ended:
        empty: str | None = None
        for stream in STREAMS:
            if stream != empty:
                # One that was cancelled before it began has none; another may be past its keeping.
                out = Output(job_id, task, stream)
                out.show(hub)
                empty = out.empty


def _ended(hub: Client, job_id: str, of: str, first_seq: int) -> Iterator[int]:
    """Yield tasks as they are settled; each once."""
    with hub.again() as follower:
        events = follower.follow(max(first_seq - 1, 0), job=job_id)
        left = set(ranges.numbers(of))
        for event in events:
            for state, tasks in (event.get("settles") or {}).items():
                for task in ranges.numbers(tasks) if state in SETTLED else ():
                    if task in left:
                        left.remove(task)
                        yield task
            if not left:
                return


def _in_order(ended: Iterator[int], numbers: Iterator[int]) -> Iterator[int]:
    early: set[int] = set()
    for wanted in numbers:
        while wanted not in early:
            early.add(next(ended))
        early.remove(wanted)
        yield wanted


def _tell_end(info: dict[str, Any]) -> int:
    counts, job_id = info["counts"], info["job_id"]
    bad = {state: counts[state] for state in ("failed", "cancelled") if counts[state]}
    if not bad:
        return 0
    told = ", ".join(f"{count:,} {state}" for state, count in bad.items())
    total = ranges.count(str(info["tasks"]))
    output.say(
        f"job {job_id}: {told} of {total:,} tasks: hpc job tasks {job_id} --state failed"
        f"\n\nhint: once more: hpc job retry {job_id}"
    )
    return 1


def _cancel(
    hub: Client, job_id: str | None, batch: list[submission.Event], batch_id: str | None
) -> None:
    """Cancel what is left; a later Ctrl-C waits for nothing."""
    with contextlib.suppress(KeyboardInterrupt, OSError):
        try:
            job_id = job_id or interrupts.job_of(hub, batch, batch_id)
            output.say(f"cancelling job {job_id}")
            interrupts.cancelled(hub, job_id)
        except HpcError as error:
            what = f"hpc job cancel {job_id}" if job_id else "if it is there: hpc job list"
            output.say(f"error: {error.message}\n\nhint: {what}")
