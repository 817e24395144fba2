"""`hpc job why`: what keeps a job waiting, in a sentence and then node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from hpc.cli import output, reasons, selectors, wording
from hpc.cli.options import HubUrl, Json, client
from hpc.client import Client

Selector = Annotated[
    str | None,
    typer.Argument(metavar="JOB", help="Id, prefix, name or `last`.", show_default=False),
]


def why(job: Selector = None, as_json: Json = False, hub_url: HubUrl = None) -> None:
    """Say why a job waits: in a sentence, for each node, and who is ahead of it."""
    with client(hub_url) as hub:
        info = selectors.one(hub, job)
        told = hub.why(str(info["job_id"]))
        holds = reasons.of_holds(hub, info)
        drains = _drains(hub, told.get("nodes") or [])
        away = reasons.silent(hub, info)
    if as_json:
        data = {**told, "state": info["state"]}
        if holds:
            data["holds"] = [{"tasks": said.tasks, **said.as_data()} for said in holds]
        if away:
            data["unreachable"] = list(away)
        output.put_json("job.why", data, cursor=hub.cursor)
        return
    sentence = told.get("why")
    given = reasons.given(holds) if "held" in (sentence or "") else ""
    output.put(f"job {told['job_id']}: {sentence or wording.outcome(info)}{given}")
    for said in holds:
        output.put(f"held: {said.text()}")
    for node_id, since in away.items():
        output.put(
            f"{node_id}: is unreachable since {output.when(since)}; what it runs of this may go on "
            f"there, and runs elsewhere once it is given up: hpc node lost {node_id}"
        )
    if sentence is None:  # nothing of it waits
        return
    nodes = told.get("nodes") or []
    for node in nodes:
        because = drains.get(node["node_id"])
        given = f" ({because})" if because else ""
        output.put(f"{node['node_id']}: {node['why']}{given}")
    if nodes and told.get("ahead") is not None:  # nobody stands before what can never run
        output.put(f"ahead: {_ahead(told['ahead'])}")


def _drains(hub: Client, nodes: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return the reasons for which nodes are drained that would else be looked at."""
    drained = [node["node_id"] for node in nodes if str(node["why"]).startswith("is drained")]
    found = {}
    for node_id in drained[: reasons.NODES_MAX]:
        said = reasons.of_drain(hub, {"node_id": node_id, "drained": True})
        found[node_id] = None if said is None else said.because
    return found


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
