"""`hpc submit`: a job, or any event of a namespace; the last line of stdout is the job id alone."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hpc import arrays, submission
from hpc.cli import array as arrays_typed
from hpc.cli import gate, output, selectors
from hpc.cli.asked import PASSED_ON
from hpc.cli.behind import BehindCommand
from hpc.cli.flags import Asks, Bounds, flagged
from hpc.cli.options import Json, client
from hpc.cli.reasons import say_waiting
from hpc.client import Client
from hpc.errors import NoHub, NotFound, UsageError
from hpc.limits import parse_ulimits, warned
from hpc.units import parse_memory, show_duration, show_memory

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[--] CMD ARG...",
        help="Executed directly; one word with a blank or a shell sign runs by /bin/sh -c. "
        "Behind ::: stand values, one task each: CMD {} ::: a b c.",
        show_default=False,
    ),
]


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("submit", cls=BehindCommand, context_settings={"allow_interspersed_args": False})(
        flagged(submit)
    )


def submit(
    asks: Asks,
    bounds: Bounds,
    words: Words = None,
    array: arrays_typed.Array = None,
    each_line: arrays_typed.EachLine = None,
    from_json: arrays_typed.FromJson = None,
    stdout: Annotated[
        str | None,
        typer.Option("--stdout", metavar="P", help="Write there; %j %a %N: job, task, node."),
    ] = None,
    stderr: Annotated[str | None, typer.Option("--stderr", metavar="P", help="Likewise.")] = None,
    after: gate.After = None,
    after_any: gate.AfterAny = None,
    after_fail: gate.AfterFail = None,
    after_task: gate.AfterTask = False,
    hold: gate.Hold = False,
    retries: gate.Retries = None,
    retry_on: gate.RetryOn = None,
    max_fails: gate.MaxFails = None,
    spec: Annotated[
        str | None,
        typer.Option("--spec", metavar="JSON", help="Instead of a command; @FILE reads a file."),
    ] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="The kind of the event, with --spec.")
    ] = "SubmitJob",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is finished.")] = False,
    progress: Annotated[
        bool, typer.Option("--progress", help="Likewise; how far it is, --wait shows too.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Submit a job and print its id; with --from-json and no command a graph of jobs."""
    typed: dict[str, Any] = {
        **asks.spec(),
        **bounds.spec(),
        "stdout": stdout,
        "stderr": stderr,
        "retries": retries,
        "retry_on": None if retry_on is None else retry_on.split(","),
        "max_fails": max_fails,
    }
    if from_json is not None and not words and spec is None:
        # Imported here: one job needs none of it.
        from hpc.cli import graph  # noqa: PLC0415

        graph.check_options(
            {
                "--array": array is not None,
                "--each-line": each_line is not None,
                "--ns": asks.ns != "batch",
                "--kind": kind != "SubmitJob",
                "--batch-id": bounds.batch_id is not None,
            }
        )
        folder = folder_of(asks.cwd)
        typed |= {
            "env": job_env(asks.env or [], env_all=asks.env_all, environ=os.environ),
            "cwd": folder,
            "stdin": stdin_of(folder, bounds.stdin),
            "umask": own_umask(),
            "ulimits": parse_ulimits(bounds.ulimit or []),
            "name": asks.name,
            "priority": asks.priority,
            "after_task": after_task,
            "hold": hold,
        }
        with client(asks.hub_url) as hub:
            afters = {"after": after, "after_any": after_any, "after_fail": after_fail}
            typed |= {field: gate.ids(hub, named) for field, named in afters.items()}
            plan = graph.plan(from_json, key=asks.key, base=typed)
            return graph.submit(hub, plan, wait=wait or progress, as_json=as_json)
    if (spec is None) == (not words):
        raise UsageError(
            "Give either a command or --spec", field="command", hint="hpc submit -- python fit.py"
        )
    asked = arrays_typed.asked(words or [], array=array, each_line=each_line, from_json=from_json)
    fields = (
        read_spec(spec)
        if spec is not None
        else command_spec(
            asked.words,
            **asks.place(),
            stdin=bounds.stdin,
            expand=asked.expands,
            throttle=asked.throttle,
            ulimit=bounds.ulimit,
            **typed,
        )
    )
    with client(asks.hub_url) as hub:
        sent = submission.submission_of(
            asks.ns,
            fields,
            asked.tasks or arrays.ONE,
            kind=kind,
            job_id=asks.key,
            name=asks.name,
            priority=asks.priority,
            gate=submission.gate_of(
                after=gate.ids(hub, after),
                after_any=gate.ids(hub, after_any),
                after_fail=gate.ids(hub, after_fail),
                after_task=after_task,
                hold=hold,
            ),
        )
        receipt = send(hub, sent, bounds.batch_id)
        if as_json:
            _tell_json(hub, sent, receipt)
        else:
            count = None if asked.tasks is None else sent.total
            say_submitted(receipt, _job_id(receipt), fields, asks.memory, count)
        job_id = _job_id(receipt)
        if job_id is None:
            return 0
        selectors.remember(job_id)
        selectors.say_taken(asks.key, asks.name)
        if not as_json:
            output.put(job_id)
        if wait or progress:
            # Imported here: who does not wait needs none of it.
            from hpc.cli import job  # noqa: PLC0415

            return job.wait_for(hub, [job_id], timeout_s=None, tell=output.say)
        if not as_json:
            try:
                say_waiting(hub.info(job_id))
            except NotFound as error:
                if error.outcome is None:
                    raise
                # The same key again, of a job that is long over.
                output.say(f"it {error.outcome} before and was forgotten: nothing runs again")
    return 0


