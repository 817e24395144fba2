"""A mistake of ours: who typed the command sees a sentence, and where it is only if asked for."""

from __future__ import annotations

import json

import pytest

from hpc.cli import status, tree


def broken(_url: str | None) -> None:
    raise ZeroDivisionError("no such number")


def test_no_traceback_reaches_who_typed_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As text, and as JSON."""
    monkeypatch.setattr(status, "client", broken)
    assert tree.main(["status"]) == 1
    said = capsys.readouterr().err
    assert said == (
        "error: A mistake of hpc itself: ZeroDivisionError: no such number\n\n"
        "hint: please report it, with what HPC_TRACEBACK=1 in the environment shows of the same\n"
    )
    assert tree.main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "internal"


def test_where_it_was_made_is_shown_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For who reports it."""
    monkeypatch.setattr(status, "client", broken)
    monkeypatch.setenv("HPC_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        tree.main(["status"])
