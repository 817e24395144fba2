"""The laws of generators, through the Hub's own state machine.

Facts are the join of what each event says. So order, repeats and batching play no part, a reader
who joins what it pulls holds the facts, and a Hub that is rebuilt from its log is the same Hub.
`model.py` says what the facts are; E1 to E7 are the laws of the engine by name.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model import Facts
from small_hub import SmallHub, Tables, overlay
from strategies import LAB, LOGS, RULES, RULES_WITH_SEQ, batches, stored

Json = Any

bounded = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])


def lab(rules: Json | None = None) -> SmallHub:
    """A Hub with the namespace `lab`, and the generator `g` where there are rules."""
    hub = SmallHub()
    hub.namespace("lab", LAB)
    if rules is not None:
        hub.generator("g", rules)
    return hub


def fed(rules: Json | None, log: list[Json]) -> SmallHub:
    """A Hub that was given the log, an event a batch."""
    hub = lab(rules)
    for number, event in enumerate(log):
        hub.ingest(f"e{number}", [event])
    return hub


def modelled(rules: Json, log: list[Json], *, first_seq: int = 0) -> Facts:
    """The model's facts of a log."""
    facts = Facts(rules)
    for seq, event in enumerate(log, first_seq):
        facts.add(stored(event, seq))
    return facts


def exact(value: Json) -> Json:
    """A value of which 1, 1.0 and true are told apart."""
    match value:
        case dict():
            return {key: exact(part) for key, part in value.items()}
        case list():
            return [exact(part) for part in value]
    return (type(value).__name__, value)


def cells(tables: Json) -> set[tuple[str, str, str]]:
    """The cells that a page names."""
    return {
        (table, row, column)
        for table, rows in tables.items()
        for row, columns in rows.items()
        for column in columns
    }


@bounded
@given(RULES_WITH_SEQ, LOGS, st.data())
def test_facts_are_those_of_the_model(rules: Json, log: list[Json], data: st.DataObject) -> None:
    """Whatever the rules and the log, the facts are the join of what each event says."""
    hub = lab(rules)
    first_seq = hub.head + 1
    for batch_id, events in data.draw(batches(log)):
        hub.ingest(batch_id, events)

    model = modelled(rules, log, first_seq=first_seq)
    page = hub.pull("g", limit=100_000)
    assert exact(page["facts"]) == exact(model.shown())
    assert cells(page.get("overflow", {})) == model.overflow()


