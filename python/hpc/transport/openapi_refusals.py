"""Refusals in the OpenAPI document: by status the codes, the headers, and when each comes.

All have one shape, the problem document of RFC 9457 (`hpc.problems`, and problem.rs of the engine).
A test holds the codes against those that the sources raise.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple


class Refusal(NamedTuple):
    """The refusals of one status.

    Attributes:
        name: Of the component in the document.
        when: They come.
        codes: For programs.
        header: What each has beside those of every answer.
    """

    name: str
    when: str
    codes: tuple[str, ...]
    header: str | None = None


_RETRY: Final = "Retry-After"

REFUSALS: Final = {
    400: Refusal("BadRequest", "It cannot be read", ("bad_request", "bad_http")),
    401: Refusal(
        "Unauthorized", "No token, or one that opens nothing", ("unauthorized",), "WWW-Authenticate"
    ),
    403: Refusal(
        "NotAllowed",
        "The token is not for that; or, with a cookie, it may be of another page",
        ("not_allowed", "cross_site"),
    ),
    404: Refusal(
        "NotFound",
        "Nothing has this name; `forgotten`: there was such a job",
        ("not_found", "forgotten", "unknown_namespace", "unknown_token", "no_route"),
    ),
    405: Refusal("WrongMethod", "The route has another method", ("wrong_method",), "Allow"),
    408: Refusal("TooSlow", "It did not arrive in time: send it again", ("too_slow",)),
    409: Refusal(
        "Conflict",
        "It contradicts what is recorded",
        (
            "id_conflict",
            "gap",
            "job_conflict",
            "version",
            "token_conflict",
            "lost",
            "taken",
        ),
    ),
    410: Refusal(
        "Gone",
        "The answer needs events that are gone, or damaged; it can be given from `floor` on",
        ("compacted", "damaged"),
    ),
    413: Refusal("TooLarge", "A body, a batch or an event that is too large", ("too_large",)),
    415: Refusal("UnsupportedType", "Another media type", ("unsupported_media_type",)),
    422: Refusal("NotWellFormed", "`errors` names each field that is wrong", ("not_well_formed",)),
    426: Refusal("Upgrade", "Another protocol version", ("protocol_version",), "Upgrade"),
    429: Refusal(
        "TooMany",
        "Ask again later",
        ("too_many_failures", "too_many_jobs", "too_many_nodes"),
        _RETRY,
    ),
    431: Refusal("HeadTooLarge", "Its headers are too long", ("head_too_large",)),
    503: Refusal(
        "Unavailable",
        "It cannot be answered or recorded now: send the same again",
        (
            "recovering",
            "busy",
            "stopping",
            "internal",
            "engine_failed",
            "storage_failed",
            "storage",
            "storage_damaged",
            "storage_foreign",
            "storage_locked",
        ),
        _RETRY,
    ),
    507: Refusal("Full", "The Hub's disk is full: send the same again", ("storage_full",), _RETRY),
}
"""By status."""

ALWAYS: Final = (400, 401, 403, 408, 426, 429, 431, 503)
"""What any route may be refused with."""

_LINEAGE: Final = "Hpc-Lineage"
_HEADERS: Final = {
    "Hpc-Hub": "Id of this Hub's log",
    "Hpc-Protocol": "The version that it speaks",
    _LINEAGE: "Only after a restore, or a start without damaged batches: which history this is",
    _RETRY: "Seconds after which asking again makes sense; add a random part",
    "WWW-Authenticate": "By RFC 6750",
    "Allow": "The method that the route has",
    "Upgrade": "The version that is served, as `hpc/1`",
}


def headers() -> dict[str, Any]:
    """Return the components of headers of answers."""
    number = {"type": "string", "pattern": "^[0-9]+$"}
    return {
        name: {
            "description": description,
            "required": name != _LINEAGE,
            "schema": number if name == _RETRY else {"type": "string"},
        }
        for name, description in _HEADERS.items()
    }


def common_headers(*more: str) -> dict[str, Any]:
    """Return references to the headers of every answer, and to some more."""
    names = ("Hpc-Hub", "Hpc-Protocol", _LINEAGE, *more)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def responses() -> dict[str, Any]:
    """Return the components of refusals."""
    return {refusal.name: _response(refusal) for refusal in REFUSALS.values()}


def references(statuses: tuple[int, ...]) -> dict[str, Any]:
    """Return by status what a route may be refused with, in order."""
    names = {status: REFUSALS[status].name for status in sorted({*ALWAYS, *statuses})}
    return {str(of): {"$ref": f"#/components/responses/{name}"} for of, name in names.items()}


def _response(refusal: Refusal) -> dict[str, Any]:
    more = () if refusal.header is None else (refusal.header,)
    schema = {"$ref": "#/components/schemas/Problem"}
    codes = ", ".join(f"`{code}`" for code in refusal.codes)
    return {
        "description": f"{refusal.when} (code {codes})",
        "headers": common_headers(*more),
        "content": {
            "application/problem+json": {"schema": schema},
            "application/msgpack": {"schema": schema},
        },
    }