def _job_id(receipt: Mapping[str, Any]) -> str | None:
    """Return the id of the job that was submitted; other kinds of events have none."""
    job_ids: list[str] = receipt.get("jobs") or []
    return job_ids[-1] if job_ids else None


def _tell_json(hub: Client, sent: submission.Submission, receipt: Mapping[str, Any]) -> None:
    data = {
        "job_id": _job_id(receipt),
        "batch_id": receipt["id"],
        "duplicate": receipt.get("duplicate", False),
        "tasks": sent.total,
    }
    output.put_json("submit", data, cursor=hub.cursor)


def send(hub: Client, sent: submission.Submission, batch_id: str | None) -> dict[str, Any]:
    """Send all batches of a job and return the last receipt.

    Raises:
        UsageError: There is no one batch that `batch_id` could name.
        HpcError: As `Client.ingest`; of several batches those before the refused are recorded.
    """
    if sent.is_one_event:
        return hub.ingest(sent.batches[0], batch_id=batch_id)
    if batch_id is not None:
        raise UsageError(
            f"`--batch-id` names one event, and {sent.total} tasks take several",
            field="batch_id",
            hint="the same job again is safe with the same --key",
        )
    try:
        *_, receipt = [hub.ingest(batch) for batch in sent.batches]
    except NoHub as error:
        if error.code != NoHub.default_code or len(sent.batches) > 1:
            error.hint = (
                "some of it may have been recorded; "
                f"the same again is safe with --key {sent.job_id}"
            )
        raise
    return receipt


def command_spec(  # noqa: D417 - the flags say what they are
    words: list[str],
    *,
    memory: str | None,
    env: list[str],
    env_all: bool,
    cwd: str | None,
    stdin: str | None,
    ulimit: list[str] | None = None,
    **more: Any,  # noqa: ANN401 - checked by batch_spec
) -> dict[str, Any]:
    """Return the spec of what was typed.

    Args:
        words: One word that needs a shell is given to one; else they are executed directly.
    """
    folder = folder_of(cwd)
    return submission.batch_spec(
        words[0] if submission.is_line(words) else words,
        memory=None if memory is None else parse_memory(memory),
        env=job_env(env, env_all=env_all, environ=os.environ),
        cwd=folder,
        stdin=stdin_of(folder, stdin),
        umask=own_umask(),
        ulimits=parse_ulimits(ulimit or []),
        **more,
    )


def stdin_of(folder: str, file: str | None) -> str | None:
    """Return the path of the file that a task reads; `-` would be ours, which it cannot have."""
    if file == "-":
        raise UsageError(
            "A task runs elsewhere, and later: it cannot read what is typed or piped here",
            field="--stdin",
            hint="put it into a file and give that, as --stdin data.txt; ./- is a file called -",
        )
    return None if file is None else str(Path(folder, file))


