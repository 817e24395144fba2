"""`hpc node drain|undrain|lost`: what people say of nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from hpc.cli import node_words, output, reasons
from hpc.cli.options import HubUrl, Json, client
from hpc.client import Client
from hpc.units import parse_duration

Nodes = Annotated[list[str], typer.Argument(metavar="NODE...", help="Their ids.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept with the request.")]


def drain(
    nodes: Nodes,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline",
            metavar="TIME",
            help="So long from now what they still run goes on; then it runs elsewhere.",
        ),
    ] = None,
    reason: Reason = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Give nodes no new work; what they run ends by itself, or at the deadline."""
    spec: dict[str, Any] = {}
    if deadline is not None:
        # Imported here: the other commands of this noun look at no clock.
        import time  # noqa: PLC0415

        left_ms = round(parse_duration(deadline, field="deadline") * 1000)
        spec["deadline"] = time.time_ns() // 1_000_000 + left_ms
    _say("drain", "NodeDrained", nodes, spec, reason, as_json, hub_url)


def undrain(
    nodes: Nodes, reason: Reason = None, as_json: Json = False, hub_url: HubUrl = None
) -> None:
    """Give drained nodes work again."""
    _say("undrain", "NodeUndrained", nodes, {}, reason, as_json, hub_url)


def lost(
    nodes: Nodes, reason: Reason = None, as_json: Json = False, hub_url: HubUrl = None
) -> None:
    """Say that nodes will not come back: what they ran runs elsewhere at once."""
    _say("lost", "NodeLost", nodes, {}, reason, as_json, hub_url)


VERBS: Final[dict[str, Callable[..., Any]]] = {"drain": drain, "undrain": undrain, "lost": lost}


def _say(
    verb: str,
    kind: str,
    nodes: Sequence[str],
    spec: dict[str, Any],
    reason: str | None,
    as_json: bool,
    hub_url: str | None,
) -> None:
    if reason is not None:
        spec["reason"] = reason
    named = list(dict.fromkeys(nodes))
    with client(hub_url) as hub:
        _check_known(hub, named)
        hub.ingest(
            [{"kind": kind, "payload": {"ctx": {"node_id": n}, "spec": spec}} for n in named]
        )
        rows = {row["node_id"]: row for row in hub.nodes()}
        now = [rows[node] for node in named]
        given_up = reasons.of_losses(hub, now)
    lost_of = [given_up.get(node) for node in named]
    if as_json:
        data = [node_words.as_data(row, lost=lost) for row, lost in zip(now, lost_of, strict=True)]
        output.put_json(f"node.{verb}", data, cursor=hub.cursor)
        return
    for row, lost in zip(now, lost_of, strict=True):
        state = node_words.state(row, lost)
        output.say(f"node {row['node_id']} {state}; {node_words.runs(row)}")


def _check_known(hub: Client, nodes: Sequence[str]) -> None:
    known = [row["node_id"] for row in hub.nodes()]
    for node in nodes:
        if node not in known:
            raise node_words.unknown(node, known)
