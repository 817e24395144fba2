"""`hpc open`: the dashboard in a browser, logged in.

The URL has a code that logs in once, and is on no command line, where others on this machine could
read it: a browser is told a page that only its user can read, and which leads there.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer

from hpc.access import home, write_private
from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client

PAGE: Final = "open.html"
"""In the state folder; what it says is worth nothing after five minutes."""

_SCREENS: Final = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("open")(open_)


def open_(
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the URL and open no browser.")
    ] = False,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Open the dashboard in a browser, and print its URL.

    The URL logs in once, within 5 minutes, as whoever has this token. In the page, a code is what
    stands behind `#code=`.
    """
    with client(hub_url) as hub:
        url = hub.dashboard_url()
    if as_json:
        output.put_json("open", {"url": url}, cursor=hub.cursor)
        return
    output.put(url)
    if only_print:
        return
    if any(os.environ.get(name) for name in _SCREENS) and _browse(url):
        output.say("opened in a browser; the URL logs in once, within 5 minutes")
    else:
        output.say("no browser is here; in one, the URL logs in once, within 5 minutes")


def _browse(url: str) -> bool:
    import html  # noqa: PLC0415 - `hpc open --print` does without
    import webbrowser  # noqa: PLC0415

    shown = html.escape(url)
    page = home() / PAGE
    page.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(
        page,
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={shown}"><a href="{shown}">hpc</a>\n',
    )
    return webbrowser.open(page.as_uri())
