"""The laws of provenance: the past is a prefix of the log, and every event is accounted for.

A Hub that was asked at each of its seqs as it went, and the past that is replayed up to that seq,
say the same. Each event that speaks of a cell is either among those that made it grow or among
those that did not, and of the latter it is told why.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model import Facts
from small_hub import SmallHub, Tables, asked, overlay, past_of, reach
from strategies import LAB, LOGS, RULES, batches, stored

from hpc import _core

Json = Any
Cell = tuple[str, str, str]

bounded = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def lab(rules: Json) -> SmallHub:
    """A Hub with the namespace `lab` and the generator `g`."""
    hub = SmallHub()
    hub.namespace("lab", LAB)
    hub.generator("g", rules)
    return hub


def fed(rules: Json, log: list[Json]) -> SmallHub:
    """A Hub that was given the log, an event a batch."""
    hub = lab(rules)
    for number, event in enumerate(log):
        hub.ingest(f"e{number}", [event])
    return hub


def cells(tables: Json) -> set[Cell]:
    """The cells that a page names."""
    return {
        (table, row, column)
        for table, rows in tables.items()
        for row, columns in rows.items()
        for column in columns
    }


@bounded
@given(RULES, LOGS, st.data())
def test_the_past_is_a_hub_that_got_no_further(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """A pull at c is the pull of a Hub that only got the first c events, whatever the cursor and
    the pages, however the log was batched, and from wherever the past went on."""
    alone, batched = lab(rules), lab(rules)
    first = alone.head
    for batch_id, events in data.draw(batches(log)):
        batched.ingest(batch_id, events)
    going = past_of(batched)
    for number in range(len(log) + 1):
        at = first + number
        if number:
            alone.ingest(f"e{number}", [log[number - 1]])
        anew = past_of(batched)
        reach(anew, batched, at, rows=1)
        reach(going, batched, at)
        for gid in ("g", "kernel"):
            for query in (f"gid={gid}", f"gid={gid}&cursor={first}&limit=1"):
                expected = alone.ask("pull", query)
                assert asked(anew, "pull", query) == expected
                assert asked(going, "pull", query) == expected


@bounded
@given(RULES, LOGS, st.data())
def test_a_diff_is_what_two_pulls_differ_by(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """For every pair of cursors and in pages of any size: each cell that reads otherwise, as it was
    and as it became, and no other."""
    hub = fed(rules, log)
    since = data.draw(st.integers(0, hub.head))
    to = data.draw(st.integers(since, hub.head))
    limit = data.draw(st.integers(1, 3))
    past = past_of(hub)
    reach(past, hub, since)
    then = asked(past, "pull", "gid=g&limit=100000")["facts"]
    assert past.keep("g") is None
    reach(past, hub, to)
    now = asked(past, "pull", "gid=g&limit=100000")["facts"]
    told: Tables = {}
    cursor = since
    while True:
        page = asked(past, "diff", f"gid=g&cursor={cursor}&limit={limit}")
        assert not cells(told) & cells(page["data"]), "a cell stands on one page"
        told = overlay(told, page["data"])
        if not page["more"]:
            break
        assert page["cursor"] > cursor
        cursor = page["cursor"]

    def value(facts: Tables, cell: Cell) -> Json:
        table, row, column = cell
        return facts.get(table, {}).get(row, {}).get(column)

    def text(one: Json) -> str:
        return json.dumps(one)  # tells 1, 1.0 and true apart

    differ = {cell for cell in cells(now) if text(value(then, cell)) != text(value(now, cell))}
    differ |= cells(now) - cells(then)
    assert cells(told) == differ
    for table, row, column in differ:
        change = told[table][row][column]
        assert text(change["from"]) == text(value(then, (table, row, column)))
        assert text(change["to"]) == text(value(now, (table, row, column)))


def searched(
    hub: SmallHub, cell: Cell, *, why_not: bool, after: int = 0, rows: int = 1000
) -> list[Json]:
    """All events that a search over the log tells, fed so many rows at a time."""
    table, key, column = cell
    flag = {"why_not": "true"} if why_not else {}
    query = {"gid": "g", "table": table, "key": key, "column": column, **flag}
    (reply,) = hub.turn([(1, "explain", urlencode(query, quote_via=quote), None)]).replies
    assert reply[1] == 200, reply[2]
    search = _core.Search(reply[2], "hub", after)
    found = b""
    while search.position < hub.head:
        page = hub.read(search.position + 1, rows)
        found += search.run(page, after, hub.head, 1_000_000)[0]
    return json.loads(b"[%s]" % found[:-1])


@bounded
@given(RULES, LOGS, st.data())
def test_every_event_that_speaks_of_a_cell_changed_it_or_is_told_with_a_reason(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """`why_not` tells exactly the events that speak of a cell and at which it did not grow."""
    hub = lab(rules)
    grew: dict[Cell, set[int]] = {}
    speaks: dict[Cell, set[int]] = {}
    for number, event in enumerate(log):
        seq = hub.ingest(f"e{number}", [event])["first_seq"]
        for cell in cells(hub.pull("g", seq - 1)["facts"]):
            grew.setdefault(cell, set()).add(seq)
        for cell in Facts(rules).add(stored(event, seq)):
            speaks.setdefault(cell, set()).add(seq)
    for cell in sorted(speaks)[:20]:
        told = searched(hub, cell, why_not=True)
        seqs = [event["seq"] for event in told]
        assert seqs == sorted(set(seqs))
        assert not set(seqs) & grew[cell], "what changed it is not told"
        assert speaks[cell] - grew[cell] <= set(seqs), "what did not change it is told"
        for event in told:
            assert event["reason"]
            names = log[event["seq"] - (hub.head - len(log)) - 1]["kind"]
            assert names in event["on"]
            if event["seq"] not in speaks[cell]:
                assert least(event["value"]), "it says the least, which says nothing"
        after = data.draw(st.integers(0, hub.head))
        rest = [event for event in told if event["seq"] > after]
        assert searched(hub, cell, why_not=True, after=after, rows=1) == rest
        parts = searched(hub, cell, why_not=False)
        assert {event["seq"] for event in parts} <= speaks[cell]


def least(value: Json) -> bool:
    """Whether a value that is told is a bottom or an amount of 0, also within epochs and maps."""
    if isinstance(value, dict) and value.keys() == {"at", "value"}:
        return least(value["value"])
    if isinstance(value, dict):
        return all(map(least, value.values()))
    return value in (None, False, 0, "")


ONCE = {"once": "$spec.i"}
CONFLICTING = [
    {
        "on": "Said",
        "table": table,
        "key": key,
        "join": {
            "once": ONCE,
            "epoch_once": {"epoch": {"at": "$spec.d", "join": ONCE}},
            "map_once_False": {"map": {"key": "$spec.s", "join": ONCE}},
            "map_once_True": {
                "map": {"key": "$spec.s", "join": {"epoch": {"at": "$spec.d", "join": ONCE}}}
            },
        },
    }
    for table, key in (("t1", "$ctx.node_id"), ("t2", "all"))
]
SAID = st.builds(
    lambda node, i, d, s: {
        "kind": "Said",
        "at": 1,
        "payload": {"ctx": {"ns_id": "lab", "node_id": node}, "spec": {"i": i, "d": d, "s": s}},
    },
    st.sampled_from(["n1", "n2"]),
    st.integers(-3, 3),
    st.integers(0, 1),
    st.sampled_from(["a", "b"]),
)


@bounded
@given(st.just(CONFLICTING) | RULES, LOGS, st.data())
def test_a_past_from_a_snapshot_is_the_past_from_the_beginning(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """Whatever the snapshot and the cursor above it, also of a generator that came after it, or
    was replaced after it; so that compaction can drop what lies below."""
    cut = data.draw(st.integers(0, len(log)))
    late = data.draw(st.integers(0, len(log)))
    hub = lab(rules)
    hub.generator("replaced", [{**rules[0], "table": "other"}])
    taken, begin = hub.snapshot(), hub.head
    for number, event in enumerate(log):
        if number == late:
            hub.generator("late", rules)
            hub.generator("replaced", rules, replace=1)
        hub.ingest(f"e{number}", [event])
        if number == cut:
            taken, begin = hub.snapshot(), hub.head
    gids = ("g", "kernel", "replaced") + (("late",) if late < len(log) else ())
    whole = past_of(hub)
    for at in range(begin, hub.head + 1):
        reach(whole, hub, at)
        restored = past_of(hub, taken)
        assert restored.last_seq == begin
        reach(restored, hub, at, rows=data.draw(st.integers(1, 3)))
        queries = [("pull", f"gid={gid}&cursor={c}") for gid in gids for c in (0, begin, at)]
        for verb, query in [*queries, ("conflicts", ""), ("jobs", ""), ("nodes", "")]:
            assert asked(restored, verb, query) == asked(whole, verb, query)


@bounded
@given(
    st.tuples(st.just(CONFLICTING), st.lists(SAID, min_size=3, max_size=12))
    | st.tuples(RULES, LOGS),
    st.integers(1, 3),
)
def test_conflicts_are_the_cells_with_two_values_and_each_value_has_its_first_event(
    said: tuple[Json, list[Json]], limit: int
) -> None:
    """The list is kept while events come, and says what a look at every cell would say."""
    rules, log = said
    hub = fed(rules, log)
    facts = hub.facts("g")
    overflow = cells(hub.pull("g", limit=100_000).get("overflow", {}))
    expected = {
        (table, row, column, json.dumps(within)): values
        for table, row, column in cells(facts)
        for within, values in onces(column, facts[table][row][column])
        if len(values) > 1 or ((table, row, column) in overflow and len(values) == 4)
    }
    told: dict[Any, Json] = {}
    after: str | None = None
    while True:
        query = f"gid=g&limit={limit}" + (f"&after={quote(after, safe='')}" if after else "")
        page = conflicts(hub, query)
        for conflict in page["data"]:
            within = json.dumps([next(iter(step.items())) for step in conflict.get("within", [])])
            place = (conflict["table"], conflict["key"], conflict["column"], within)
            assert place not in told
            told[place] = conflict
        after = page["next"]
        if after is None:
            break
    asks = [(1, "conflicts", "", None)]
    restored = hub.restored(hub.snapshot())
    assert restored.turn(asks).replies == hub.turn(asks).replies, "a snapshot brings all back"
    assert {place: json.dumps(one["values"]) for place, one in told.items()} == {
        place: json.dumps(values) for place, values in expected.items()
    }
    first: dict[Any, int] = {}
    for seq, event in enumerate(log, hub.head - len(log) + 1):
        alone = Facts(rules)
        alone.add(stored(event, seq))
        shown = alone.shown()
        for table, row, column in cells(shown):
            for within, values in onces(column, shown[table][row][column]):
                for value in values:
                    key = (table, row, column, json.dumps(within), json.dumps(value))
                    first.setdefault(key, seq)
    for place, one in told.items():
        assert "evidence_more" not in one
        seqs = {json.dumps(event["value"]): event["seq"] for event in one["evidence"]}
        assert seqs == {
            json.dumps(value): first[(*place, json.dumps(value))] for value in one["values"]
        }


def onces(column: str, value: Json) -> list[tuple[list[Any], list[Json]]]:
    """What was to be said once in a shown value, and where in it, by the names of strategies.py."""
    if column == "once":
        return [([], value)]
    if column == "epoch_once":
        return [([("epoch", value["at"])], value["value"])]
    if column.startswith("map_once") and column.endswith("False"):
        return [([("key", key)], inner) for key, inner in value.items()]
    if column.startswith("map_once"):
        return [
            ([("key", key), ("epoch", inner["at"])], inner["value"]) for key, inner in value.items()
        ]
    return []


def conflicts(hub: SmallHub, query: str) -> Json:
    """One page of conflicts, with the evidence of the whole log."""
    (reply,) = hub.turn([(1, "conflicts", query, None)]).replies
    assert reply[1] == 200, reply[2]
    evidence = _core.Evidence(reply[2], "hub")
    evidence.run(hub.log)
    page = json.loads(evidence.body())
    listed = {
        (cell["table"], cell["key"], cell["column"]) for cell in json.loads(reply[2])["cells"]
    }
    shown = {(one["table"], one["key"], one["column"]) for one in page["data"]}
    assert listed == shown, "a cell that is no conflict any more is not listed"
    return page
