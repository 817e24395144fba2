"""Problem documents (RFC 9457) that Python makes: refusals of the process and of the transport.

The engine makes its own in Rust, in the same shape and order of members. Reading one that came
over the wire is the client's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hpc.protocols import Answer

_encode = msgspec.json.Encoder().encode


def problem(
    status: int, code: str, title: str, detail: str, hint: str | None = None, **extra: object
) -> Answer:
    """Return a refusal; nothing was recorded.

    Args:
        status: HTTP status, 400 to 599.
        code: A stable word for programs.
        title: The same for people.
        detail: What failed in this case: what was expected, what came.
        hint: What to do next.
        extra: Further members, such as `errors`.
    """
    document: dict[str, Any] = {
        "type": f"urn:hpc:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if hint is not None:
        document["hint"] = hint
    document.update(extra)
    return Answer(status, _encode(document))


def bad_query(field: str, expected: str, got: str) -> Answer:
    """Return the 400 of a query value that makes no sense."""
    return problem(
        400,
        "bad_request",
        "The request cannot be read",
        f"query `{field}` must be {expected}, got {got!r}",
        f"give `{field}` as {expected}",
        field=field,
    )


def compacted(
    floor: int, *, field: str | None = None, got: int = 0, least: int | None = None
) -> Answer:
    """Return the 410 of a question to which compaction has dropped what an answer needs.

    Args:
        floor: The seq from which on it is there.
        field: The query parameter that asks for what is gone, where another value would not.
        got: What it says.
        least: The least value of it that can be answered; by default the floor.
    """
    detail = f"events below seq {floor} are past their retention, and some of them are gone"
    if field is None:
        return problem(
            410,
            "compacted",
            "The log was compacted",
            detail,
            "what they led to is still there: pull the facts",
            floor=floor,
        )
    least = floor if least is None else least
    return problem(
        410,
        "compacted",
        "The log was compacted",
        f"query `{field}` must be at least {least}, got {got}: {detail}",
        f"give `{field}` as {least} or more",
        field=field,
        floor=floor,
    )


def stopping() -> Answer:
    """Return the 503 of a Hub that is ending."""
    return problem(
        503,
        "stopping",
        "The Hub is ending",
        "the Hub ends before it could answer; whether a batch was recorded is unknown",
        "send the same request again once the Hub is back; the same id is recorded once",
    )


def internal() -> Answer:
    """503: a mistake of ours; the traceback is on the Hub's stderr and nowhere else."""
    return problem(
        503,
        "internal",
        "The Hub could not do this",
        "a fault of the Hub; whether the request had an effect is unknown",
        "send the same request again; if it fails again, report it with the Hub's stderr",
    )
