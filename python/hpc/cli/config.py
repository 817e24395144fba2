"""`hpc config`: show, path: what is set, and where it comes from.

Tokens are shown as `set`. The file is written by hand, and nothing of hpc writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperGroup

from hpc import settings
from hpc.access import access_of, home, home_said, look
from hpc.cli import defaults, output
from hpc.cli.options import Json, noun
from hpc.nearest import did_you_mean


class Value(NamedTuple):
    """One setting.

    Attributes:
        name: Such as `hub_url` or `submit.memory`.
        value: None is not set.
        source: `environment`, `file`, `access file` or `default`.
        place: The variable's name, or the path; None of a default.
    """

    name: str
    value: Any
    source: str
    place: str | None


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    noun(app, "config", "The user's settings.", {"show": show, "path": path}, verb)


def path(as_json: Json = False) -> None:
    """Print where the file is, whether or not there is one."""
    file = settings.path()
    if as_json:
        output.put_json("config.path", {"path": str(file), "exists": file.exists()}, cursor=0)
    else:
        output.put(str(file))


def show(
    all_: Annotated[
        bool, typer.Option("--all", help="Also flags that the file does not set.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show each setting and where it comes from; a flag goes before all of them."""
    # The tree has loaded this module.
    from hpc.cli.tree import NOUNS, tree  # noqa: PLC0415

    tables = defaults.tables_of(NOUNS)
    values = list(_general())
    for name in NOUNS if all_ else tables:
        command = cast("TyperGroup", typer.main.get_command(tree(name)))
        values += _flags(command, name, tables, all_=all_)
    if as_json:
        data = {"path": str(settings.path()), "values": [each._asdict() for each in values]}
        output.put_json("config.show", data, cursor=0)
        return
    output.put_table(
        ["SETTING", "VALUE", "FROM"],
        ([each.name, _shown(each.value), _from(each)] for each in values),
    )


def _general() -> Iterator[Value]:
    yield Value("home", *home_said())
    found, _ = look(home())
    access = access_of(found) if "hub_url" in found else None
    shown = {
        "hub_url": access and access.url,
        "token": "set" if "token" in found else None,
        "tls_sha256": access and access.tls_sha256,
    }
    for name, value in shown.items():
        said = found.get(name)
        yield Value(name, value, *(said[1:] if said else ("default", None)))
    of_file = settings.read()
    place = ("file", str(settings.path())) if "progress" in of_file else ("default", None)
    yield Value("progress", of_file.get("progress", True), *place)


def _flags(
    command: TyperGroup, first: str, tables: Mapping[str, dict[str, Any]], *, all_: bool
) -> Iterator[Value]:
    """Yield the flags that the file sets for a noun; with `all_` also the others."""
    leaves = defaults.leaves(command)
    for second in tables.get(first, {}):
        if isinstance(command.commands[first], TyperGroup) and (first, second) not in leaves:
            near = did_you_mean(second, [str(words[1]) for words in leaves])
            raise settings.unknown(settings.path(), f"{first}.{second}", near)
    for words, leaf in leaves.items():
        path = tuple(map(str, words))
        prefix = ".".join(path)
        # What `hpc run` takes from the table of `hpc submit` is shown there.
        found = {each.place: each.value for each in defaults.of_leaf(tables, path, leaf)}
        own = {place: value for place, value in found.items() if place.startswith(f"{prefix}.")}
        for place, value in own.items():
            yield Value(place, value, "file", str(settings.path()))
        for flag, parameter in defaults.flags_of(leaf).items() if all_ else ():
            if f"{prefix}.{flag}" not in own:
                yield Value(f"{prefix}.{flag}", parameter.default, "default", None)


def _shown(value: Any) -> object:  # noqa: ANN401 - any setting
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _from(value: Value) -> str:
    return value.source if value.place is None else f"{value.source} {value.place}"
