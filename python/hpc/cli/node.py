"""`hpc node`: list, info, drain, undrain, lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from hpc.cli import node_requests, node_words, output, reasons
from hpc.cli.options import HubUrl, Json, client, noun, this_node
from hpc.client import Client
from hpc.errors import NotFound
from hpc.resources import GPUS, named
from hpc.units import show_duration, show_memory

_KIB = 1 << 10


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    noun(app, "node", "Nodes.", {"list": list_, "info": info, **node_requests.VERBS}, verb)


def list_(
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that have been gone for more than a day.")
    ] = False,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """List the nodes; of those that are gone, the ones that were here within a day."""
    with client(hub_url) as hub:
        rows = list(hub.nodes())
        if not all_ and hub.at is None:  # what was then is as long ago as that
            shown = node_words.recent(rows)
            if (hidden := len(rows) - len(shown)) > 0:
                nodes = "1 node is" if hidden == 1 else f"{hidden} nodes are"
                output.say(f"{nodes} gone for more than a day: hpc node list --all")
            rows = shown
        drained = [row for row in rows if row.get("drained")]
        found = {r["node_id"]: reasons.of_drain(hub, r) for r in drained[: reasons.NODES_MAX]}
        lost = reasons.of_losses(hub, rows)
    if as_json:
        data = [
            node_words.as_data(row, found.get(row["node_id"]), lost.get(row["node_id"]))
            for row in rows
        ]
        output.put_json("node.list", data, cursor=hub.cursor)
        return
    heads = ["NODE", "STATE", "CPUS", "MEMORY", "NAMESPACES", "RUNS", "HOST"]
    output.put_table(
        [*heads, "DRAINED"] if drained else heads,
        (
            [
                row["node_id"],
                node_words.state(row, lost.get(row["node_id"])),
                _share(row, "cpus"),
                _memory(row),
                ",".join(row.get("namespaces") or []),
                node_words.runs_now(row),
                row.get("host"),
                *([_why_drained(found.get(row["node_id"]))] if drained else []),
            ]
            for row in rows
        ),
    )


def info(
    node: Annotated[
        str | None,
        typer.Argument(metavar="NODE", help="Its id; else this machine.", show_default=False),
    ] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Show a node: what it offers, what it runs, and what its monitor reports."""
    node = node or this_node()
    with client(hub_url) as hub:
        rows = {row["node_id"]: row for row in hub.nodes()}
        figures = _figures(hub, node)
        row = rows.get(node)
        said = None if row is None else reasons.of_drain(hub, row)
        lost = {} if row is None else reasons.of_losses(hub, [row])
    if row is None and not figures:
        raise node_words.unknown(node, rows)
    if as_json:
        told = node_words.as_data(row, said, lost.get(node)) if row else {"node_id": node}
        output.put_json("node.info", {**told, "figures": figures}, cursor=hub.cursor)
    else:
        output.put_fields([*_fields(node, row, said, lost.get(node)), *_figure_fields(figures)])


def _why_drained(said: reasons.Said | None) -> str | None:
    """Return a cell of the table: the reason, or else that there is none or who gave none."""
    if said is None:
        return None
    return said.because or ("by its relay" if said.by_relay else "no reason given")


def _fields(
    node: str,
    row: Mapping[str, Any] | None,
    said: reasons.Said | None,
    lost: reasons.Said | None,
) -> list[tuple[str, object]]:
    if row is None:
        return [("node", node), ("state", "no relay; a monitor reports")]
    leases = [f"{lease['job_id']} ({lease['tasks']})" for lease in row.get("leases") or []]
    return [
        ("node", node),
        ("state", node_words.state(row, lost)),
        ("given up", None if lost is None else lost.text()),
        ("drained", None if said is None else said.text()),
        ("deadline", node_words.deadline(row)),
        ("gone since", output.when(row.get("gone_at"))),
        ("host", row.get("host")),
        ("namespaces", ", ".join(row.get("namespaces") or [])),
        ("cpus", _share(row, "cpus")),
        ("memory", _memory(row)),
        *_other_fields(row),
        ("runs", ", ".join(leases) or "nothing"),
        ("ahead", node_words.ahead(row)),
        ("joined", output.when(row.get("joined_at"))),
        ("epoch", row.get("epoch")),
    ]


def _other_fields(row: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What it offers beside cores and memory, and its labels; nothing of what it has not."""
    names = sorted(named(row.get("resources") or {}))
    fields: list[tuple[str, object]] = []
    if GPUS in names:
        names.remove(GPUS)
        fields.append(("gpus", _share(row, GPUS)))
    if names:
        fields.append(("resources", ", ".join(f"{name} {_share(row, name)}" for name in names)))
    if labels := row.get("labels"):
        fields.append(("labels", ", ".join(f"{key}={labels[key]}" for key in sorted(labels))))
    return fields


def _figure_fields(figures: Mapping[str, Any]) -> list[tuple[str, object]]:
    if not figures:
        return [("monitor", "none reports")]
    used, total, peak = (
        show_memory(figures[key] * _KIB) if isinstance(figures.get(key), int) else "?"
        for key in ("mem_used_kb", "mem_total_kb", "peak_mem_used_kb")
    )
    free_kb, uptime_s = figures.get("disk_free_kb"), figures.get("uptime_s")
    return [
        ("cpu usage", figures.get("cpu_usage")),
        ("load", figures.get("load1")),
        ("memory used", f"{used} of {total}, at most {peak}"),
        ("disk free", show_memory(free_kb * _KIB) if isinstance(free_kb, int) else None),
        ("up for", show_duration(uptime_s) if isinstance(uptime_s, int) else None),
        ("reports", figures.get("reports")),
    ]


def _figures(hub: Client, node: str) -> dict[str, Any]:
    try:
        facts = hub.pull("monitor", table="nodes")["facts"]
    except NotFound:  # no monitor has ever been here
        return {}
    found: dict[str, Any] = facts.get("nodes", {}).get(node, {})
    return found


def _share(row: Mapping[str, Any], resource: str) -> str:
    used = (row.get("used") or {}).get(resource, 0)
    return f"{used}/{(row.get('resources') or {}).get(resource, 0)}"


def _memory(row: Mapping[str, Any]) -> str:
    used = (row.get("used") or {}).get("memory_mib", 0)
    total = (row.get("resources") or {}).get("memory_mib", 0)
    return f"{show_memory(used * node_words.MIB)}/{show_memory(total * node_words.MIB)}"
