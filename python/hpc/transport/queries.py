"""Queries: as text for the engine; for the other routes parsed strictly, refused with the field."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from hpc.problems import bad_query
from hpc.protocols import Answer

FIELDS_MAX: Final = 1000
EVENTS_LIMIT_MAX: Final = 10_000
GIDS_MAX: Final = 100
INT_MAX: Final = 2**63 - 1

Query = dict[str, list[str]]


def text_of(raw: bytes) -> str | Answer:
    """Return a raw query, or a 400 if it is not ASCII, as a URL must be."""
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        return bad_query("?", "percent-encoded ASCII", raw.decode("latin-1"))


def parsed(raw: bytes, known: Collection[str], repeatable: Collection[str] = ()) -> Query | Answer:
    """Parse a query string; unknown names and repeats are refused with 400."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        return bad_query("?", "percent-encoded UTF-8", raw[:200].decode("latin-1"))
    query: Query = {}
    for name, value in pairs:
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            return bad_query(name, f"absent; known are {names}", value)
        query.setdefault(name, []).append(value)
        if len(query[name]) > 1 and name not in repeatable:
            return bad_query(name, "given once", ", ".join(query[name]))
    return query


def whole(query: Query, name: str, default: int, low: int, high: int = INT_MAX) -> int | Answer:
    """Return a whole number between two bounds, or the 400 that names them."""
    if name not in query:
        return default
    text = query[name][0]
    if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and low <= int(text) <= high:
        return int(text)
    return bad_query(name, f"a whole number from {low} to {high}", text)


def flag(query: Query, name: str) -> bool | Answer:
    """Return a flag, false where it is absent."""
    text = query.get(name, ["false"])[0]
    if text in ("true", "false"):
        return text == "true"
    return bad_query(name, "true or false", text)
