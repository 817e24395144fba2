"""`hpc run`: submit, follow, and exit with the job's own code.

Ctrl-C, SIGTERM and a terminal that is closed (SIGHUP) cancel the job, and so does a reader of its
output that goes away: it would end by the same if it ran here.
"""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Final

import typer

from hpc import submission
from hpc.cli import advice, interrupts, output, selectors, wording
from hpc.cli.behind import BehindCommand
from hpc.cli.exits import READER_GONE
from hpc.cli.flags import Asks, Bounds, flagged
from hpc.cli.follow import LAST_OUTPUT_S, Followers
from hpc.cli.options import JsonErrors, client
from hpc.cli.reasons import Waiting
from hpc.cli.submit import command_spec
from hpc.client import Client
from hpc.client.ending import wait
from hpc.errors import HpcError

GRACE_S: Final = 5.0
"""What a task is given to end where its spec does not say."""

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[--] CMD ARG...",
        help="Executed directly; one word with a blank or a shell sign runs by /bin/sh -c.",
        show_default=False,
    ),
]


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("run", cls=BehindCommand, context_settings={"allow_interspersed_args": False})(
        flagged(run)
    )


def run(asks: Asks, bounds: Bounds, words: Words = None, _as_json: JsonErrors = False) -> int:
    """Run a command on a relay as if it ran here: its output, its exit code.

    A job that a signal has ended exits with 128 + its number; 125 is a failure of hpc itself.
    """
    if ":::" in (words or ()):
        output.say(
            "note: `:::` is a word like any other here; one task for each value: "
            "hpc submit --wait -- CMD {} ::: a b c"
        )
    spec = command_spec(
        words or [],
        ulimit=bounds.ulimit,
        stdin=bounds.stdin,
        stdout=None,
        stderr=None,
        **asks.place(),
        **asks.spec(),
        **bounds.spec(),
    )
    event = submission.submit_event(
        asks.ns, spec, job_id=asks.key, name=asks.name, priority=asks.priority
    )
    batch_id = bounds.batch_id or submission.new_batch_id()
    with client(asks.hub_url) as hub:
        job_id: str | None = None
        followers: Followers | None = None
        info: dict[str, Any] | None = None
        try:
            interrupts.heed()
            job_id = str(hub.ingest([event], batch_id=batch_id)["jobs"][-1])
            selectors.remember(job_id)
            selectors.say_taken(asks.key, asks.name)
            followers = Followers(asks.hub_url, job_id, on_reader_gone=interrupts.tell_main)
            waiting = Waiting(hub)
            waiting(hub.info(job_id))
            info = wait(hub, job_id, None, waiting)
            followers.finish(hub)
        except BrokenPipeError:
            code = READER_GONE
        except KeyboardInterrupt as interrupt:
            code = interrupts.code_of(interrupt)
        else:
            if info["state"] != "succeeded":
                output.say(f"job {job_id} {wording.outcome(info)}")
                output.say_hint(advice.of_failure(info, is_shown=True))
            return wording.exit_code(info)
        if info is None:
            return _cancelled(hub, job_id, [event], batch_id, followers, code)
        # What has ended already needs no end; what it has left is printed all the same.
        _print_rest(hub, followers, code)
        return code


def _cancelled(
    hub: Client,
    job_id: str | None,
    batch: list[submission.Event],
    batch_id: str,
    followers: Followers | None,
    code: int,
) -> int:
    """Cancel the job and wait for it to be settled; a later Ctrl-C waits for nothing."""
    with contextlib.suppress(KeyboardInterrupt):
        try:
            job_id = job_id or interrupts.job_of(hub, batch, batch_id)
            _say(f"cancelling job {job_id}")
            info = interrupts.cancelled(hub, job_id)
        except HpcError as error:
            what = f"hpc job cancel {job_id}" if job_id else "if it is there: hpc job list"
            _say(f"error: {error.message}\n\nhint: {what}")
            return code
        # Its processes may write on in their grace, and are followed as long.
        grace_s = (info.get("spec") or {}).get("grace", GRACE_S)
        _print_rest(hub, followers, code, min(grace_s + LAST_OUTPUT_S, interrupts.CANCEL_S_MAX))
        _say(f"job {job_id} {wording.outcome(info)}")
    return code


def _print_rest(
    hub: Client, followers: Followers | None, code: int, within_s: float = LAST_OUTPUT_S
) -> None:
    """Print what the job has written and is not printed yet, if anybody reads it still."""
    if code == READER_GONE or followers is None:
        return
    with contextlib.suppress(KeyboardInterrupt, HpcError, OSError):
        hub.close()  # in the middle of an answer, maybe
        followers.finish(hub, within_s)


def _say(text: str) -> None:
    """Say it, if anybody reads stderr still: the job is cancelled all the same."""
    with contextlib.suppress(OSError):
        output.say(text)
