"""`hpc status`: the Hub, its jobs and its nodes in a few lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client
from hpc.units import show_memory

_SPACE: Final = ("free_bytes", "min_free_bytes")


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("status")(status)


def status(as_json: Json = False, hub_url: HubUrl = None) -> None:
    """Show what the Hub has to do, who does it, and what is wrong."""
    with client(hub_url) as hub:
        figures = hub.figures()
        conflicts = sum(1 for _ in hub.conflicts())
        url = hub.url
    totals = figures["totals"]
    damaged = figures["damaged"]
    if as_json:
        data = {
            "hub_url": url,
            "hub_id": figures["hub"],
            **totals,
            "conflicts": conflicts,
            "damaged": damaged,
            **{name: figures[name] for name in _SPACE if name in figures},
        }
        output.put_json("status", data, cursor=figures["cursor"])
        return
    output.put_fields(
        [
            ("hub", f"{url}  {figures['hub']}"),
            ("log", f"seq {figures['cursor']}"),
            ("jobs", _shown(totals["jobs"])),
            ("tasks", _shown(totals["tasks"])),
            ("nodes", _nodes(totals["nodes"])),
            ("conflicts", f"{conflicts}: hpc conflicts" if conflicts else None),
            ("damaged", f"{len(damaged)} batches: hpc log verify" if damaged else None),
            ("disk", _low(figures)),
        ]
    )
    up = totals["nodes"]["up"]
    if not up:
        output.say("\nhint: no relay is here, nothing will run: hpc relay")
    elif totals["nodes"].get("drained") == up:
        output.say("\nhint: every node is drained, nothing new will run: hpc node undrain NODE")


def _low(figures: Mapping[str, Any]) -> str | None:
    """Return that the Hub refuses submits for want of space, or None while it does not."""
    free, least = (figures.get(name, 0) for name in _SPACE)
    if free >= least:
        return None
    return (
        f"nearly full, submits are refused: {show_memory(free)} are free, and the last "
        f"{show_memory(least)} are kept for reports"
    )


def _nodes(counts: Mapping[str, Any]) -> str:
    """Return nodes by state, and how many of those that are up are drained."""
    states = {state: count for state, count in counts.items() if state != "drained"}
    drained = counts.get("drained", 0)  # an older Hub does not say
    return _shown(states).replace(" up", f" up ({drained} drained)" if drained else " up")


def _shown(counts: Mapping[str, Any]) -> str:
    told = [f"{count} {state}" for state, count in counts.items() if count]
    return ", ".join(told) or "none"
