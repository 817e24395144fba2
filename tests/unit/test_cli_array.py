"""Tasks as they are typed: `--array`, `--each-line`, `--from-json` and `:::`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from canned_hub import CannedHub, sent

from hpc.cli import tree


def events_sent(hub: CannedHub) -> list[dict[str, Any]]:
    """The payloads of all events of the one batch that was sent."""
    (body,) = (request.body for request in hub.asked if request.path == "/ingest")
    return [event["payload"] for event in body["events"]]


AB = [":::", "a", "b"]
TWO = {"tasks": "0-1", "entries": [["a", "c"], ["b", "c"]]}
LINES = {"tasks": "0-1", "entries": ["a b", ""]}
LIST = {"tasks": "0-1", "entries": [1, {"a": 2}]}


@pytest.mark.parametrize(
    ("words", "ctx", "command"),
    [
        (["--array", "0-9:4", "--", "x"], {"tasks": "0,4,8"}, ("x", [], None)),
        (["--", "x", "{}", *AB], {"tasks": "0-1", "entries": ["a", "b"]}, ("x", ["{}"], True)),
        (["--", "x", ":::", "a"], {"tasks": "0", "entries": ["a"]}, ("x", ["{}"], True)),
        (["--", "x -v", ":::", "a"], {"tasks": "0", "entries": ["a"]}, ("x -v {}", None, True)),
        (["--", "x", "{2}", *AB, ":::", "c"], TWO, ("x", ["{2}"], True)),
        (["--each-line", "lines", "--", "x"], LINES, ("x", [], None)),
        (["--each-line", "lines", "--", "x {}"], LINES, ("x {}", None, True)),
        (["--from-json", "list", "--", "x"], LIST, ("x", [], None)),
    ],
)
def test_tasks_are_sent_as_one_job(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    ctx: dict[str, Any],
    command: tuple[str, list[str] | None, bool | None],
) -> None:
    """However they were named; the spec is one, and the number of tasks is told."""
    monkeypatch.chdir(tmp_path)
    Path("lines").write_text("a b\n\n")
    Path("list").write_text('[1, {"a": 2}]')
    assert tree.main(["submit", *words]) == 0
    (payload,) = events_sent(hub)
    assert payload["ctx"] == {"ns_id": "batch", **ctx}
    spec = payload["spec"]
    assert (spec["command"], spec.get("args"), spec.get("expand")) == command
    count = len(ctx.get("entries") or ctx["tasks"].split(","))
    assert f"job 7 submitted ({count} task{'s' if count > 1 else ''}); " in capsys.readouterr().err


def test_lines_can_come_from_stdin(hub: CannedHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ls | hpc submit --each-line - -- gzip {}`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("ä\nb".encode())))
    assert tree.main(["submit", "--each-line", "-", "--", "gzip", "{}"]) == 0
    assert sent(hub)["ctx"]["entries"] == ["ä", "b"]


def test_a_list_that_needs_several_events_has_an_id_of_its_own(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it is one batch, and where no answer comes the repeat is safe by its key."""
    (tmp_path / "lines").write_text("".join(f"{n}{'x' * 100}\n" for n in range(20_000)))
    words = ["submit", "--each-line", str(tmp_path / "lines"), "--", "x", "{}"]
    assert tree.main([*words]) == 0
    payloads = events_sent(hub)
    assert len(payloads) > 1
    (job_id,) = {payload["ctx"]["job_id"] for payload in payloads}
    assert sum(len(payload["ctx"]["entries"]) for payload in payloads) == 20_000
    assert "(20,000 tasks)" in capsys.readouterr().err

    hub.routes["POST", "/ingest"] = [None]
    assert tree.main([*words[:1], "--key", "mine", *words[1:]]) == 3
    assert "the same again is safe with --key mine" in capsys.readouterr().err
    assert job_id != "mine"
    assert tree.main([*words[:1], "--batch-id", "b/1", *words[1:]]) == 2


