"""`hpc report`: what became of all jobs, or of some, as one HTML file that needs nothing else."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc._core import __version__
from hpc.cli import history, output, selectors
from hpc.cli.options import HubUrl, Selectors, client


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    jobs: Selectors = None,
    file: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Written anew; - is stdout.")
    ] = "report.html",
    hub_url: HubUrl = None,
) -> None:
    """Write what ran where, who waited, what failed and who used what: a page to keep or to send.

    Of all jobs, or of some. It has no script and names nothing that would have to be fetched.
    """
    # Imported here: other commands need none of it.
    import time  # noqa: PLC0415

    from hpc.report.figures import Course  # noqa: PLC0415
    from hpc.report.page import About, page  # noqa: PLC0415

    with client(hub_url) as hub:
        found = selectors.several(hub, jobs) if jobs else hub.jobs()
        course = Course(only=bool(jobs))
        for info in found:
            course.take_job(info)
        log = history.Log(hub)
        for event in log:
            course.take(event)
        figures = course.figures()
        about = About(
            of=", ".join(jobs) if jobs else "All jobs",
            hub=hub.url,
            cursor=hub.cursor,
            floor=log.floor,
            version=__version__,
            made_at=_utc(time.time_ns() // 1_000_000),
            began_at=_utc(figures.begin_ms),
        )
    history.write(file, page(figures, about))
    if file != "-":
        output.say(f"wrote {file}: open it in a browser")


def _utc(at_ms: int) -> str:
    return f"{str(output.when(at_ms))[:19].replace('T', ' ')} UTC"
