"""The limits of HTTP by name, each taken from where it is kept; `hpc.hub.limit_table` has others.

`connections` is what holds in this process, by its limit of open files.
"""

from __future__ import annotations

from typing import Final

from hpc.ports import Limit
from hpc.transport.auth import ADDRESSES_MAX, FAILURES_MAX
from hpc.transport.bodies import BODY_BYTES_MAX, HELD_BYTES_MAX
from hpc.transport.connection import (
    BODY_BYTES_PER_S_MIN,
    BODY_S,
    CONNECTIONS_MAX,
    FILES_RESERVED,
    HEAD_BYTES_MAX,
    HEAD_S,
    IDLE_S,
    PIPELINED_MAX,
    connections_max,
)
from hpc.transport.queries import EVENTS_LIMIT_MAX, FIELDS_MAX, GIDS_MAX
from hpc.transport.sessions import CODE_MS, HELD_MAX, LOGIN_BYTES_MAX, SESSION_MS

CONNECTIONS: Final = "connections"

LIMITS: Final = (
    Limit(
        CONNECTIONS,
        CONNECTIONS_MAX,
        f"connections; fewer where the process may open fewer files, of which {FILES_RESERVED} are "
        "for the log and for output",
    ),
    Limit("head_bytes", HEAD_BYTES_MAX, "request line and headers"),
    Limit("head_s", HEAD_S, "from the first byte of a request to the end of its headers"),
    Limit("body_bytes", BODY_BYTES_MAX, "body of a request"),
    Limit("bodies_held_bytes", HELD_BYTES_MAX, "bodies that are read or answered, together"),
    Limit("body_s", BODY_S, "for a body, unless it comes as fast as the next line says"),
    Limit("body_bytes_per_s", BODY_BYTES_PER_S_MIN, "at least so fast a longer body must come"),
    Limit("idle_s", IDLE_S, "a connection without a request, or whose peer is silent"),
    Limit("pipelined", PIPELINED_MAX, "requests that wait on one connection for an answer"),
    Limit("failures_a_minute", FAILURES_MAX, "requests without a token from one address"),
    Limit("addresses", ADDRESSES_MAX, "addresses whose failures are counted"),
    Limit("code_s", CODE_MS // 1000, "until a code that logs in to the dashboard is used"),
    Limit("session_s", SESSION_MS // 1000, "a session of the dashboard"),
    Limit("sessions", HELD_MAX, "sessions of one token, and codes; the oldest gives way"),
    Limit("login_bytes", LOGIN_BYTES_MAX, "body that logs in"),
    Limit("query_fields", FIELDS_MAX, "fields of a query"),
    Limit("events_page", EVENTS_LIMIT_MAX, "events of a page"),
    Limit("poke_generators", GIDS_MAX, "generators that a subscription to pokes names"),
)


def limits() -> dict[str, float]:
    """Return all by name, as they are in this process now."""
    return {limit.name: limit.most for limit in LIMITS} | {CONNECTIONS: connections_max()}
