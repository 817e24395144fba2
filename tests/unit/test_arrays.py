"""Which tasks were asked for, and how they go over the wire."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc import arrays
from hpc.errors import UsageError
from hpc.submission import Event, submission_of


def told(parts: str) -> list[int]:
    """The numbers of a range list, as the Hub reads one."""
    found: set[int] = set()
    for part in filter(None, parts.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return sorted(found)


def numbers_of(text: str) -> list[int]:
    """The tasks of an array, from all its pieces."""
    return sorted({task for piece in arrays.numbers(text).pieces() for task in told(piece.tasks)})


LOOP: list[object] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-4", [0, 1, 2, 3, 4]),
        ("0-9:4", [0, 4, 8]),
        ("3-3:7", [3]),
        ("0-2,20-21", [0, 1, 2, 20, 21]),
        ("7, 1-2 ,9-13:2", [1, 2, 7, 9, 11, 13]),
        ("0-5,3-8:2,5", [0, 1, 2, 3, 4, 5, 7]),
    ],
)
def test_steps_and_lists_name_tasks(text: str, expected: list[int]) -> None:
    """The number that is told is that of tasks, also where ranges overlap."""
    assert numbers_of(text) == expected
    assert arrays.numbers(text).total == len(expected)


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=5
    )
)
def test_an_array_is_the_union_of_its_ranges(ranges: list[tuple[int, int, int]]) -> None:
    """Python's own ranges are the reference."""
    text = ",".join(f"{first}-{first + more}:{step}" for first, more, step in ranges)
    expected = {n for first, more, step in ranges for n in range(first, first + more + 1, step)}

    assert numbers_of(text) == sorted(expected)
    assert arrays.numbers(text).total == len(expected)


def test_a_throttle_stands_at_the_end() -> None:
    """`%5` is five tasks at a time; it is taken off before the numbers are read."""
    assert arrays.split_throttle("0-99%50") == ("0-99", 50)
    assert arrays.split_throttle("0-9,20") == ("0-9,20", None)
    for bad in ("0-9%", "0-9%0", "0-9%x", "0-9%-1"):
        with pytest.raises(UsageError, match="Tasks must be ranges"):
            arrays.split_throttle(bad)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("0-99%50", "got '0-99%50'", "separated by commas"),
        ("9-1", "Tasks must be ranges such as 0-99, 0-99:2 or 1,4-7, got '9-1'", "lesser one"),
        ("0-9:0", "got '0-9:0'", "a step is 1 or more"),
        ("0-10000000", "got '0-10000000'", "the greatest number is 9999999"),
        ("a", "got 'a'", "separated by commas"),
        ("", "got ''", "separated by commas"),
        ("5:2", "got '5:2'", "separated by commas"),
        ("0-9,,3", "got '0-9,,3'", "separated by commas"),
    ],
)
def test_a_bad_array_says_what_is_wrong_with_it(text: str, message: str, hint: str) -> None:
    """An array that was read otherwise than it was meant costs a day."""
    with pytest.raises(UsageError) as refused:
        arrays.numbers(text)
    assert message in refused.value.message
    assert hint in (refused.value.hint or "")
    assert refused.value.field == "array"


def test_a_long_array_is_cut_into_events() -> None:
    """Half a million single numbers do not fit into one event of 1 MiB."""
    pieces = list(arrays.numbers("0-999999:2").pieces())

    assert len(pieces) > 1
    assert all(len(piece.tasks) <= 1 << 20 for piece in pieces)
    assert [n for piece in pieces for n in told(piece.tasks)] == list(range(0, 1_000_000, 2))


def entries_of(events: list[Event]) -> list[Any]:
    """The entries of all events by task number, which must run on without a gap."""
    found: list[Any] = []
    for event in events:
        ctx = event["payload"]["ctx"]
        assert told(ctx["tasks"]) == list(range(len(found), len(found) + len(ctx["entries"])))
        found += ctx["entries"]
    return found


