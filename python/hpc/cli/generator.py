"""`hpc generator`: register."""

from __future__ import annotations

from typing import Annotated

import typer

from hpc.cli import registration
from hpc.cli.ns import Replace
from hpc.cli.options import HubUrl, Json, client, noun


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    noun(app, "generator", "Generators.", {"register": register}, verb)


def register(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON; `-` is stdin.")],
    replace: Replace = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Register a generator."""
    requests = registration.read(file, registration.GENERATOR)
    with client(hub_url) as hub:
        registration.register(hub, requests, replace=replace, as_json=as_json)
