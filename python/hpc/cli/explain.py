"""`hpc explain`: which events a fact comes from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client
from hpc.cli.wording import value_text
from hpc.client import Client
from hpc.errors import NotFound


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(
    gid: Annotated[str, typer.Argument(metavar="GENERATOR", help="Such as kernel or monitor.")],
    table: Annotated[str, typer.Argument(help="One of its tables.")],
    key: Annotated[str, typer.Argument(help="A row of it.")],
    column: Annotated[str | None, typer.Argument(help="A column; else each.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="So many events of each.")
    ] = 20,
    after: Annotated[
        int | None, typer.Option("--after", min=0, help="Only events after this seq.")
    ] = None,
    why_not: Annotated[
        bool, typer.Option("--why-not", help="Those that did not change it instead, and why.")
    ] = False,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Print the events that a fact comes from.

    A greatest, a least or a newest value comes from one event; a tally or a set from all of them.
    With --why-not the events that spoke of it and did not change it.
    """
    with client(hub_url) as hub:
        columns = [column] if column is not None else _columns(hub, gid, table, key)
        told = {
            name: _explained(hub, gid, table, key, name, limit, after, why_not=why_not)
            for name in columns
        }
    if as_json:
        output.put_json("explain", told, cursor=hub.cursor)
        return
    heads = ["COLUMN", "SEQ", "AT", "KIND", "RULE", "NODE", "SAYS", "BATCH"]
    rows = [
        [
            name,
            event["seq"],
            output.when(event["at"]),
            event["kind"],
            event.get("rule"),
            event.get("node_id"),
            None if event.get("value") is None else value_text(event["value"]),
            event["id"],
            *([event.get("reason")] if why_not else []),
        ]
        for name, found in told.items()
        for event in found["events"]
    ]
    if not rows:
        what = "no event that spoke of it left it unchanged" if why_not else "no event was found"
        output.say(what)
        return
    output.put_table([*heads, "WHY"] if why_not else heads, rows)
    for name, found in told.items():
        if found["more"]:
            output.say(f"note: more events say something of {name}; raise --limit")


def _columns(hub: Client, gid: str, table: str, key: str) -> list[str]:
    """Return the columns of a row; the last page of a long table costs as much as the first."""
    cursor = 0
    while True:
        page = hub.pull(gid, cursor, table=table)
        row: dict[str, Any] = page["facts"].get(table, {}).get(key, {})
        if row or not page.get("more"):
            break
        cursor = page["cursor"]
    if not row:
        raise NotFound(
            f"Nothing is known of row `{key}` in table `{table}` of `{gid}`",
            hint=f"hpc pull {gid}",
        )
    return sorted(row)


def _explained(
    hub: Client,
    gid: str,
    table: str,
    key: str,
    column: str,
    limit: int,
    after: int | None,
    *,
    why_not: bool,
) -> dict[str, Any]:
    """Return so many events of a column; a page may be empty and have more."""
    query: list[tuple[str, str | int | float]] = [
        ("gid", gid),
        ("table", table),
        ("key", key),
        ("column", column),
    ]
    if why_not:
        query.append(("why_not", "true"))
    first = [] if after is None else [("after", after)]
    page = whole = hub.read("/explain", [*query, ("limit", limit), *first])
    while page["more"] and len(whole["events"]) < limit:
        left = limit - len(whole["events"])
        page = hub.read("/explain", [*query, ("limit", left), ("after", page["after"])])
        whole = {**page, "events": whole["events"] + page["events"]}
    return whole
