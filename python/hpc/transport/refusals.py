"""Refusals that came over the wire, as the errors that programs catch: status and code to class."""

from __future__ import annotations

import json
from typing import Any, Final

from hpc.errors import Conflict, HpcError, NoHub, NotAllowed, NotFound, Refused

REFUSALS_BEGIN: Final = 400
_ERRORS_SHOWN: Final = 5
_GENERAL: Final = "nothing was recorded"
"""Begins the hint of a refusal of which the Hub cannot say more."""

_CLASSES: Final[dict[int, type[HpcError]]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    429: NoHub,
    500: HpcError,
    501: HpcError,
}
_AWAY: Final = 502
"""From here on the Hub, or what stands before it, cannot answer now."""


def error_of(status: int, body: bytes, retry_after: str = "") -> HpcError:
    """Return the error that a problem document describes, or that a status stands for.

    Args:
        status: Of the answer.
        body: Of the answer.
        retry_after: Its header `Retry-After`; only seconds are read.
    """
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": body[:200].decode("utf-8", "replace").strip()}
    code = problem.get("code")
    hint = problem.get("hint")
    errors = [error for error in problem.get("errors") or [] if isinstance(error, dict)]
    field = problem.get("field") or (errors[0].get("field") if errors else None)
    message = _sentence(status, problem, errors)
    hint = hint or (errors[0].get("hint") if errors else None)
    lacking = [f"`{error.get('field')}`" for error in errors if error.get("got") == "nothing"]
    if lacking and hint is not None and hint.startswith(_GENERAL):
        hint = f"{_GENERAL}: add {' and '.join(lacking)} and send it again"
    kind = _CLASSES.get(status, NoHub if status >= _AWAY else Refused)
    if kind is Refused:
        floor = problem.get("floor")
        return Refused(message, code=code, field=field, hint=hint, errors=errors, floor=floor)
    if kind is Conflict:
        return Conflict(message, code=code, field=field, hint=hint, problem=problem)
    if kind is NotFound:
        return NotFound(message, code=code, field=field, hint=hint, outcome=problem.get("outcome"))
    error = kind(message, code=code, field=field, hint=hint)
    if isinstance(error, NoHub) and retry_after.isdigit():
        error.retry_after_s = float(retry_after)
    return error


def _sentence(status: int, problem: dict[str, Any], errors: list[dict[str, Any]]) -> str:
    detail = problem.get("detail") or problem.get("title") or f"the Hub answered {status}"
    text = str(detail).rstrip(".")
    text = text[:1].upper() + text[1:]
    if isinstance(known := problem.get("known"), list) and not errors:
        return f"{text}\n  known: {', '.join(map(str, known))}" if known else text
    if not errors:
        return text
    lines = [field_sentence(error) for error in errors[:_ERRORS_SHOWN]]
    if lines[0] in text:
        del lines[0]
    if len(errors) > _ERRORS_SHOWN:
        lines.append(f"and {len(errors) - _ERRORS_SHOWN} more")
    return "\n  ".join([text, *lines])


def field_sentence(error: dict[str, Any]) -> str:
    """Return one element of a 422's `errors` as a sentence."""
    got = error.get("got")
    return f"`{error.get('field')}` must be {error.get('expected')}, got {got}"