MISTAKES = [
    (
        ["--each-line", "empty", "--", "x", "{}"],
        "error: --each-line empty has no entry, and a job needs a task\n\n"
        "hint: give at least one\n",
    ),
    (
        ["--each-line", "nowhere", "--", "x", "{}"],
        "error: --each-line nowhere cannot be read: No such file or directory\n",
    ),
    (
        ["--each-line", "latin", "--", "x", "{}"],
        "error: --each-line latin must be UTF-8, got byte 0xfc in line 2\n\n"
        "hint: bring it to UTF-8 first: iconv -f latin1 -t utf-8\n",
    ),
    (
        ["--array", "9-0", "--", "x"],
        "error: Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '9-0'\n\n"
        "hint: the first number of a range is the lesser one\n",
    ),
    (
        ["--array", "0-99%0", "--", "x"],
        "error: Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '0-99%0'\n\n"
        "hint: behind % stands how many tasks run at a time: --array 0-99%5\n",
    ),
    (
        ["--", "x", "{}", ":::"],
        "error: `:::` must have values behind it, got none\n\n"
        "hint: hpc submit -- gzip {} ::: a.txt b.txt\n",
    ),
    (
        ["--", "x", "{2}", ":::", "a", "b"],
        "error: `{2}` has no value: entry 1 has 1 value\n\n"
        "hint: as many lists as that, or `\\{2}` for these signs as they stand\n",
    ),
    (
        ["--array", "0-9", "--", "echo", "{}"],
        "error: `{}` stands for a task's entry, and --array gives its tasks none\n\n"
        "hint: the number is $HPC_TASK_ID; `\\{}` is these signs as they stand; "
        "entries: hpc submit --each-line FILE -- CMD {}\n",
    ),
    (
        ["--array", "0-20000000", "--", "x"],
        "error: Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '0-20000000'\n\n"
        "hint: the greatest number is 9999999\n",
    ),
    (
        ["--", "x", *(":::", *map(str, range(60))) * 4],
        "error: `:::` makes 12960000 tasks, a job has at most 10000000\n\n"
        "hint: make several jobs of it\n",
    ),
    (
        ["--from-json", "graph", "--", "x"],
        "error: --from-json graph must hold a JSON list, got an object: "
        "a graph of jobs has its commands in it\n\n"
        "hint: leave the command away for a graph; "
        'one task for each element: ["a", "b"] or [{"lr": 0.1}, {"lr": 0.2}]\n',
    ),
    (
        ["--from-json", "list"],
        "error: --from-json list holds no graph of jobs but [1]: "
        "the elements of a list are tasks of a command\n\n"
        "hint: hpc submit --from-json FILE -- CMD {}\n",
    ),
    (
        ["--from-json", "graph", "--array", "0-9"],
        "error: --array makes no sense beside a graph of jobs, which is --from-json without a "
        "command\n\nhint: say it in the file, job by job\n",
    ),
    (
        ["--from-json", "graph", "--batch-id", "x"],
        "error: --batch-id makes no sense beside a graph of jobs, which is --from-json without a "
        "command\n\nhint: the same graph again is safe with the same --key\n",
    ),
    (
        ["--array", "0-1", "--", "x", ":::", "a"],
        "error: --array and `:::` both say which tasks there are\n\n"
        "hint: give one of them; several lists: hpc submit -- CMD {1} {2} ::: a b ::: c d\n",
    ),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=lambda each: str(each)[:40])
def test_mistakes_about_tasks_say_what_to_type(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    """To the letter: what failed, what came, what to do; and nothing was sent."""
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("")
    Path("latin").write_bytes("a\nü\n".encode("latin1"))
    Path("graph").write_text('{"jobs": []}')
    Path("list").write_text("[1]")
    assert tree.main(["submit", *words]) == 2
    assert capsys.readouterr().err == message
    assert hub.asked == []


def test_a_placeholder_without_a_value_is_pointed_out(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is typed is what runs; but a list was probably forgotten."""
    assert tree.main(["submit", "--", "echo", "{}"]) == 0
    assert sent(hub)["spec"]["args"] == ["{}"]
    assert "expand" not in sent(hub)["spec"]
    assert capsys.readouterr().err.startswith(
        "note: `{}` runs as it is typed, since nothing gives it a value: "
        "hpc submit -- CMD {} ::: a b c\n"
    )
    assert tree.main(["submit", "--", "find", "-exec", "rm", "{}", ";"]) == 0
    assert "note" not in capsys.readouterr().err
