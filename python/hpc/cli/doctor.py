"""`hpc doctor`: what holds on this machine, what is amiss, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from hpc.access import home
from hpc.cli import output
from hpc.cli.doctor_checks import Finding, Hub, machine_findings
from hpc.cli.options import HubUrl, Json, this_node


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(as_json: Json = False, hub_url: HubUrl = None) -> int:
    """Look at what relays and Hubs need of this machine; exit code 1 if there is a problem.

    A Hub need not run.
    """
    hub = Hub(home(), hub_url)
    findings = [*machine_findings(home(), this_node()), *hub.findings()]
    if as_json:
        output.put_json("doctor", [found._asdict() for found in findings], cursor=hub.cursor)
    else:
        output.put(text(findings))
    return 1 if any(found.level == "problem" for found in findings) else 0


def text(findings: Sequence[Finding]) -> str:
    """Return findings as they are printed, with a count as the last line."""
    width = max(len(found.name) for found in findings)
    lines: list[str] = []
    for found in findings:
        lines.append(f"{found.level.ljust(7)}  {found.name.ljust(width)}  {found.found}")
        if found.todo:
            lines.append(" " * (width + 11) + f"-> {found.todo}")
    counts = [
        f"{count} {level}" + ("s" if count > 1 else "")
        for level in ("problem", "warning")
        if (count := sum(found.level == level for found in findings))
    ]
    return "\n".join([*lines, ", ".join(counts) or "all is well"])
