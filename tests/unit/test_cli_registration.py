"""Namespaces and generators come from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from canned_hub import CannedHub, answer

from hpc.cli import tree


@pytest.mark.parametrize(
    ("noun", "document", "request_sent"),
    [
        (
            "ns",
            {"ns_id": "h", "spec": {"schema": {}}},
            {"type": "RegisterNamespace", "ns_id": "h", "spec": {"schema": {}}},
        ),
        (
            "ns",
            {"ns_id": "h", "schema": {}, "revision": 2},
            {"type": "RegisterNamespace", "ns_id": "h", "spec": {"schema": {}, "revision": 2}},
        ),
        (
            "generator",
            {"gid": "g", "namespaces": ["h"], "rules": []},
            {"type": "RegisterGenerator", "gid": "g", "spec": {"namespaces": ["h"], "rules": []}},
        ),
    ],
)
def test_a_registration_comes_from_a_file(
    hub: CannedHub, tmp_path: Path, noun: str, document: object, request_sent: dict[str, Any]
) -> None:
    """In whichever of its forms it was written."""
    hub.routes["POST", "/control"] = answer({"ns_id": "h", "version": 1, "duplicate": False})
    path = tmp_path / "file.json"
    path.write_text(json.dumps(document))
    assert tree.main([noun, "register", str(path)]) == 0
    assert tree.main([noun, "register", str(path), "--replace", "1"]) == 0
    assert hub.asked[0].body == request_sent
    assert hub.asked[1].body == request_sent | {"replace": 1}
    path.write_text('{"id": 1}')
    assert tree.main([noun, "register", str(path)]) == 2


def test_a_registration_without_its_file_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not that it is no JSON."""
    path = tmp_path / "absent.json"
    assert tree.main(["ns", "register", str(path)]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {path} cannot be read: No such file or directory\n"
    )
