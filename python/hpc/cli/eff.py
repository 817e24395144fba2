"""`hpc eff`: what jobs used of what they had asked for, and what to ask for the next time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from hpc.cli import output, selectors
from hpc.cli.options import HubUrl, Json, Selectors, client
from hpc.units import show_duration, show_memory


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("eff")(eff)


def eff(jobs: Selectors = None, as_json: Json = False, hub_url: HubUrl = None) -> None:
    """Show what the tasks of jobs used of their cores, memory and time, by default of the last."""
    from hpc.efficiency import of_job  # noqa: PLC0415 - other commands need none of it

    with client(hub_url) as hub:
        found = [
            (info, of_job(info, hub.tasks(str(info["job_id"]), state="succeeded")))
            for info in selectors.several(hub, jobs or ["last"])
        ]
        cursor = hub.cursor
    if as_json:
        data = [_as_data(str(info["job_id"]), job) for info, job in found]
        output.put_json("eff", data, cursor=cursor)
        return
    for info, job in found:
        _put(str(info["job_id"]), job, are_several=len(found) > 1)
    if any(job.tasks and job.memory is None for _, job in found):
        output.say("note: memory is measured where it is enforced: hpc submit --memory 1G")


def _put(job_id: str, job: Any, *, are_several: bool) -> None:  # noqa: ANN401 - an Efficiency
    if not job.tasks:
        output.put(f"job {job_id}: no task has succeeded yet")
        return
    output.put(f"job {job_id}: {job.tasks:,} task{'s' if job.tasks != 1 else ''} succeeded")
    rows = [
        _row("cpus", job.cpus, lambda n: f"{n:.2f}".rstrip("0").rstrip(".")),
        _row("memory", job.memory, show_memory),
        _row("time", job.seconds, lambda s: show_duration(round(s, 3))),
    ]
    output.put_table(("", "ASKED", "MEDIAN", "MOST", "USED"), rows)
    advice = job.advice()
    if advice:
        from hpc.efficiency import FLAGS  # noqa: PLC0415 - see eff

        words = " ".join(FLAGS[name].format(value) for name, value in advice.items())
        of = f"job {job_id}, " if are_several else ""
        output.say(f"hint: {of}the next time: hpc submit {words}")


def _row(name: str, used: Any, show: Callable[[float], str]) -> list[object]:  # noqa: ANN401
    if used is None:
        return [name, None, None, None, None]
    asked = None if used.asked is None else show(used.asked)
    share = None if used.share is None else f"{100 * used.share:.0f} %"
    return [name, asked, show(used.median), show(used.most), share]


def _as_data(job_id: str, job: Any) -> dict[str, Any]:  # noqa: ANN401
    used = {"cpus": job.cpus, "memory_bytes": job.memory, "seconds": job.seconds}
    figures = {name: None if one is None else one._asdict() for name, one in used.items()}
    return {"job_id": job_id, "tasks": job.tasks, **figures, "advice": job.advice()}