@given(
    st.lists(st.integers(0, 120_000), min_size=1, max_size=60),
    st.sampled_from(["x", "ä", '"', "\U0001f600"]),
)
def test_entries_are_cut_into_events_that_the_hub_takes(sizes: list[int], char: str) -> None:
    """Whatever they are like, none is lost, none moves, and no event is over 1 MiB."""
    entries = [char * (size // len(char.encode())) for size in sizes]
    sent = submission_of("batch", {"command": "x"}, arrays.Entries(entries))
    events = [event for batch in sent.batches for event in batch]

    assert entries_of(events) == entries
    for event in events:
        assert len(json.dumps(event, ensure_ascii=False).encode()) <= 1 << 20
    for batch in sent.batches:
        assert len(json.dumps(batch, ensure_ascii=False).encode()) <= 64 << 20
    assert len({event["payload"]["ctx"].get("job_id") for event in events}) == 1


def test_a_hundred_thousand_commands_are_one_batch_of_few_events() -> None:
    """What many requests would cost is not paid."""
    entries = arrays.Entries([f"some/folder/of/a/file-{n}.txt" for n in range(100_000)])
    sent = submission_of("batch", {"command": "x"}, entries)

    assert [len(batch) for batch in sent.batches] == [len(sent.batches[0])]
    assert len(sent.batches[0]) < 12
    assert entries_of(sent.batches[0]) == entries.values


def test_what_one_event_says_leaves_the_id_to_the_hub() -> None:
    """Only pieces need a name that is known before the first of them is sent."""
    few = submission_of("batch", {}, arrays.Entries(["a", "b"]))
    many = submission_of("batch", {}, arrays.Entries(["a" * 100_000] * 20))
    one = submission_of("batch", {}, arrays.ONE)

    assert few.is_one_event
    assert few.batches[0][0]["payload"]["ctx"] == {
        "ns_id": "batch", "tasks": "0-1", "entries": ["a", "b"],
    }  # fmt: skip
    assert one.batches[0][0]["payload"]["ctx"] == {"ns_id": "batch"}
    assert many.job_id is not None
    assert not many.is_one_event


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\nb c\n", ["a", "b c"]), ("a\r\n\nb", ["a", "", "b"]), ("\n", [""]), ("x", ["x"])],
)
def test_each_line_is_an_entry(text: str, expected: list[str]) -> None:
    """Task n is line n + 1, also where a line is empty."""
    assert arrays.lines(text, "--each-line f").values == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--each-line f has no entry, and a job needs a task"),
        ("a\nb\0c\n", "Entry 2 of --each-line f cannot be given to a task: it holds a NUL byte"),
        ("x" * 131_062, "Entry 1 of --each-line f cannot be given to a task: it has 131062 bytes"),
        ("ä" * 70_000, "it has 140000 bytes, a variable takes 131061"),
    ],
)
def test_lines_that_cannot_be_entries_are_refused(text: str, message: str) -> None:
    """The kernel would refuse the start of that task, hours later."""
    with pytest.raises(UsageError) as refused:
        arrays.lines(text, "--each-line f")
    assert message in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "--from-json f has no entry"),
        ('{"jobs": []}', "got an object: a graph of jobs has its commands in it"),
        ("7", "--from-json f must hold a JSON list, got 7"),
        ("[1,", "--from-json f must hold a JSON list: "),
        ("[NaN]", "NaN is no JSON number"),
    ],
)
def test_what_is_no_json_list_is_refused(text: str, message: str) -> None:
    """A graph of jobs is not an array of tasks."""
    with pytest.raises(UsageError) as refused:
        arrays.json_list(text, "--from-json f")
    assert message in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1, 2}, "it is no JSON value: Object of type set is not JSON serializable"),
        ([b"a"], "it is no JSON value: Object of type bytes is not JSON serializable"),
        ({("a", 1): 2}, "it is no JSON value: keys must be str, int, float, bool or None"),
        (float("nan"), "it is no JSON value: Out of range float values are not JSON compliant"),
        ([1.0, float("inf")], "it is no JSON value: Out of range float values are not"),
        (["a\0"], "it holds a NUL byte"),
        ({"a": "\udcff"}, "it must be UTF-8"),
        (LOOP, "it is no JSON value: Circular reference"),
    ],
    ids=lambda value: "" if value is LOOP else None,
)
def test_what_is_no_json_value_is_no_entry(value: object, why: str) -> None:
    """From Python anything can come; the message names which of a thousand it was."""
    with pytest.raises(UsageError) as refused:
        arrays.checked_entries(["fine", value], "`entries`")
    assert refused.value.message.startswith("Entry 2 of `entries` cannot be given to a task: ")
    assert why in refused.value.message
    assert refused.value.hint


