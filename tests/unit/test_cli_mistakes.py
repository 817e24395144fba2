"""A mistake of ours: who typed the command sees a sentence, and where it is only if asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import typer
from canned_hub import TOKEN, CannedHub, answer

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


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["wait", "7"], "hpc job wait"),
        (["cancel", "7"], "hpc job cancel"),
        (["squeue"], "hpc job list"),
        (["logs", "7"], "hpc job log"),
        (["version"], "hpc --version"),
        (["jbo", "list"], "hpc job"),
        (["submit", "--time", "1h", "--", "x"], "--time-limit"),
        (["submit", "-p", "b", "--", "x"], "--require"),
        (["submit", "--depends", "7", "--", "x"], "--after"),
        (["submit", "-c", "4", "--", "x"], "--cpu"),
        (["submit", "-D", "/tmp", "--", "x"], "--cwd"),
        (["worker", "start"], "hpc relay"),
        (["job", "rm", "7"], "hpc job cancel"),
        (["job", "output", "7"], "hpc job log"),
        (["job", "submit", "x"], "hpc submit"),
        (["node", "ls"], "hpc node list"),
    ],
)
def test_words_of_others_name_ours(
    typed: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What Slurm has, and the verbs of jobs without their noun; a slip of letters as before."""
    assert tree.main(typed) == 2
    assert capsys.readouterr().err.endswith(f"hint: did you mean `{meant}`?\n")


def test_every_word_of_others_leads_somewhere() -> None:
    """To a command that there is, or to a flag of `hpc submit`."""
    root: Any = typer.main.get_command(tree.tree())
    for words in tree._COMMANDS_ELSEWHERE.values():
        command = root
        for word in words.split():
            command = command if word.startswith("--") else command.commands[word]
    verbs = {verb for each in root.commands.values() for verb in getattr(each, "commands", ())}
    assert set(tree._VERBS_ELSEWHERE.values()) <= verbs
    flags = {flag for param in root.commands["submit"].params for flag in param.opts}
    assert set(tree._FLAGS_ELSEWHERE.values()) <= flags


@pytest.mark.parametrize("flag", sorted(tree._FLAGS_NOWHERE))
def test_a_flag_that_has_no_like_says_what_there_is(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than the nearest by its letters, which is something else."""
    assert tree.main(["submit", flag, "x", "--", "x"]) == 2
    assert capsys.readouterr().err.endswith(f"hint: {tree._FLAGS_NOWHERE[flag]}\n")


def test_a_word_behind_the_log_may_be_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    """Two things are called log."""
    assert tree.main(["log", "7"]) == 2
    assert capsys.readouterr().err.endswith("hpc job log 7\n")


def test_a_flag_of_others_is_not_named_where_ours_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The hint must lead to what this command takes."""
    assert tree.main(["eff", "--time", "1h"]) == 2
    assert "--time-limit" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["-h"], ["help"], ["job", "log", "-h"], ["help", "job", "log"]])
def test_help_is_there_by_whatever_name(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As other programs have it; what stands behind the command of a job is the job's."""
    of = [word for word in words if word not in ("-h", "help")]
    assert tree.main(words) == 0
    shown = capsys.readouterr().out
    assert tree.main([*of, "--help"]) == 0
    assert capsys.readouterr().out == shown
    assert shown.startswith(f"Usage: {' '.join(['hpc', *of])} [OPTIONS]")


@pytest.mark.parametrize("words", [["job", "info"], ["pull", "kernel", "--table"], ["job", "hold"]])
def test_a_word_that_is_no_utf_8_is_told(
    hub: CannedHub, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file's name may be any bytes; what is sent is text."""
    page = answer({"cursor": 4, "data": [], "next": None, "facts": {}})
    hub.routes["GET", "/jobs"] = hub.routes["GET", "/pull"] = page
    assert tree.main([*words, "fit\udcff"]) == 2
    assert capsys.readouterr().err == "error: Words must be UTF-8, got 'fit\\udcff'\n"


@pytest.mark.parametrize("path", ["job hold", "submit", "status"])
def test_a_flag_without_its_value_is_sent_to_the_help_of_its_command(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parser does not say whose flag it was."""
    flag = "--hub-url"
    assert tree.main([*path.split(), flag]) == 2
    told = f"error: Option '{flag}' requires an argument\n\nhint: hpc {path} --help\n"
    assert capsys.readouterr().err == told


def test_who_is_not_read_any_more_has_a_code_of_its_own(hub: CannedHub) -> None:
    """As `hpc events | head -1` leaves it; 1 would be a job that failed."""
    rows = [event(seq) for seq in range(1, 3000)]
    hub.routes["GET", "/events"] = answer({"cursor": 4, "data": rows, "next": None})
    with subprocess.Popen(
        [sys.executable, "-m", "hpc", "events"],
        env={**os.environ, "HPC_HUB_URL": hub.url, "HPC_TOKEN": TOKEN},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as events:
        assert events.stdout is not None and events.stderr is not None
        events.stdout.readline()
        events.stdout.close()
        assert (events.wait(30), events.stderr.read()) == (141, b"")


def event(seq: int) -> dict[str, Any]:
    return {"seq": seq, "at": 0, "kind": "Said", "ctx": {"ns_id": "lab" * 40}, "payload": {}}
