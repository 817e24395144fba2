"""Where facts come from and how it was, on the command line: golden output and exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from canned_hub import CannedHub, Request, answer, problem

from hpc.cli import tree

EVENT = {"seq": 8, "id": "org/1", "index": 1, "at": 0, "kind": "Said", "node_id": "n1"}
TOLD = {**EVENT, "origin": "org", "rule": 0, "on": ["Said"]}
CONFLICT = {
    "gid": "g", "table": "t", "key": "n", "column": "said", "values": [1, 2], "overflow": False,
    "evidence": [{**EVENT, "value": 2}, {**EVENT, "seq": 14, "id": "org/4", "value": 1}],
    "changed": 14,
}  # fmt: skip


@pytest.fixture
def hub(hub: CannedHub) -> CannedHub:
    """A Hub that this user's commands find, and that has something to tell."""
    page = {"cursor": 14, "data": [], "next": None}
    for path in ("/jobs", "/nodes", "/conflicts"):
        hub.routes["GET", path] = answer(page)
    facts = {"t": {"n": {"most": 5, "said": [1, 2]}}}
    hub.routes["GET", "/pull"] = answer({"gid": "g", "cursor": 14, "facts": facts, "more": False})
    return hub


def test_explain_says_who_said_what_when_and_by_which_rule(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a column, of each column of the row."""

    def explained(request: Request) -> Any:
        value = 5 if request.query["column"] == "most" else [2]
        return answer({"cursor": 14, "events": [{**TOLD, "value": value}], "more": False})

    hub.routes["GET", "/explain"] = explained
    assert tree.main(["explain", "g", "t", "n"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "COLUMN  SEQ  AT                        KIND  RULE  NODE  SAYS  BATCH\n"
        "most    8    1970-01-01T00:00:00.000Z  Said  0     n1    5     org/1\n"
        "said    8    1970-01-01T00:00:00.000Z  Said  0     n1    [2]   org/1\n"
    )
    assert shown.err == ""


def test_why_not_gives_the_reasons_and_goes_through_empty_pages(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page looks through a bounded part of the log; the command asks on until it has enough."""
    event = {**TOLD, "value": 1, "reason": "says 1, the cell had 5"}
    hub.routes["GET", "/explain"] = [
        answer({"cursor": 14, "events": [], "more": True, "after": 9}),
        answer({"cursor": 14, "events": [event], "more": True, "after": 12}),
    ]
    assert tree.main(["explain", "g", "t", "n", "most", "--why-not", "--limit", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "COLUMN  SEQ  AT                        KIND  RULE  NODE  SAYS  BATCH  WHY\n"
        "most    8    1970-01-01T00:00:00.000Z  Said  0     n1    1     org/1  "
        "says 1, the cell had 5\n"
    )
    assert shown.err == "note: more events say something of most; raise --limit\n"
    asked = [request.query for request in hub.asked if request.path == "/explain"]
    assert [query.get("after") for query in asked] == [None, "9"]
    assert all(query["why_not"] == "true" for query in asked)
    hub.routes["GET", "/explain"] = answer({"cursor": 14, "events": [], "more": False})
    assert tree.main(["explain", "g", "t", "n", "most", "--why-not"]) == 0
    assert capsys.readouterr() == ("", "no event that spoke of it left it unchanged\n")


def test_conflicts_are_a_table_of_who_said_what(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each value; what is missing is said."""
    odd = {
        **CONFLICT, "key": "m", "column": "by", "within": [{"key": "a"}, {"epoch": 2}],
        "values": ["x", {"k": 1}], "overflow": True, "evidence_more": True,
        "evidence": [{**EVENT, "value": "x"}],
    }  # fmt: skip
    del odd["changed"]
    pages = [
        answer({"cursor": 14, "data": [CONFLICT], "next": "there"}),
        answer({"cursor": 14, "data": [odd], "next": None}),
    ]
    hub.routes["GET", "/conflicts"] = pages
    assert tree.main(["conflicts", "g"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "GENERATOR  TABLE  ROW  COLUMN    SAYS      SEQ  AT                        KIND  NODE  "
        "BATCH\n"
        "g          t      n    said      2         8    1970-01-01T00:00:00.000Z  Said  n1    "
        "org/1\n"
        "g          t      n    said      1         14   1970-01-01T00:00:00.000Z  Said  n1    "
        "org/4\n"
        "g          t      m    by[a][2]  x         8    1970-01-01T00:00:00.000Z  Said  n1    "
        "org/1\n"
        'g          t      m    by[a][2]  {"k": 1}  -    -                         -     -     -\n'
    )
    assert shown.err == (
        "note: of g t m by the smallest values are kept; there were more\n"
        "note: of g t m by not every event was found in the part of the log searched\n"
    )
    assert [request.query for request in hub.asked] == [
        {"gid": "g"},
        {"gid": "g", "after": "there"},
    ]


def test_no_conflicts_are_said_and_are_0(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on stdout, which is for data."""
    assert tree.main(["conflicts"]) == 0
    assert capsys.readouterr() == ("", "no conflicts\n")
    assert tree.main(["conflicts", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"schema": "hpc.conflicts/1", "cursor": 14, "data": []}


def test_a_diff_shows_each_cell_as_it_was_and_as_it_became(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """All pages, up to where the first one ended."""
    first = {"t": {"n": {"most": {"from": None, "to": 5}}}}
    second = {
        "t": {"n": {"said": {"from": [2], "to": [1, 2]}}, "a": {"x": {"from": "u", "to": "v"}}}
    }
    pages = [
        answer({"gid": "g", "from": 3, "to": 14, "data": first, "cursor": 9, "more": True}),
        answer({"gid": "g", "from": 3, "to": 14, "data": second, "cursor": 14, "more": False}),
    ]
    hub.routes["GET", "/diff"] = list(pages)
    assert tree.main(["diff", "3", "now", "g", "--table", "t"]) == 0
    assert capsys.readouterr().out == (
        "TABLE  ROW  COLUMN  FROM  TO\n"
        "t      a    x       u     v\n"
        "t      n    most    -     5\n"
        "t      n    said    [2]   [1, 2]\n"
    )
    place = {"gid": "g", "from": "3", "table": "t"}
    assert [request.query for request in hub.asked] == [place, {**place, "to": "14", "cursor": "9"}]
    hub.routes["GET", "/diff"] = list(pages)
    assert tree.main(["diff", "3", "14", "g", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["cursor"]) == ("hpc.diff/1", 14)
    assert document["data"]["data"]["t"]["n"].keys() == {"most", "said"}
    assert hub.asked[-1].query == {"gid": "g", "from": "3", "to": "14", "cursor": "9"}
    hub.routes["GET", "/diff"] = answer(
        {"gid": "kernel", "from": 3, "to": 4, "data": {}, "cursor": 4, "more": False}
    )
    assert tree.main(["diff", "3", "4"]) == 0
    assert capsys.readouterr() == ("", "nothing of kernel differs between 3 and 4\n")


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["pull", "g"], "/pull"),
        (["job", "list"], "/jobs"),
        (["job", "list", "failed", "--json"], "/jobs"),
        (["job", "info", "7"], "/jobs/7"),
        (["node", "list"], "/nodes"),
        (["conflicts"], "/conflicts"),
        (["explain", "g", "t", "n", "most"], "/explain"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_at_gives_its_cursor_to_all_that_the_command_asks(
    hub: CannedHub, words: list[str], path: str
) -> None:
    """And to nothing after it."""
    hub.routes["GET", "/explain"] = answer({"cursor": 9, "events": [], "more": False})
    assert tree.main(["at", "9", *words]) == 0
    assert [request.path for request in hub.asked][-1] == path
    assert all(request.query["at"] == "9" for request in hub.asked)
    assert tree.main(words) == 0
    assert "at" not in hub.asked[-1].query


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["at", "9"], "error: Missing argument 'COMMAND...'"),
        (["at", "x", "job", "list"], "error: `CURSOR` must be a whole number"),
        (["at", "-1", "job", "list"], "error: "),
        (["at", "9", "job"], "got `job`\n\nhint: hpc at 9 job list"),
        (["at", "9", "job", "cancel", "7"], "got `job cancel`"),
        (["at", "9", "submit", "--", "true"], "got `submit --`"),
        (["at", "9", "at", "3", "job", "list"], "got `at 3`"),
        (["at", "9", "pull", "g", "--follow"], "error: `--follow` waits for news"),
        (["at", "9", "pull", "g", "--wait", "5"], "error: `--wait` waits for news"),
        (["at", "9", "pull", "g", "--nonsense"], "error: `hpc pull` has no option"),
        (["diff", "3", "then"], "error: `TO` must be a cursor or `now`, got 'then'"),
        (["diff"], "error: Missing argument 'FROM'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_cannot_be_asked_of_the_past_is_2(
    hub: CannedHub, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was sent, and the message says what can."""
    assert tree.main(words) == 2
    assert message in capsys.readouterr().err
    assert not hub.asked


@pytest.mark.parametrize(
    ("refusal", "code", "words"),
    [
        (
            problem(400, "bad_request", "query `at` must be a cursor from 0 to 4, got '9'"),
            5,
            "to 4",
        ),
        (problem(410, "compacted", "query `at` must be at least 40, got 9", floor=40), 4, "40"),
        (
            problem(404, "not_found", "Generator `g` is not known", hint="did you mean `h`?"),
            4,
            "`h`",
        ),
        (problem(401, "unauthorized", "Not you"), 7, "Not you"),
    ],
)
@pytest.mark.parametrize(
    "command", [["at", "9", "pull", "g"], ["diff", "9", "now", "g"], ["conflicts", "g"]]
)
def test_each_refusal_has_its_exit_code(
    hub: CannedHub,
    refusal: Any,
    code: int,
    words: str,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As everywhere; what was compacted is not found."""
    for path in ("/pull", "/diff", "/conflicts"):
        hub.routes["GET", path] = refusal
    assert tree.main(command) == code
    assert words in capsys.readouterr().err
    assert tree.main([*command, "--json"]) == code
    assert json.loads(capsys.readouterr().err)["error"]["code"]
