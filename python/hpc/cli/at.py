"""`hpc at CURSOR COMMAND ...`: what a command that reads would have said when the log ended there.

It sets the cursor for the clients of the command that follows, and nothing else; the Hub answers
from the past. Generators are kept by the rules of today.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from hpc.cli.options import at_cursor
from hpc.errors import UsageError

READS: Final = (
    "pull",
    "job list",
    "job info",
    "job tasks",
    "job attempts",
    "job why",
    "node list",
    "node info",
    "explain",
    "conflicts",
)
"""The commands that may follow."""


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command; what follows the cursor is the other command's, options and all."""
    settings = {"ignore_unknown_options": True, "allow_interspersed_args": False}
    app.command("at", context_settings=settings)(at)


def at(
    cursor: Annotated[
        int, typer.Argument(metavar="CURSOR", min=0, help="A seq: where the log ended.")
    ],
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="Such as `job list` or `pull batch`.")
    ],
) -> int:
    """Run a command that reads as of a cursor: pull, job, node, explain or conflicts."""
    from hpc.cli.tree import built  # noqa: PLC0415 - the tree has loaded this module

    known = [read for read in READS if command[: len(read.split())] == read.split()]
    if not known:
        typed = " ".join(command[:2])
        raise UsageError(
            f"`at CURSOR` goes before a command that reads ({', '.join(READS)}), got `{typed}`",
            field="command",
            hint=f"hpc at {cursor} job list",
        )
    other, defaults = built(command)
    with at_cursor(cursor):
        result = other.main(
            args=command,
            prog_name="hpc",
            standalone_mode=False,
            default_map=defaults.of_parser,
        )
    return result if isinstance(result, int) else 0
