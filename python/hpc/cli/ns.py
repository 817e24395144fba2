"""`hpc ns`: list, info, register."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from hpc.cli import output, registration, wording
from hpc.cli.options import HubUrl, Json, client, noun
from hpc.client import Client
from hpc.errors import NotFound, UsageError
from hpc.nearest import did_you_mean

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
    noun(app, "ns", "Namespaces.", {"list": list_, "info": info, "register": register}, verb)


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


def info(
    ns: Annotated[str, typer.Argument(metavar="NS", help="A namespace.")],
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Show a namespace: who handles its jobs, and what its kinds of events may hold."""
    with client(hub_url) as hub:
        row = one(hub, ns)
    if as_json:
        output.put_json("ns.info", row, cursor=hub.cursor)
        return
    spec = row["spec"]
    output.put_fields(
        [
            ("namespace", row["ns_id"]),
            ("version", row["version"]),
            ("handler", spec.get("handler_type")),
            ("generators", ", ".join(row.get("generators") or []) or None),
        ]
    )
    output.put("")
    output.put_table(["KIND", "FIELD", "TYPE", "NEEDED", "DEFAULT", "LIMITS"], _fields(spec))


def one(hub: Client, ns: str) -> dict[str, Any]:
    """Return a namespace that is registered.

    Raises:
        NotFound: It is not.
    """
    rows = {str(row["ns_id"]): row for row in hub.read("/namespaces")["data"]}
    if ns not in rows:
        raise NotFound(
            f"Namespace `{ns}` is not registered\n  known: {', '.join(rows)}",
            code="unknown_namespace",
            field="ns",
            hint=did_you_mean(ns, rows) or "hpc ns list",
        )
    found: dict[str, Any] = rows[ns]
    return found


def _fields(spec: Mapping[str, Any]) -> Iterator[list[object]]:
    """Yield a row for each field of each kind; one for a kind that has none."""
    for kind, fields in (spec.get("schema") or {}).items():
        if not fields:
            yield [kind, *[None] * 5]
        for field in fields:
            needed = "yes" if field.get("required") else "no"
            default = wording.value_text(field["default"]) if "default" in field else None
            yield [kind, field["key"], field["expected_type"], needed, default, _limits(field)]


def _limits(field: Mapping[str, Any]) -> str | None:
    """Return what bounds a field's values, or their lengths, in words; None where nothing does."""
    least, most = field.get("min"), field.get("max")
    words = [
        field.get("format"),
        " or ".join(map(wording.value_text, field.get("one_of") or [])),
        None if least is None else f"at least {least}",
        None if most is None else f"at most {most}",
    ]
    return ", ".join(filter(None, words)) or None


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
