"""`hpc job why`: what keeps jobs waiting, in a sentence and then node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hpc.cli import output, reasons, selectors, wording
from hpc.cli.options import HubUrl, Json, Selectors, client
from hpc.client import Client


class _Told(NamedTuple):
    """What is known of why a job waits.

    Attributes:
        info: The job.
        why: As `GET /jobs/{id}/why` tells it.
        holds: Why tasks of it are held.
        drains: Of nodes that are drained, by id, the reason that was given.
        away: Of nodes that run some of it and are silent, by id, since when, in ms.
    """

    info: Mapping[str, Any]
    why: Mapping[str, Any]
    holds: Sequence[reasons.Said]
    drains: Mapping[str, str | None]
    away: Mapping[str, int | None]


def why(jobs: Selectors = None, as_json: Json = False, hub_url: HubUrl = None) -> None:
    """Say why jobs wait: each in a sentence, for each node, and who is ahead of it.

    With --json one job is an object, and several are a list.
    """
    with client(hub_url) as hub:
        data = []
        for number, info in enumerate(selectors.several(hub, jobs or ["last"])):
            told = _ask(hub, info)
            if as_json:
                data.append(_as_data(told))
                continue
            if number:
                output.put("")
            _put(told)
        if as_json:
            one = len(data) == 1
            schema = "job.why" if one else "job.why.list"
            output.put_json(schema, data[0] if one else data, cursor=hub.cursor)


def _ask(hub: Client, info: Mapping[str, Any]) -> _Told:
    told = hub.why(str(info["job_id"]))
    return _Told(
        info,
        told,
        reasons.of_holds(hub, info),
        _drains(hub, told.get("nodes") or []),
        reasons.silent(hub, info),
    )


def _as_data(told: _Told) -> dict[str, Any]:
    data = {**told.why, "state": told.info["state"]}
    if told.holds:
        data["holds"] = [{"tasks": said.tasks, **said.as_data()} for said in told.holds]
    if told.away:
        data["unreachable"] = list(told.away)
    return data


def _put(told: _Told) -> None:
    sentence = told.why.get("why")
    given = reasons.given(told.holds) if "held" in (sentence or "") else ""
    output.put(f"job {told.why['job_id']}: {sentence or wording.outcome(told.info)}{given}")
    for said in told.holds:
        output.put(f"held: {said.text()}")
    for node_id, since in told.away.items():
        output.put(
            f"{node_id}: is unreachable since {output.when(since)}; what it runs of this may go on "
            f"there, and runs elsewhere once it is given up: hpc node lost {node_id}"
        )
    if sentence is None:  # nothing of it waits
        return
    nodes = told.why.get("nodes") or []
    for node in nodes:
        because = told.drains.get(node["node_id"])
        given = f" ({because})" if because else ""
        output.put(f"{node['node_id']}: {node['why']}{given}")
    ahead = told.why.get("ahead")
    if nodes and ahead is not None:  # nobody stands before what can never run
        output.put(f"ahead: {_ahead(ahead)}")


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
