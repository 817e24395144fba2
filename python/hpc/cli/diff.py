"""`hpc diff`: the facts that differ between two cursors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client
from hpc.cli.wording import value_text
from hpc.client import Client
from hpc.errors import UsageError

NOW = "now"


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("diff")(diff)


def diff(
    since: Annotated[int, typer.Argument(metavar="FROM", min=0, help="A cursor.")],
    to: Annotated[str, typer.Argument(metavar="TO", help="A later one, or `now`.")] = NOW,
    gid: Annotated[
        str, typer.Argument(metavar="GENERATOR", help="Such as batch or monitor.")
    ] = "kernel",
    table: Annotated[str | None, typer.Option("--table", help="Only this one.")] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Print the facts that differ between two cursors, as they were and as they became."""
    if to != NOW and not (to.isascii() and to.isdigit()):
        raise UsageError(
            f"`TO` must be a cursor or `{NOW}`, got {to!r}",
            field="to",
            hint=f"hpc diff {since} {NOW} kernel",
        )
    with client(hub_url) as hub:
        found = _whole(hub, gid, since, None if to == NOW else int(to), table)
    if as_json:
        output.put_json("diff", found, cursor=found["to"])
        return
    rows = list(_rows(found["data"]))
    if not rows:
        output.say(f"nothing of {gid} differs between {since} and {found['to']}")
        return
    output.put_table(("TABLE", "ROW", "COLUMN", "FROM", "TO"), rows)


def _whole(hub: Client, gid: str, since: int, to: int | None, table: str | None) -> dict[str, Any]:
    """Return all pages as one: no cell stands on two."""
    query: list[tuple[str, str | int | float]] = [("gid", gid), ("from", since)]
    query += [("table", table)] if table is not None else []
    query += [("to", to)] if to is not None else []
    page = whole = hub.read("/diff", query)
    if to is None:
        query.append(("to", whole["to"]))  # all pages end where the first does
    while page["more"]:
        page = hub.read("/diff", [*query, ("cursor", page["cursor"])])
        for name, rows in page["data"].items():
            known = whole["data"].setdefault(name, {})
            for key, cells in rows.items():
                known.setdefault(key, {}).update(cells)
    return {name: whole[name] for name in ("gid", "from", "to", "data")}


def _rows(tables: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for table, rows in sorted(tables.items()):
        for key, cells in sorted(rows.items()):
            for column, change in sorted(cells.items()):
                before = None if change["from"] is None else value_text(change["from"])
                yield (table, key, column, before, value_text(change["to"]))
