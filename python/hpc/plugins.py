"""Plugins: storage, transport, namespaces and handlers, found by entry point and never by import.

| group            | an entry point loads                                  | found by            |
|------------------|-------------------------------------------------------|---------------------|
| `hpc.storage`    | `open_log(data: Path) -> EventLog`                    | `storage(name)`     |
| `hpc.log_tools`  | a class whose instances are `LogTools`, for a storage | `log_tools(name)`   |
| `hpc.transport`  | a class whose instances are a `Transport`             | `transport(name)`   |
| `hpc.namespaces` | an object with `namespace` and `generators`           | `namespaces()`      |
| `hpc.handlers`   | a class whose instances are a `Handler`               | `handler(name)`     |

A plugin that is asked for by name and does not load is an error. A namespace that somebody else's
package brings and that does not load is named and left out: it must not keep the Hub from starting.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple, cast

from hpc.errors import NotFound, UsageError
from hpc.ports import Transport
from hpc.protocols import EventLog, Handler, LogTools, Namespace

STORAGE = "hpc.storage"
LOG_TOOLS = "hpc.log_tools"
TRANSPORT = "hpc.transport"
NAMESPACES = "hpc.namespaces"
HANDLERS = "hpc.handlers"


class Found(NamedTuple):
    """Namespaces that loaded, in the order of their names, and a sentence for each that did not."""

    namespaces: list[Namespace]
    problems: list[str]


def storage(name: str) -> Callable[[Path], EventLog]:
    """Return the function that opens a log of this kind."""
    return cast("Callable[[Path], EventLog]", _load(STORAGE, name))


def log_tools(name: str) -> LogTools:
    """Return what `hpc log` needs for the storage of this name."""
    return cast("Callable[[], LogTools]", _load(LOG_TOOLS, name))()


def transport(name: str) -> Transport:
    """Return a new transport of this kind."""
    return cast("Callable[[], Transport]", _load(TRANSPORT, name))()


def handler(name: str) -> Handler:
    """Return a new handler for this `handler_type`."""
    return cast("Callable[[], Handler]", _load(HANDLERS, name))()


def namespace(ns_id: str) -> Namespace:
    """Return the namespace of this id.

    Raises:
        NotFound: No entry point has this name.
        UsageError: It does not load, or is no namespace.
    """
    return _as_namespace(_load(NAMESPACES, ns_id), ns_id)


def namespaces() -> Found:
    """Load every namespace that is installed."""
    found = Found([], [])
    for name in names(NAMESPACES):
        try:
            found.namespaces.append(namespace(name))
        except UsageError as error:
            found.problems.append(error.message)
    return found


def names(group: str) -> list[str]:
    """Return the names of a group's entry points, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def _load(group: str, name: str) -> object:
    """Load an entry point.

    Raises:
        NotFound: No package brings it; the message lists those that are there.
        UsageError: It is there and importing it failed.
    """
    found = list(entry_points(group=group, name=name))
    if not found:
        known = ", ".join(names(group)) or "none"
        raise NotFound(
            f"No package brings `{name}` as {group}; known: {known}",
            code="no_plugin",
            hint=f"install a package with an entry point `{name}` in the group `{group}`",
        )
    point = found[0]
    try:
        loaded: object = point.load()
    # A plugin is somebody else's code: whatever importing it raises is reported with its name.
    except Exception as error:
        raise UsageError(
            f"{_shown(point)} does not load: {type(error).__name__}: {error}", code="bad_plugin"
        ) from error
    return loaded


def _as_namespace(loaded: object, name: str) -> Namespace:
    if not isinstance(loaded, Namespace):
        raise UsageError(
            f"Entry point `{name}` of {NAMESPACES} must be an object with `namespace` and"
            f" `generators`, got {type(loaded).__name__}",
            code="bad_plugin",
        )
    return loaded


def _shown(point: EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist is not None else ""
    return f"Entry point `{point.name}` of {point.group} ({point.value}{package})"
