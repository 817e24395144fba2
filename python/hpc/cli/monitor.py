"""`hpc monitor`: reports what this machine's cores, memory and disk are doing."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc.access import home
from hpc.cli.options import HubUrl, JsonErrors, this_node
from hpc.cli.relay import NodeId
from hpc.units import parse_duration


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("monitor")(monitor)


def monitor(
    hub_url: HubUrl = None,
    node_id: NodeId = None,
    interval: Annotated[
        str, typer.Option("--interval", metavar="TIME", help="Between two samples.")
    ] = "5s",
    _as_json: JsonErrors = False,
) -> int:
    """Be a monitor until a signal ends it; prints a line when its first sample is recorded."""
    from hpc.config import MonitorConfig  # noqa: PLC0415 - `hpc --help` does without

    config = MonitorConfig(
        home=home(),
        hub_url=hub_url,
        node_id=node_id or this_node(),
        interval_s=parse_duration(interval, field="interval"),
    )
    from hpc.monitor.process import run_monitor  # noqa: PLC0415 - after all that may be refused

    return run_monitor(config)
