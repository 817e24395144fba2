"""Namespaces and generators come from files."""

from __future__ import annotations

import json
import re
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


def test_a_namespace_tells_what_its_kinds_may_hold(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each field; another name is asked after."""
    fields = [
        {"key": "cpu", "expected_type": "Int", "required": True, "min": 1, "max": 8},
        {"key": "how", "expected_type": "String", "default": "fast", "one_of": ["fast", "well"]},
    ]
    spec = {"handler_type": "process", "schema": {"SubmitJob": fields, "Bye": []}}
    row = {"ns_id": "lab", "version": 2, "spec": spec, "generators": ["lab"]}
    hub.routes["GET", "/namespaces"] = answer({"cursor": 4, "data": [row]})
    assert tree.main(["ns", "info", "lab"]) == 0
    lines = [re.split(r"  +", line.rstrip()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:4] == [
        ["namespace", "lab"],
        ["version", "2"],
        ["handler", "process"],
        ["generators", "lab"],
    ]
    assert lines[6:] == [
        ["SubmitJob", "cpu", "Int", "yes", "-", "at least 1, at most 8"],
        ["SubmitJob", "how", "String", "no", "fast", "fast or well"],
        ["Bye", "-", "-", "-", "-", "-"],
    ]
    assert tree.main(["ns", "info", "lab", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["data"]) == ("hpc.ns.info/1", row)
    assert tree.main(["ns", "info", "lba"]) == 4
    assert "known: lab\n\nhint: did you mean `lab`?" in capsys.readouterr().err
