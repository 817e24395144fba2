"""`hpc timeline`: what ran where and when, as a trace for https://ui.perfetto.dev."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hpc.cli import history, output, selectors
from hpc.cli.options import HubUrl, Selectors, client


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
        for event in history.Log(hub):
            course.take(event)
    history.write(file, json.dumps(course.trace(), separators=(",", ":")) + "\n")
    if file != "-":
        output.say(f"wrote {file}: open it in https://ui.perfetto.dev")
