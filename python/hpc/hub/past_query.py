"""What a query asks of the past: the cursors in it, and the rest for the engine.

The engine's own query reader never sees `at`, `from` and `to`: which log it stands on is not the
engine's to know.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote

from hpc.problems import bad_query, problem
from hpc.protocols import Answer

VERBS: Final = frozenset({"pull", "jobs", "job", "why", "tasks", "nodes", "explain", "conflicts"})
"""What can be asked of the past; each changes nothing."""

FIELDS_MAX: Final = 100

_AT: Final = re.compile(r"(?:^|(?<=&))at=([^&]*)(?:&|$)")
_WAITS: Final = re.compile(r"(?:^|&)wait=(?!0*(?:\.0*)?(?:&|$))")
_KERNEL: Final = "kernel"


class Asked(NamedTuple):
    """A question to the past.

    Attributes:
        at: Where the log ended.
        query: Without `at`.
    """

    at: int
    query: str


class AskedDiff(NamedTuple):
    """A question for what differs.

    Attributes:
        gid: Of which generator.
        since: The earlier cursor.
        to: The later one.
        query: Without the two.
    """

    gid: str
    since: int
    to: int
    query: str


def asked_at(query: str, head_seq: int) -> Asked | Answer | None:
    """Return what is asked of the past, None where the query says no `at`, or a refusal.

    Args:
        query: As it came.
        head_seq: The end of the log.
    """
    found = _AT.findall(query)
    if not found:
        return None
    if len(found) > 1:
        return bad_query("at", "given once", ", ".join(found))
    at = _cursor("at", found[0], head_seq)
    if isinstance(at, Answer):
        return at
    if _WAITS.search(query):
        return problem(
            400,
            "bad_request",
            "The request cannot be read",
            "query `wait` and query `at` exclude each other: nothing that is past will change",
            "leave out one of them",
            field="wait",
        )
    return Asked(at, _AT.sub("", query).rstrip("&"))


def asked_diff(query: str, head_seq: int) -> AskedDiff | Answer:
    """Return what `GET /diff` asks for, or a refusal; what else stands there the engine reads."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        return bad_query("?", "percent-encoded UTF-8", query[:200])
    rest = [(name, value) for name, value in pairs if name not in ("from", "to")]
    cursors: list[int] = []
    # From the later one down, since it bounds the earlier.
    for name in ("to", "from"):
        given = [value for of, value in pairs if of == name]
        if not given and name == "from":
            return problem(
                400,
                "bad_request",
                "The request cannot be read",
                "Query parameter `from` is missing",
                f"give `from` as a cursor from 0 to {head_seq}",
                field="from",
            )
        given = given or [str(head_seq)]
        if len(given) > 1:
            return bad_query(name, "given once", ", ".join(given))
        cursor = _cursor(name, given[0], head_seq)
        if isinstance(cursor, Answer):
            return cursor
        cursors.append(cursor)
        head_seq = cursor
    gid = next((value for name, value in rest if name == "gid"), _KERNEL)
    encoded = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in rest)
    return AskedDiff(gid, cursors[1], cursors[0], encoded)


def _cursor(name: str, text: str, head_seq: int) -> int | Answer:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) or int(text) > head_seq:
        return bad_query(name, f"a cursor from 0 to {head_seq}", text)
    return int(text)
