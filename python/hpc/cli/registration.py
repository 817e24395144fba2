"""Registrations from files: a control request, or a spec with its id, one or several in a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpc.cli import output
from hpc.client import Client
from hpc.errors import UsageError

NAMESPACE = "RegisterNamespace"
GENERATOR = "RegisterGenerator"
_ID_FIELDS = {NAMESPACE: "ns_id", GENERATOR: "gid"}


def read(path: str, default: str) -> list[dict[str, Any]]:
    """Return the control requests of a file; `-` is stdin.

    Args:
        path: JSON: a request (`type`, `ns_id` or `gid`, `spec`), a spec with its id among its
            fields, a list of these, or `{"namespace": …, "generators": […]}`.
        default: The type of what does not say it.

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        why = error.strerror or error
        raise UsageError(f"{path} cannot be read: {why}", field="file") from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}", field="file") from error
    return requests(document, default, path)


def requests(document: object, default: str, path: str) -> list[dict[str, Any]]:
    """Return the control requests of a decoded file; see `read`."""
    return [_request(item, kind, path) for item, kind in _items(document, default)]


def register(
    hub: Client, wanted: list[dict[str, Any]], *, replace: int | None, as_json: bool
) -> None:
    """Send requests in order and print what became of each."""
    answers = []
    for request in wanted:
        sent = request if replace is None else {**request, "replace": replace}
        answers.append(hub.control(sent))
    if as_json:
        output.put_json("register", answers, cursor=hub.cursor)
        return
    for answer in answers:
        name = answer.get("ns_id") or answer.get("gid")
        what = "was there already" if answer.get("duplicate") else "registered"
        building = ", still being built" if answer.get("building") else ""
        output.put(f"{name} {what}, version {answer.get('version')}{building}")


def _items(document: object, default: str) -> Iterator[tuple[object, str]]:
    if isinstance(document, list):
        for item in document:
            yield item, default
    elif isinstance(document, dict) and "namespace" in document:
        yield document["namespace"], NAMESPACE
        for item in document.get("generators") or []:
            yield item, GENERATOR
    else:
        yield document, default


def _request(item: object, default: str, path: str) -> dict[str, Any]:
    kind = item.get("type", default) if isinstance(item, dict) else default
    id_field = _ID_FIELDS.get(kind)
    if not isinstance(item, dict) or id_field is None or not isinstance(item.get(id_field), str):
        raise UsageError(
            f"{path} must hold an object with `{id_field or 'type'}`, got {str(item)[:60]}",
            field="file",
            hint=f'{{"type": "{default}", "{_ID_FIELDS[default]}": "...", "spec": {{...}}}}',
        )
    if "spec" in item:
        return {"type": kind, **item}
    spec = {key: value for key, value in item.items() if key not in ("type", id_field)}
    return {"type": kind, id_field: item[id_field], "spec": spec}