def own_umask() -> int:
    """Return this process's umask: a job's files get the modes that they would get here."""
    umask = os.umask(0o077)  # there is no asking without setting
    os.umask(umask)
    return umask


_NEVER = ("HPC_TOKEN",)


def job_env(given: list[str], *, env_all: bool, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a job is given beside those of its relay.

    Args:
        given: `K=V`, or `K` for the value that it has here.
        env_all: Everything that is set here, but the token.
        environ: What is set here.

    Raises:
        UsageError: A name is empty, or not set here.
    """
    env = {
        name: value
        for name, value in environ.items()
        if name not in _NEVER and (env_all or name in PASSED_ON)
    }
    if parent := environ.get("HPC_JOB_ID"):
        env["HPC_PARENT_JOB_ID"] = parent
    for word in given:
        name, equals, value = word.partition("=")
        if not name or (not equals and name not in environ):
            raise UsageError(
                f"`--env` must be K=V, or the name of a variable that is set, got {word!r}",
                field="env",
                hint="hpc submit --env OMP_NUM_THREADS=4 -- ./sim",
            )
        if name == "HPC_TOKEN":
            raise UsageError(
                "`--env` cannot pass HPC_TOKEN on: the environment of a job stands in the log",
                field="env",
                hint="a job on a relay of yours finds the Hub by the access file",
            )
        env[name] = value if equals else environ[name]
    return env


def folder_of(cwd: str | None) -> str:
    """Return the absolute folder in which a job runs: this one, or what is named from here."""
    is_absolute = cwd is not None and cwd.startswith("/")
    return os.path.normpath(Path(cwd or "") if is_absolute else Path(here()) / (cwd or ""))


def here() -> str:
    """Return this folder by the name that the user went in by, which other machines know too."""
    named = os.environ.get("PWD", "")
    try:
        is_here = named[:1] == "/" and Path(named).exists() and Path(named).samefile(".")
        return named if is_here else str(Path.cwd())
    except FileNotFoundError:
        raise UsageError(
            "This folder does not exist any more, so that no job can run in it",
            field="cwd",
            hint="cd to another one, or give --cwd",
        ) from None


def read_spec(text: str) -> dict[str, Any]:
    """Return a spec that is given as JSON, or as `@FILE` (`@-` is stdin).

    Raises:
        UsageError: It is no JSON object.
    """
    try:
        if text == "@-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        fields = json.loads(text)
    except OSError as error:
        raise UsageError(f"`--spec` cannot be read: {error}", field="spec") from error
    except ValueError as error:
        raise UsageError(f"`--spec` must be a JSON object: {error}", field="spec") from error
    if not isinstance(fields, dict):
        raise UsageError(f"`--spec` must be a JSON object, got {text[:60]!r}", field="spec")
    return fields


def say_submitted(
    receipt: Mapping[str, Any],
    job_id: str | None,
    spec: Mapping[str, Any],
    memory: str | None,
    tasks: int | None,
) -> None:
    """Say what was understood."""
    if job_id is None:
        output.say(f"recorded as {receipt.get('first_seq')}")
        return
    parts = [] if tasks is None else [f"{tasks:,} task{'s' if tasks != 1 else ''}"]
    if memory is not None:
        parts.append(f"memory {show_memory(spec['memory'] * (1 << 20))}")
    if "time_limit" in spec and isinstance(spec["time_limit"], float):
        parts.append(f"at most {show_duration(spec['time_limit'])}")
        # A spec that was given as JSON may say anything.
        with contextlib.suppress(UsageError):
            warning = warned(str(spec["warn_signal"]), 1.0) if "warn_signal" in spec else None
            if warning is not None:
                parts.append(f"{warning.name} {show_duration(warning.before_s)} before")
    if isinstance(spec.get("output_limit"), int):
        parts.append(f"output {show_memory(spec['output_limit'])}")
    again = " again: nothing changed" if receipt.get("duplicate") else ""
    about = f" ({', '.join(parts)})" if parts else ""
    follow = f"follow it: hpc job log --follow {job_id}"
    if "stdout" in spec:  # there is nothing to be followed from here
        follow = f"wait for it: hpc job wait {job_id}"
    if tasks is not None:
        follow = f"look at them: hpc job tasks {job_id}"
    output.say(f"job {job_id} submitted{again}{about}; {follow}")
