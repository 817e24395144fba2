"""`hpc conflicts`: what was to be said once and was said in several ways, and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client
from hpc.cli.wording import value_text


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("conflicts")(conflicts)


def conflicts(
    gid: Annotated[
        str | None,
        typer.Argument(metavar="GENERATOR", help="Only of this one.", show_default=False),
    ] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Print what contradicts itself: each value, and the first event that said it."""
    with client(hub_url) as hub:
        found = list(hub.conflicts(gid))
    if as_json:
        output.put_json("conflicts", found, cursor=hub.cursor)
        return
    if not found:
        output.say("no conflicts")
        return
    heads = ("GENERATOR", "TABLE", "ROW", "COLUMN", "SAYS", "SEQ", "AT", "KIND", "NODE", "BATCH")
    output.put_table(heads, (row for conflict in found for row in _rows(conflict)))
    for conflict in found:
        place = "{gid} {table} {key} {column}".format_map(conflict)
        if conflict.get("overflow"):
            output.say(f"note: of {place} the smallest values are kept; there were more")
        if conflict.get("evidence_more"):
            output.say(
                f"note: of {place} not every event was found in the part of the log searched"
            )


def _rows(conflict: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    within = "".join(
        f"[{value_text(value)}]" for step in conflict.get("within", ()) for value in step.values()
    )
    place = (conflict["gid"], conflict["table"], conflict["key"], conflict["column"] + within)
    events = list(conflict["evidence"])
    for event in events:
        told = (event["seq"], output.when(event["at"]), event["kind"], event.get("node_id"))
        yield (*place, value_text(event["value"]), *told, event["id"])
    said = [event["value"] for event in events]
    for value in conflict["values"]:
        if value not in said:
            yield (*place, value_text(value), None, None, None, None, None)
