"""`hpc events`: the log, from a cursor on, one event a line.

With `--json` what there is comes as one object, like everywhere; what follows, as lines of JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from hpc.cli import output, selectors
from hpc.cli.options import HubUrl, Json, client
from hpc.client import Client
from hpc.errors import NotFound
from hpc.terminal import json_text


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("events")(events)


def events(
    cursor: Annotated[int, typer.Option("--cursor", min=0, help="What is had already.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=0, help="So many at most.")] = None,
    job: Annotated[
        str | None,
        typer.Option(
            "--job", metavar="JOB", help="Only what speaks of it: id, prefix, name, last."
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="TOKEN|ROLE", help="Only what one of these sent; `hub`: itself."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with those to come.")
    ] = False,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Print events.

    With --json one object; with --follow too, a line of JSON for each event.
    """
    with client(hub_url) as hub:
        job_id = None if job is None else _job_id(hub, job)
        all_of_it = hub.events(cursor, follow=follow, job=job_id)
        found = islice((event for event in all_of_it if _is_by(event, by)), limit)
        if as_json and not follow:
            data = [_as_data(event) for event in found]
            # Up to the last one shown: `--limit` may have left out what came after it.
            output.put_json("events", data, cursor=data[-1]["seq"] if data else cursor)
            return
        for event in found:
            if as_json:
                print(json_text(_as_data(event)), flush=True)
            else:
                output.put(line(event))


def _is_by(event: Mapping[str, Any], by: str | None) -> bool:
    sender = event.get("by") or {"role": "hub"}
    return by is None or by in (sender.get("token"), sender["role"])


def _job_id(hub: Client, selector: str) -> str:
    try:
        return str(selectors.one(hub, selector)["job_id"])
    except NotFound as error:
        if error.outcome is None:
            raise
        return selector  # of one that was forgotten the log may still have some


def _as_data(event: Mapping[str, Any]) -> dict[str, Any]:
    return {**event, "at": output.when(event.get("at"))}


def line(event: Mapping[str, Any]) -> str:
    """Return an event as one line, whatever a name or a reason in it holds."""
    return " ".join(_text(event).splitlines())


def _text(event: Mapping[str, Any]) -> str:
    payload = event.get("payload") or {}
    ctx = dict(payload.get("ctx") or {})
    # Registrations have no ctx; what they register is named in their spec.
    ctx.update({name: value for name, value in _spec(payload).items() if name in _REGISTERED})
    about = " ".join(f"{name}={ctx[name]}" for name in _SHOWN if name in ctx)
    settles = "; ".join(f"{state} {tasks}" for state, tasks in (event.get("settles") or {}).items())
    text = f"{event['seq']:>8}  {output.when(event.get('at'))}  {event['kind']:<14}  {about}"
    text = f"{text}  settles {settles}" if settles else text
    by = event.get("by")
    text = f"{text}  by {by['token']} ({by['role']}) from {by['from']}" if by else text
    # What whoever asked for it gave as the reason.
    reason = (payload.get("spec") or {}).get("reason") if event["kind"] != "SubmitJob" else None
    return f"{text}: {reason}" if isinstance(reason, str) else text


def _spec(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = payload.get("spec")
    return spec if isinstance(spec, Mapping) and not payload.get("ctx") else {}


_REGISTERED = ("ns_id", "gid")
_SHOWN = ("ns_id", "gid", "job_id", "tasks", "attempt", "node_id", "epoch", "name", "priority")