@bounded
@given(RULES, LOGS, st.data())
def test_fault_36_order_batching_and_repeats_do_not_matter(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """Relays retry and come late: two Hubs that heard the same, somehow, know the same."""
    plain = fed(rules, log)
    other = lab(rules)
    shuffled = data.draw(st.permutations(log))
    parts = data.draw(batches(shuffled))
    for batch_id, events in parts:
        other.ingest(batch_id, events)
        for repeated in data.draw(st.lists(st.sampled_from(parts), max_size=1)):
            if repeated[0] <= batch_id:
                assert other.ingest(*repeated)["duplicate"]

    assert exact(other.facts("g")) == exact(plain.facts("g"))


@bounded
@given(RULES, LOGS, st.data())
def test_e1_incremental_is_recomputed(rules: Json, log: list[Json], data: st.DataObject) -> None:
    """E1: a generator that is registered late shows what it would show had it been there from the
    start, with the same cursors; also while it is being built, as far as it has come."""
    cut = data.draw(st.integers(0, len(log)))
    hub = fed(rules, log[:cut])
    hub.generator("late", rules)
    for number, event in enumerate(log[cut:]):
        hub.ingest(f"l{number}", [event])

    for cursor in range(hub.head + 1):
        assert pages(hub, "late", cursor, limit=2) == pages(hub, "g", cursor, limit=2)


def pages(hub: SmallHub, gid: str, cursor: int, *, limit: int) -> list[tuple[int, Json]]:
    """All pages from a cursor on, each with the cursor after it."""
    found = []
    while True:
        page = hub.pull(gid, cursor, limit=limit)
        found.append((page["cursor"], page["facts"]))
        if not page["more"]:
            return found
        assert page["cursor"] > cursor, "more comes with a greater cursor"
        cursor = page["cursor"]


def below(a: Json, b: Json, lattice: str) -> bool:
    """Whether one shown value is at most another, for lattices whose reading says it."""
    match lattice:
        case "or":
            return (not a) or b
        case "set":
            return all(exact(x) in [exact(y) for y in b] for x in a)
        case "count":
            return a <= b
    return True


@bounded
@given(RULES, LOGS)
def test_e2_a_prefix_of_the_log_is_below_the_whole(rules: Json, log: list[Json]) -> None:
    """E2: facts only grow."""
    hub = lab(rules)
    before: Tables = {}
    for number, event in enumerate(log):
        hub.ingest(f"e{number}", [event])
        after = hub.facts("g")
        for table, rows in before.items():
            for row, cells in rows.items():
                for column, value in cells.items():
                    assert below(value, after[table][row][column], column), (table, row, column)
        before = after


@bounded
@given(RULES, LOGS)
def test_e3_what_changed_since_then_and_then_is_now(rules: Json, log: list[Json]) -> None:
    """E3: the facts at a cursor, joined with what a pull from there gives, are the facts now; and
    from now on there is nothing."""
    hub = lab(rules)
    at: list[tuple[int, Tables]] = [(hub.head, {})]
    for number, event in enumerate(log):
        hub.ingest(f"e{number}", [event])
        at.append((hub.head, hub.facts("g")))

    now = hub.facts("g")
    for cursor, then in at:
        assert overlay(then, hub.pull("g", cursor)["facts"]) == now
    assert hub.pull("g", hub.head)["facts"] == {}


@bounded
@given(RULES, LOGS, st.data())
def test_e4_pulls_compose(rules: Json, log: list[Json], data: st.DataObject) -> None:
    """E4: a pull from 0 to c, joined with one from c, is exactly the pull from 0; so readers may
    stop and go on wherever they like."""
    hub = lab(rules)
    start = data.draw(st.integers(0, hub.head))
    middle: Json = None
    cut = data.draw(st.integers(0, len(log)))
    for number, event in enumerate(log):
        if number == cut:
            middle = hub.pull("g", start)
        hub.ingest(f"e{number}", [event])
    if middle is None:
        middle = hub.pull("g", start)

    rest = hub.pull("g", middle["cursor"])
    assert overlay(middle["facts"], rest["facts"]) == hub.pull("g", start)["facts"]


@bounded
@given(RULES, LOGS)
def test_e5_a_reader_who_knows_more_is_told_right(rules: Json, log: list[Json]) -> None:
    """E5: whoever knows at least the facts at c may pull from c, however much more they know."""
    hub = lab(rules)
    states: list[tuple[int, Tables]] = [(hub.head, {})]
    for number, event in enumerate(log):
        hub.ingest(f"e{number}", [event])
        states.append((hub.head, hub.facts("g")))

    now = states[-1][1]
    for place, (cursor, _) in enumerate(states):
        page = hub.pull("g", cursor)["facts"]
        for _, more in states[place:]:
            assert overlay(more, page) == now


@bounded
@given(RULES, LOGS, st.data())
def test_e6_a_poke_comes_if_and_only_if_a_cell_grew(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """E6: the model says which cells a batch makes grow; the Hub pokes for these, tells them in
    the receipt and gives these and no others to a reader who was up to date."""
    hub = lab(rules)
    facts = Facts(rules)
    for batch_id, events in data.draw(batches(log)):
        cursor = hub.head
        receipt = hub.ingest(batch_id, events)
        pokes = hub.pokes
        grew = set()
        for seq, event in enumerate(events, receipt["first_seq"]):
            grew |= facts.add(stored(event, seq))

        assert ("g" in pokes) == ("g" in receipt["pokes"]) == bool(grew)
        page = hub.pull("g", cursor)["facts"]
        assert cells(page) == grew


@bounded
@given(RULES, LOGS, st.data())
def test_e7_a_restart_in_between_changes_nothing(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """E7: a Hub that was rebuilt from its log answers every cursor as if it had lived on, and goes
    on in the same way; so readers keep their cursors over a restart."""
    cut = data.draw(st.integers(0, len(log)))
    steady, restarted = lab(rules), lab(rules)
    for number, event in enumerate(log):
        if number == cut:
            restarted.restart()
        for hub in (steady, restarted):
            hub.ingest(f"e{number}", [event])

    for other in (restarted, steady.replayed()):
        for gid in ("g", "kernel"):
            for cursor in range(steady.head + 1):
                for limit in (1, 100):
                    expected = pages(steady, gid, cursor, limit=limit)
                    assert pages(other, gid, cursor, limit=limit) == expected


@bounded
@given(RULES, LOGS, st.data())
def test_a_snapshot_joined_with_the_log_after_it_is_the_whole(
    rules: Json, log: list[Json], data: st.DataObject
) -> None:
    """A snapshot at any cursor, any part of the log after it: the same bytes as from the whole log,
    the same answer to every cursor, and the same for a generator that came after the snapshot."""
    cuts = data.draw(st.lists(st.integers(0, len(log)), min_size=1, max_size=3))
    late = data.draw(st.integers(0, len(log)))
    steady = lab(rules)
    taken = []
    for number, event in enumerate(log):
        taken += [steady.snapshot()] * cuts.count(number)
        if number == late:
            steady.generator("late", rules)
        steady.ingest(f"e{number}", [event])
    taken += [steady.snapshot()] * cuts.count(len(log))

    whole = steady.replayed()
    for one in taken:
        restored = steady.restored(one)
        assert restored.snapshot() == whole.snapshot() == steady.snapshot()
        for gid in ("g", "kernel") + (("late",) if late < len(log) else ()):
            for cursor in range(steady.head + 1):
                for limit in (1, 100):
                    expected = pages(steady, gid, cursor, limit=limit)
                    assert pages(restored, gid, cursor, limit=limit) == expected


@bounded
@given(RULES, LOGS, st.integers(1, 4), st.data())
def test_pages_joined_are_the_pull_without_a_limit(
    rules: Json, log: list[Json], limit: int, data: st.DataObject
) -> None:
    """A page ends between two seqs, so that pages lose nothing, whatever their size."""
    hub = lab(rules)
    for batch_id, events in data.draw(batches(log)):
        hub.ingest(batch_id, events)

    for cursor in range(hub.head + 1):
        joined: Tables = {}
        for _, page in pages(hub, "g", cursor, limit=limit):
            joined = overlay(joined, page)
        assert joined == hub.pull("g", cursor, limit=100_000)["facts"]


@bounded
@given(RULES, LOGS, LOGS, st.integers(1, 3))
def test_pages_joined_are_the_facts_also_while_events_come(
    rules: Json, log: list[Json], more: list[Json], limit: int
) -> None:
    """A reader who pages through a table that changes under it holds the facts in the end."""
    hub = fed(rules, log)
    coming = list(enumerate(more))
    held: Tables = {}
    cursor = 0
    while True:
        page = hub.pull("g", cursor, limit=limit)
        held = overlay(held, page["facts"])
        cursor = page["cursor"]
        if coming:
            number, event = coming.pop()
            hub.ingest(f"m{number}", [event])
        elif not page["more"]:
            break

    assert held == hub.facts("g")


@bounded
@given(RULES, LOGS, st.integers(1, 3))
def test_pulls_made_while_building_compose_like_all_others(
    rules: Json, log: list[Json], chunk: int
) -> None:
    """A generator over a long log is built in chunks; a reader need not wait for the end."""
    hub = fed(rules, log)
    body = {"namespaces": ["lab"], "rules": rules}
    turn = hub.turn(
        [(1, "control", "", {"type": "RegisterGenerator", "gid": "late", "spec": body})]
    )
    held: Tables = {}
    cursor = 0
    while True:
        rows = [] if turn.build_from is None else hub.read(turn.build_from, chunk)
        turn = hub.turn([(1, "pull", f"gid=late&cursor={cursor}", None)], build=rows)
        page = json.loads(turn.replies[0][2])
        held = overlay(held, page["facts"])
        assert page["cursor"] >= cursor
        cursor = page["cursor"]
        if "building" not in page:
            break

    assert held == hub.facts("g")
    assert cursor == hub.head


@settings(bounded, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=80, max_size=250))
def test_a_pull_gives_each_cell_that_grew_since_however_long_ago(said: list[Json]) -> None:
    """What a pull costs and returns does not depend on the length of the log: entries of the change
    log that say nothing any more are squeezed out, and no other."""
    join = {"max": {"max": "$spec.i"}, "last": {"last": "$spec.i"}, "set": {"set": "$spec.i"}}
    rules = [{"on": "Said", "table": "t", "key": "$ctx.node_id", "join": join}]
    log = [
        {
            "kind": "Said",
            "at": i % 3,
            "payload": {"ctx": {"ns_id": "lab", "node_id": f"n{n}"}, "spec": {"i": i}},
        }
        for n, i in said
    ]
    hub = lab(rules)
    facts = Facts(rules)
    grew_at = {}
    receipt = hub.ingest("all", log)
    for seq, event in enumerate(log, receipt["first_seq"]):
        grew_at |= dict.fromkeys(facts.add(stored(event, seq)), seq)

    for cursor in range(0, hub.head + 1, 7):
        for limit in (1, 100):
            joined: Tables = {}
            for _, page in pages(hub, "g", cursor, limit=limit):
                joined = overlay(joined, page)
            assert cells(joined) == {cell for cell, seq in grew_at.items() if seq > cursor}
