"""`hpc job why`: what keeps a job waiting, in a sentence and then node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from hpc.cli import output, selectors, wording
from hpc.cli.options import HubUrl, Json, client

Selector = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id, prefix, name or `last`.", show_default=False),
]


def why(job: Selector = None, as_json: Json = False, hub_url: HubUrl = None) -> None:
    """Say why a job waits: in a sentence, for each node, and who is ahead of it."""
    with client(hub_url) as hub:
        info = selectors.one(hub, job)
        told = hub.why(str(info["job_id"]))
    if as_json:
        output.put_json("job.why", {**told, "state": info["state"]}, cursor=hub.cursor)
        return
    sentence = told.get("why")
    output.put(f"job {told['job_id']}: {sentence or wording.outcome(info)}")
    if sentence is None:  # nothing of it waits
        return
    nodes = told.get("nodes") or []
    for node in nodes:
        output.put(f"{node['node_id']}: {node['why']}")
    if nodes:
        output.put(f"ahead: {_ahead(told.get('ahead') or {})}")


def _ahead(ahead: Mapping[str, Any]) -> str:
    words = {"higher": "of higher priority", "earlier": "submitted earlier"}
    parts = [f"{ahead[key]} {text}" for key, text in words.items() if ahead.get(key)]
    if not parts:
        return "no task"
    first, *rest = parts
    number, _, of = first.partition(" ")
    first = f"{number} {'task' if number == '1' else 'tasks'} {of}"
    text = ", ".join([first, *rest])
    return f"at least {text}" if ahead.get("more") else text
