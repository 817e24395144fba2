"""Refusals that HTTP itself gives rise to; what a body says is refused by the engine."""

from __future__ import annotations

from hpc._core import __version__
from hpc.problems import problem
from hpc.protocols import Answer


def no_route(path: str) -> Answer:
    """404: the path names no route."""
    return problem(
        404,
        "no_route",
        "No such route",
        f"path {path!r} is none of this Hub's",
        "its routes stand in /schema; a command that misses one is of another version",
    )


def wrong_method(method: str, allowed: str) -> Answer:
    """405: the route exists, the method does not; `Allow` must go with it."""
    return problem(
        405,
        "wrong_method",
        "The route has another method",
        f"method must be {allowed}, got {method}",
        f"use {allowed}",
    )


def not_allowed(role: str, path: str, roles: list[str]) -> Answer:
    """403: the token's role does not open the route."""
    return problem(
        403,
        "not_allowed",
        "Not allowed",
        f"a token of role `{role}` does not open {path}: it is for {', '.join(roles)}",
        "use a token of one of those roles; which there are, an administrator sees: hpc token list",
    )


def cross_site(detail: str) -> Answer:
    """403: it has a session's cookie, and may not be of the Hub's own pages."""
    return problem(
        403,
        "cross_site",
        "It may come from another page",
        f"a request with a session's cookie must be of the dashboard itself: {detail}",
        "programs send `Authorization: Bearer TOKEN` and no cookie",
    )


def too_large(got: str, limit_bytes: int) -> Answer:
    """413: the body is over its limit, by its Content-Length or as read so far."""
    return problem(
        413,
        "too_large",
        "The body is too large",
        f"a body must be at most {limit_bytes} bytes, got {got}",
        "send it in several batches",
    )


def wrong_type(header: str, expected: str, got: str, hint: str | None = None) -> Answer:
    """415: a media type or an encoding that is not taken."""
    return problem(
        415,
        "unsupported_media_type",
        "The media type is not supported",
        f"header `{header}` must be {expected}, got {got!r}",
        hint or f"send `{header}: {expected}`",
        field=header,
    )


def wrong_protocol(got: str, served: int) -> Answer:
    """426: the client speaks another version."""
    return problem(
        426,
        "protocol_version",
        "Another protocol version",
        f"the client speaks protocol {got[:20]!r}, and the Hub, hpc {__version__}, {served}",
        f"install what the Hub has: pip install 'hpc-lattice=={__version__}'",
        served=served,
    )


def not_ready() -> Answer:
    """503: the log is still being recovered."""
    return problem(
        503,
        "recovering",
        "The Hub is not ready yet",
        "the log is being recovered",
        "send the same request again in a moment; hpc doctor says when it is ready",
    )


def busy(detail: str) -> Answer:
    """503: more at once than is held."""
    return problem(
        503, "busy", "The Hub has too much to do", detail, "send the same request again in a second"
    )


def too_slow(what: str, limit_s: float) -> Answer:
    """408: the request did not arrive in time; nothing of it was looked at."""
    return problem(
        408,
        "too_slow",
        "The request did not arrive in time",
        f"the {what} must arrive within {limit_s:g} s",
        "send it again; several smaller batches arrive sooner",
    )
