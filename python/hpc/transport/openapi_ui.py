"""The dashboard's routes in the OpenAPI document: their paths, and the schemas that they alone use.

`openapi.py` puts them in. Which are open without a token stands in authorisation.py, what a session
is in sessions.py.
"""

from __future__ import annotations

from typing import Any, Final

from hpc.transport.openapi_refusals import common_headers, references
from hpc.transport.openapi_schemas import COUNTED, MS, TEXT, ref

_FORMS: Final = ("application/json", "application/msgpack")
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_KINDS: Final = ("text/html", "text/css", "text/javascript", "image/svg+xml", "text/plain")
_OPEN: Final[dict[str, Any]] = {"security": []}
_ACTION: Final = {
    "name": "Hpc-Action",
    "in": "header",
    "required": True,
    "schema": {"enum": ["1"]},
    "description": "What no form can send; beside a cookie every request but GET needs it",
}


def ui_schemas() -> dict[str, Any]:
    """Return the schemas by name."""
    login = {"type": "object", "additionalProperties": False}
    secret = {"type": "string", "maxLength": 1000}
    return {
        "Login": {
            "oneOf": [
                {**login, "properties": {name: secret}, "required": [name]}
                for name in ("code", "token")
            ]
        },
        "Code": {
            "type": "object",
            "properties": {"code": TEXT, "expires_in": {**COUNTED, "description": "Seconds"}},
            "required": ["code", "expires_in"],
        },
        "Session": {
            "type": "object",
            "properties": {
                "role": ref("Role"),
                "name": {**TEXT, "description": "The token's id"},
                "expires_at": {"oneOf": [MS, {"type": "null"}]},
            },
            "required": ["role", "name", "expires_at"],
        },
    }


def ui_paths() -> dict[str, Any]:
    """Return the paths."""
    file = _answer(dict.fromkeys(_KINDS, _BYTES))
    kept = {"304": {"description": "It is as it was: `If-None-Match`"}}
    below = {"307": {"description": "To the same with a slash at its end"}}
    name = {"name": "path", "in": "path", "required": True, "schema": TEXT}
    login = {"required": True, "content": {kind: {"schema": ref("Login")} for kind in _FORMS}}
    code, session = _answer(_json("Code")), _answer(_json("Session"))
    return {
        "/ui": {"get": _operation("ui", "The dashboard", {"200": file, **below, **kept}) | _OPEN},
        "/ui/static/{path}": {
            "get": _operation("ui_file", "A file of it", {"200": file, **kept}, 404, more=[name])
            | _OPEN
        },
        "/ui/codes": {"post": _operation("create_code", "A code that logs in once", {"201": code})},
        "/ui/session": {
            "get": _operation("get_session", "Who is logged in", {"200": session}) | _OPEN,
            "post": {
                **_operation(
                    "log_in", "Log in; sets a cookie", {"200": session}, 413, 415, more=[_ACTION]
                ),
                **_OPEN,
                "requestBody": login,
            },
            "delete": _operation("log_out", "Log out", {"204": _answer({})}, more=[_ACTION])
            | _OPEN,
        },
    }


def _operation(
    operation_id: str,
    summary: str,
    answers: dict[str, Any],
    *refused: int,
    more: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["dashboard"],
        "parameters": [{"$ref": "#/components/parameters/Protocol"}, *(more or [])],
        "responses": {**answers, **references(refused)},
    }


def _json(name: str) -> dict[str, Any]:
    return {kind: {"schema": ref(name)} for kind in _FORMS}


def _answer(content: dict[str, Any]) -> dict[str, Any]:
    told = {"description": "OK", "headers": common_headers()}
    return {**told, "content": content} if content else told
