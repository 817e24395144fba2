"""`hpc top`: nodes, jobs and what has just happened, kept up to date; or once, as plain text."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, client
from hpc.errors import UsageError

COLUMNS: Final = 120
"""Where stdout is no terminal."""
NEWEST: Final = 10
"""Jobs and events that are printed once."""


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("top")(top)


def top(
    once: Annotated[
        bool, typer.Option("--once", help="Print it once, as plain text; needs no extra.")
    ] = False,
    hub_url: HubUrl = None,
) -> None:
    """Show nodes, jobs by state, the newest jobs and the end of the log, once a second.

    Keys: w why a job waits, l its log, k cancel it (asks first), q quit. Where there is no
    terminal it is printed once.
    """
    # Imported here: the other commands need none of it.
    from hpc.cli.top_board import Board  # noqa: PLC0415

    with client(hub_url) as hub:
        if once or not is_terminal():
            import shutil  # noqa: PLC0415

            columns = shutil.get_terminal_size((COLUMNS, 0)).columns
            board = Board(hub, newest=NEWEST)
            board.look(0.0)
            output.put("\n".join(board.text(columns)))
            return
        try:
            from hpc.cli.top_screen import Top  # noqa: PLC0415
        except ImportError as error:
            if not (error.name or "").startswith(("textual", "rich")):
                raise
            raise UsageError(
                f"the screen of `hpc top` needs the extra `tui`: {error}",
                code="extra_missing",
                hint="pip install 'hpc-lattice[tui]'   or once, without it: hpc top --once",
            ) from error
        Top(hub.again(patience_s=0.0)).run()


def is_terminal() -> bool:
    """Return whether there is somebody to see it: it is drawn on stderr, keys come from stdin."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
