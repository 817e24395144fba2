"""What a command line says of when a job may start, and how often it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from hpc.cli import selectors
from hpc.client import Client
from hpc.errors import NotFound

After = Annotated[
    list[str] | None,
    typer.Option("--after", metavar="JOB", help="Once it has succeeded. Repeatable."),
]
AfterAny = Annotated[
    list[str] | None,
    typer.Option("--after-any", metavar="JOB", help="Once it has ended in whatever way."),
]
AfterFail = Annotated[
    list[str] | None,
    typer.Option("--after-fail", metavar="JOB", help="Once it has ended and a task has failed."),
]
AfterTask = Annotated[
    bool, typer.Option("--after-task", help="Each task after the tasks of its number only.")
]
Hold = Annotated[bool, typer.Option("--hold", help="Until hpc job release.")]
Retries = Annotated[
    int | None,
    typer.Option("--retries", metavar="N", min=0, help="Try a failed task again so often."),
]
RetryOn = Annotated[
    str | None,
    typer.Option("--retry-on", metavar="oom,137", help="Only after these causes or exit codes."),
]
MaxFails = Annotated[
    int | None,
    typer.Option("--max-fails", metavar="N", min=0, help="With one more, cancel the rest."),
]


def ids(hub: Client, named: Sequence[str] | None) -> list[str]:
    """Return the ids of the jobs that selectors mean; `a,b` is two of them.

    Raises:
        NotFound: There is none.
    """
    each = [selector for text in named or () for selector in text.split(",")]
    return [_id(hub, selector) for selector in each]


def _id(hub: Client, selector: str) -> str:
    try:
        return str(selectors.one(hub, selector)["job_id"])
    except NotFound as error:
        if error.outcome is None:
            raise
        return selector  # one that was forgotten counts by its outcome
