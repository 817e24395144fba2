"""`hpc up`: a Hub, a relay and a monitor on this machine, until Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlsplit

import typer

from hpc import settings
from hpc.access import home, is_loopback, read_access, written
from hpc.cli import output
from hpc.cli.options import JsonErrors
from hpc.cli.relay import Cpus, Label, Memory, NodeId
from hpc.client import Client
from hpc.errors import HpcError, UsageError

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 picks a free one.")]
Several = list[str] | None


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("up")(up)


def up(
    port: Port = 8080,
    node_id: NodeId = None,
    ns: Annotated[
        Several,
        typer.Option(
            "--ns", metavar="NS", help="What the relay serves; else batch, calls. Repeatable."
        ),
    ] = None,
    cpus: Cpus = None,
    memory: Memory = None,
    gpus: Annotated[
        str | None, typer.Option("--gpus", metavar="N|IDS", help="As of `hpc relay`; else all.")
    ] = None,
    resource: Annotated[
        Several, typer.Option("--resource", metavar="NAME=SPEC", help="As of `hpc relay`.")
    ] = None,
    label: Label = None,
    grace: Annotated[
        str | None, typer.Option("--grace", metavar="TIME", help="For running tasks at the end.")
    ] = None,
    lease: Annotated[
        str | None, typer.Option("--lease", metavar="TIME", help="As of `hpc hub`.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="Of the log; $HPC_HOME/hub without it."),
    ] = None,
    interval: Annotated[
        str | None, typer.Option("--interval", metavar="TIME", help="Between two samples.")
    ] = None,
    as_json: JsonErrors = False,
) -> int:
    """Be a Hub, a relay and a monitor on this machine until Ctrl-C.

    What runs then has the grace to end; a second Ctrl-C ends it at once. The log stays: what was
    submitted is there the next time.
    """
    from hpc.launch.up import PartEnded, Plan, Up  # noqa: PLC0415 - `hpc --help` does without

    if data is None:
        _refuse_second()
    place = {"--node-id": node_id}
    offers = {"--cpus": cpus, "--memory": memory, "--gpus": gpus, "--grace": grace}
    lists = {"--ns": ns, "--resource": resource, "--label": label}
    errors = ["--json"] if as_json else []
    of_hub = {"--port": port, "--lease": lease, "--data": data}
    plans = [
        Plan("hub", ["hub", *errors, *_flags(of_hub)]),
        Plan("relay", ["relay", *errors, *_flags(place | offers), *_repeated(lists)]),
        Plan("monitor", ["monitor", *errors, *_flags(place | {"--interval": interval})]),
    ]
    try:
        with Up(home()) as running:
            try:
                if all(running.start(plan) for plan in plans):
                    _say_how()
                    running.wait()
            except PartEnded as error:
                if error.refused is None:  # the others take their time, and say nothing of why
                    output.say(f"{error.message}; so all of it ends. What runs has its grace")
                raise
            output.say("ending; what runs has its grace, a second Ctrl-C ends it at once")
    except PartEnded as error:
        if error.refused is None:
            raise
        return error.refused
    return 0


def _refuse_second() -> None:
    """Say where the Hub is that answers on this machine already.

    Raises:
        UsageError: There is one, of this state folder.
    """
    access = written(home())
    if access is None or not is_loopback(urlsplit(access.url).hostname or ""):
        return
    with Client(
        access.url, token=access.token, tls_sha256=access.tls_sha256, patience_s=0.0
    ) as hub:
        try:
            hub.figures()
        except HpcError:
            return
    raise UsageError(
        f"A Hub is up here already, at {access.url}",
        hint="what it does: hpc status   in a browser: hpc open   another beside it has another "
        "HPC_HOME and --port 0",
    )


def _say_how() -> None:
    folder = home()
    access = written(folder)
    if access is None:
        raise HpcError("the access file that the Hub has written is gone", hint="hpc doctor")
    url = access.url
    output.put(f"up at {url}; try: hpc run -- hostname. Ctrl-C ends it")
    try:
        with Client(url, token=access.token, tls_sha256=access.tls_sha256) as hub:
            output.put(f"dashboard: {hub.dashboard_url()}")
    except HpcError as error:  # all is up without it
        output.say(f"note: {error.message}; the dashboard: hpc open")
    if (other := read_access(folder).url) != url:
        who = "HPC_HUB_URL" if os.environ.get("HPC_HUB_URL") else f"`hub_url` of {settings.path()}"
        output.say(f"warning: {who} is {other}, which commands ask instead: take it away")


def _flags(flags: Mapping[str, str | int | None]) -> list[str]:
    return [f"{flag}={value}" for flag, value in flags.items() if value is not None]


def _repeated(flags: Mapping[str, Several]) -> list[str]:
    return [f"{flag}={value}" for flag, values in flags.items() for value in values or ()]
