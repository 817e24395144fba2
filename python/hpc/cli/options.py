"""Options that several commands have, and the client that they ask for."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Annotated, Any

import typer

from hpc.cli import output
from hpc.client import Client

HubUrl = Annotated[
    str | None,
    typer.Option("--hub-url", metavar="URL", help="The Hub, instead of the one found here."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
JsonErrors = Annotated[bool, typer.Option("--json", help="Tell an error as one JSON object.")]
"""Of commands that print no data of their own: the command tree looks at it, and nobody else."""

Selectors = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="JOB...",
        help="Ids, prefixes, names, ranges such as 3-7, a state, `all`, `last`; name:X is a name.",
        show_default=False,
    ),
]


_AT: ContextVar[int | None] = ContextVar("_AT", default=None)
"""The cursor that `at` has read, for the command that stands behind it."""


@contextlib.contextmanager
def at_cursor(cursor: int) -> Iterator[None]:
    """Have the clients that are made meanwhile read as of a cursor."""
    before = _AT.set(cursor)
    try:
        yield
    finally:
        _AT.reset(before)


def client(hub_url: str | None) -> Client:
    """Return a client of the Hub that was named, or of the one that is found here."""
    return Client(hub_url, on_away=_say_away, at=_AT.get())


def _say_away(why: str) -> None:
    output.say(f"note: {why}; asking again")


def this_node() -> str:
    """Return this machine's name as an id."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname().split(".")[0]).strip("-._")
    return name[:128] or "node"


def noun(
    app: typer.Typer,
    name: str,
    about: str,
    verbs: Mapping[str, Callable[..., Any]],
    verb: str | None,
) -> None:
    """Add a noun; alone it prints what can be done with it.

    Args:
        app: Above it.
        name: What is typed.
        about: A line of help.
        verbs: Its commands.
        verb: The one that was typed: only this is built, unless it is none of them.
    """

    def alone(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            print(context.get_help())

    made = typer.Typer(
        help=about,
        invoke_without_command=True,
        callback=alone,
        rich_markup_mode=None,
        suggest_commands=False,
    )
    for each in [verb] if verb is not None and verb in verbs else verbs:
        made.command(each)(verbs[each])
    app.add_typer(made, name=name)
