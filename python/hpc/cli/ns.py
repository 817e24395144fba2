"""`hpc ns`: list, register."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hpc.cli import output, registration
from hpc.cli.options import HubUrl, Json, client, noun
from hpc.errors import UsageError

File = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="JSON; `-` is stdin.", show_default=False),
]
Replace = Annotated[
    int | None,
    typer.Option("--replace", metavar="VERSION", min=1, help="The version that it replaces."),
]


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    noun(app, "ns", "Namespaces.", {"list": list_, "register": register}, verb)


def list_(as_json: Json = False, hub_url: HubUrl = None) -> None:
    """List the namespaces that are registered."""
    with client(hub_url) as hub:
        answer = hub.read("/namespaces")
    if as_json:
        output.put_json("ns.list", answer["data"], cursor=answer["cursor"])
        return
    heads = ["NAMESPACE", "VERSION", "HANDLER", "KINDS", "GENERATORS"]
    output.put_table(
        heads,
        (
            [
                row["ns_id"],
                row["version"],
                row["spec"].get("handler_type"),
                ",".join(row["spec"].get("schema") or {}),
                ",".join(row.get("generators") or []),
            ]
            for row in answer["data"]
        ),
    )


def register(
    file: File = None,
    plugin: Annotated[
        str | None, typer.Option("--plugin", metavar="NAME", help="An installed namespace.")
    ] = None,
    replace: Replace = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Register a namespace, and the generators that stand with it in the file."""
    if (file is None) == (plugin is None):
        raise UsageError(
            "Give either a file or --plugin", field="file", hint="hpc ns register hello.json"
        )
    requests = (
        _installed(plugin) if plugin else registration.read(file or "-", registration.NAMESPACE)
    )
    with client(hub_url) as hub:
        registration.register(hub, requests, replace=replace, as_json=as_json)


def _installed(name: str) -> list[dict[str, Any]]:
    # Imported here: specs are msgspec structs, which the other commands do without.
    import msgspec  # noqa: PLC0415

    from hpc import plugins  # noqa: PLC0415

    found = plugins.namespace(name)
    document = {"namespace": found.namespace, "generators": list(found.generators)}
    built: dict[str, Any] = msgspec.to_builtins(document)
    return registration.requests(built, registration.NAMESPACE, f"entry point `{name}`")
