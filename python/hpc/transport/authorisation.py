"""Authorisation: which role opens which route. What is not in the table is closed.

This is the one table of routes; which kinds of events a role may send is the engine's
(`hpc._core.kernel_kinds`), and both are printed into docs/security.md from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from hpc._core import kernel_kinds
from hpc.tokens import ROLES


class Rule(NamedTuple):
    """One route.

    Attributes:
        methods: Those that it takes.
        roles: Whose tokens open it; empty: nobody's.
        is_open: Without a query it needs no token, and tells nothing but ok.
        is_page: It needs no token: the dashboard's files, and where one logs in.
    """

    methods: tuple[str, ...]
    roles: frozenset[str]
    is_open: bool = False
    is_page: bool = False


_ALL: Final = frozenset(ROLES)
_READ: Final = Rule(("GET",), _ALL)
_PAGE: Final = Rule(("GET",), _ALL, is_page=True)

ROUTES: Final = {
    "/ingest": Rule(("POST",), frozenset({"admin", "submit", "relay", "monitor"})),
    "/control": Rule(("POST",), frozenset({"admin"})),
    "/claim": Rule(("POST",), frozenset({"admin", "relay"})),
    "/outputs": Rule(("POST",), frozenset({"admin", "relay"})),
    "/tokens": Rule(("GET",), frozenset({"admin"})),
    "/pull": _READ,
    "/jobs": _READ,
    "/jobs/{job_id}": _READ,
    "/jobs/{job_id}/log": _READ,
    "/jobs/{job_id}/tasks": _READ,
    "/jobs/{job_id}/why": _READ,
    "/nodes": _READ,
    "/namespaces": _READ,
    "/events": _READ,
    "/pokes": _READ,
    "/explain": _READ,
    "/conflicts": _READ,
    "/diff": _READ,
    "/metrics": _READ,
    "/schema": _READ,
    "/schema/openapi.json": _READ,
    "/healthz": Rule(("GET",), _ALL, is_open=True),
    "/readyz": Rule(("GET",), _ALL, is_open=True),
    "/ui": _PAGE,
    "/ui/static/{path}": _PAGE,
    "/ui/codes": Rule(("POST",), _ALL),
    "/ui/session": Rule(("POST", "GET", "DELETE"), _ALL, is_page=True),
}
"""By path."""

_JOB: Final = "/jobs/"
_JOB_TEMPLATE: Final = "/jobs/{job_id}"

STATIC: Final = "/ui/static/"
"""Before the names of the dashboard's files."""


def rule_of(path: str) -> Rule | None:
    """Return the rule of a path, with or without a slash at its end; None where it is no route."""
    found = ROUTES.get(path) or ROUTES.get(path.rstrip("/"))
    if found is None and path.startswith(_JOB):
        job_id, slash, rest = path.removeprefix(_JOB).rstrip("/").partition("/")
        found = ROUTES.get(f"{_JOB_TEMPLATE}{slash}{rest}") if job_id else None
    elif found is None and path.startswith(STATIC):
        found = _PAGE
    return found


def tables() -> str:
    """Return both tables as docs/security.md has them."""
    routes = (
        (f"`{method} {path}`", rule.roles)
        for path, rule in ROUTES.items()
        for method in rule.methods
    )
    kinds = ((f"`{kind}`", frozenset(roles)) for kind, roles in kernel_kinds())
    return f"{_table('route', routes)}\n{_table('kind', kinds)}"


def _table(head: str, rows: Iterable[tuple[str, frozenset[str]]]) -> str:
    lines = [f"| {head} | {' | '.join(ROLES)} |", "|---" * (len(ROLES) + 1) + "|"]
    for name, roles in rows:
        cells = ("yes" if role in roles else "" for role in ROLES)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tables(), end="")
