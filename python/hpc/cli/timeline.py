"""`hpc timeline`: what ran where and when, as a trace for https://ui.perfetto.dev."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from hpc.cli import output, selectors
from hpc.cli.options import HubUrl, Selectors, client
from hpc.client import Client
from hpc.errors import HpcError, Refused


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("timeline")(timeline)


def timeline(
    jobs: Selectors = None,
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Written anew; - is stdout.")
    ] = "trace.json",
    hub_url: HubUrl = None,
) -> None:
    """Write a trace of all jobs, or of some: attempts by node, dependencies, samples of monitors.

    Open it in https://ui.perfetto.dev or chrome://tracing; nothing is sent anywhere by that.
    """
    # Imported here: other commands need none of it.
    from hpc.timeline import Timeline  # noqa: PLC0415

    with client(hub_url) as hub:
        found = selectors.several(hub, jobs) if jobs else None
        course = Timeline(None if found is None else frozenset(str(j["job_id"]) for j in found))
        for event in _events(hub):
            course.take(event)
    text = json.dumps(course.trace(), separators=(",", ":"))
    if file == "-":
        output.put(text)
        return
    path = Path(file)
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise HpcError(
            f"`{file}` cannot be written: {error.strerror or error}", hint="give another with -o"
        ) from error
    output.say(f"wrote {file}: open it in https://ui.perfetto.dev")


def _events(hub: Client) -> Iterator[dict[str, Any]]:
    """Yield all events that the log still has."""
    try:
        yield from hub.events()
    except Refused as error:
        if error.floor is None:
            raise
        output.say(f"note: the log is whole from seq {error.floor} on; what was before is left out")
        yield from hub.events(error.floor - 1)
