"""The OpenAPI document with closed answers: a field that it does not tell is found."""

from __future__ import annotations

from typing import Any


def close(document: Any) -> None:
    """Let no object have fields beside those that are told, unless it is said that it may."""
    if isinstance(document, dict):
        if isinstance(document.get("properties"), dict):
            document.setdefault("additionalProperties", False)
        for inner in document.values():
            close(inner)
    elif isinstance(document, list):
        for inner in document:
            close(inner)
