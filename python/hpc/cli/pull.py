"""`hpc pull`: the facts of a generator that changed since a cursor."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client
from hpc.client import WAIT_S_MAX
from hpc.errors import UsageError
from hpc.terminal import json_text
from hpc.units import parse_duration


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("pull")(pull)


def pull(
    gid: Annotated[str, typer.Argument(metavar="GENERATOR", help="Such as kernel or batch.")],
    cursor: Annotated[int, typer.Option("--cursor", min=0, help="What is had already.")] = 0,
    table: Annotated[str | None, typer.Option("--table", help="Only this one.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Rows of a page.")] = None,
    wait: Annotated[
        str | None, typer.Option("--wait", metavar="TIME", help="Wait for something to change.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on for ever, one JSON object a line.")
    ] = False,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Print facts as JSON."""
    wait_s = 0.0 if wait is None else min(parse_duration(wait, field="wait"), 60.0)
    with client(hub_url) as hub:
        if hub.at is not None and (follow or wait is not None):
            flag = "--follow" if follow else "--wait"
            raise UsageError(
                f"`{flag}` waits for news, and nothing that is past will change",
                field=flag.strip("-"),
                hint=f"leave it out, or leave out `at {hub.at}`",
            )
        page = hub.pull(gid, cursor, table=table, limit=limit, wait_s=wait_s)
        while follow:
            if page["facts"] or page.get("snapshot"):
                print(json_text(page), flush=True)
            page = hub.pull(
                gid,
                page["cursor"],
                table=table,
                limit=limit,
                hub=page.get("hub"),
                wait_s=0.0 if page.get("more") else WAIT_S_MAX,
            )
    if as_json:
        data = {key: value for key, value in page.items() if key != "cursor"}
        output.put_json("pull", data, cursor=page["cursor"])
    else:
        print(json_text(page, indent=2), flush=True)