def test_an_objects_key_is_not_a_word() -> None:
    """It stands escaped in the entry's JSON, and in no argument by itself."""
    assert arrays.checked_entries([{"a\0": 1}], "-").total == 1


def test_elements_of_a_json_list_are_entries_as_they_are() -> None:
    """Text stays text, anything else stays what it is."""
    text = '["a", 1, 0.5, null, true, ["b", 2], {"lr": 0.1}]'
    assert arrays.json_list(text, "-").values == json.loads(text)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=3))
def test_several_lists_make_every_combination(lists: list[list[str]]) -> None:
    """The last list varies first, as GNU parallel has it."""
    words = ["cmd"]
    for one in lists:
        words += [":::", *one]
    command, found = arrays.split_lists(words)

    assert (command, found) == (["cmd"], lists)
    expected = [list(each) for each in product(*lists)] if len(lists) > 1 else lists[0]
    assert arrays.combinations(found).values == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cmd", ":::"], "`:::` must have values behind it, got none"),
        (["cmd", ":::", "a", ":::"], "`:::` number 2 must have values behind it, got none"),
        ([":::", "a"], "`:::` must stand behind a command, got none"),
        (["cmd", "::::", "file"], "`::::` is not built"),
        (["cmd", ":::", "a", ":::+", "b"], "`:::+` is not built"),
    ],
)
def test_lists_that_make_no_sense_are_refused(words: list[str], message: str) -> None:
    """A pattern of the shell that matched nothing must not run once with nothing."""
    with pytest.raises(UsageError) as refused:
        arrays.split_lists(words)
    assert message in refused.value.message
    assert refused.value.hint


def test_more_tasks_than_a_job_has_are_refused_before_they_are_made() -> None:
    """Five lists of a hundred are ten thousand million."""
    lists = [[str(n) for n in range(100)]] * 5
    with pytest.raises(UsageError) as refused:
        arrays.combinations(lists)
    assert refused.value.message == "`:::` makes 10000000000 tasks, a job has at most 10000000"


def test_a_placeholder_needs_a_value_in_every_entry() -> None:
    """`{2}` with one list is a slip; GNU parallel would put nothing there."""
    with pytest.raises(UsageError) as refused:
        arrays.check_signs(["cmd", "{1}", "{2/}"], arrays.Entries([["a", "b"], ["c"]]))
    assert refused.value.message == "`{2/}` has no value: entry 2 has 1 value"
    arrays.check_signs(["cmd", "{1}", "{.}"], arrays.Entries(["a"]))
    arrays.check_signs(["cmd", r"a\{2}", "${2}"], arrays.Entries(["a"]))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["echo", "{}"], "{}"),
        (["echo", "{#}"], "{#}"),
        (["find", ".", "-exec", "rm", "{}", ";"], None),
        (["find", ".", "-exec", "rm", "{}", "+"], None),
        (["awk", "{print $1}"], None),
        (["grep", "-E", "a{2}"], None),
    ],
)
def test_a_placeholder_by_itself_looks_meant(words: list[str], found: str | None) -> None:
    """What is typed is what runs, also where other programs use the same signs."""
    assert arrays.no_entries(words) == found
