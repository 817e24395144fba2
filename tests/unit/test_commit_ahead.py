"""Steps that are taken while the rows of the one before are appended: the answers stay true."""

from __future__ import annotations

import json
import threading

import pytest
from turn_rig import DEADLINE_S, Desk

from hpc.errors import HpcError, StorageError, StorageFull, StorageKnown
from hpc.hub.commit import AHEAD_BYTES_MIN, AHEAD_TURN_BYTES, AHEAD_TURNS_MAX, TURN_BYTES_MAX
from hpc.hub.space import PAUSE_MS_MIN
from hpc.hub.turn_parts import Arrived, Input, Outcome
from hpc.protocols import Answer

MUCH = b" " * AHEAD_BYTES_MIN
LITTLE = b"{}"


class Turned(Desk):
    """A committer of which each `put` runs a turn."""

    tokens = 0

    def put(self, *asked: tuple[str, bytes]) -> Outcome:
        inputs: list[Input] = []
        for verb, body in asked:
            self.tokens += 1
            inputs.append((self.tokens, verb, "", body, ""))
        return self.committer.run(Arrived(inputs))

    def open_at_second_step(self) -> list[int]:
        """Stop appends until the engine is in its second step; returns the log's lengths then."""
        lengths: list[int] = []
        self.log.gate.clear()

        def step(_inputs: list[Input]) -> None:
            if len(self.engines[-1].steps) == 1:
                assert self.log.appending.wait(DEADLINE_S)
                lengths.append(self.log.head().last_seq)
                self.log.gate.set()

        self.engines[-1].before_step = step
        return lengths


def settle(desk: Turned) -> None:
    """Wait until what goes ahead is appended."""
    ahead = desk.committer._ahead
    if ahead is not None:
        ahead.appending.exception(DEADLINE_S)


def answers(outcome: Outcome) -> dict[int, bytes]:
    return {token: answer.body for token, answer in outcome.answers}


def codes(outcome: Outcome) -> dict[int, str]:
    return {token: json.loads(answer.body)["code"] for token, answer in outcome.answers}


def test_the_next_step_is_taken_while_much_is_appended() -> None:
    """The append waits here until the engine is in its next step: they run at the same time."""
    desk = Turned()
    lengths = desk.open_at_second_step()

    first = desk.put(("ingest", MUCH))
    assert (first.answers, first.rows) == ([], [])
    assert desk.committer.has_more
    assert desk.committer.head_seq == desk.log.head().last_seq == 0
    second = desk.put(("ingest", LITTLE), ("jobs", b""))

    assert lengths == [0]
    assert answers(second) == {1: b"1", 2: b"2", 3: b"2"}
    assert [row.first_seq for row in second.rows] == [1, 2]
    assert second.pokes == [("g", 1), ("g", 2)]
    assert not desk.committer.has_more
    assert second.head_seq == desk.log.head().last_seq == 2
    assert desk.committer.commits == 2


def test_no_answer_leaves_before_its_own_rows_are_there() -> None:
    """That of a second step with much waits for a third turn, whatever the first one's did."""
    desk = Turned()
    desk.put(("ingest", MUCH))
    second = desk.put(("ingest", MUCH), ("jobs", b""))
    assert answers(second) == {1: b"1"}
    third = desk.put()
    assert answers(third) == {2: b"2", 3: b"2"}
    assert not desk.committer.has_more


def test_a_full_disk_refuses_both_steps_and_puts_the_reads_again() -> None:
    """The engine that has taken the second one knows rows that are nowhere: it is thrown away."""
    desk = Turned()
    desk.log.failures = [StorageFull("The disk is full")]
    desk.put(("ingest", MUCH), ("claim", b""))

    outcome = desk.put(("ingest", LITTLE), ("jobs", b""))

    assert codes(outcome) == dict.fromkeys((1, 2, 3), "storage_full")
    assert len(desk.engines) == 2
    assert outcome.again
    assert answers(desk.put()) == {4: b"0"}
    desk.clock.now_ms += PAUSE_MS_MIN
    assert answers(desk.put(("ingest", LITTLE))) == {5: b"1"}
    assert desk.log.head().last_seq == 1


def test_a_batch_that_the_log_knows_is_told_and_all_is_run_again() -> None:
    """Neither of the steps is lost, nor recorded twice."""
    desk = Turned()
    desk.put(("ingest", LITTLE))
    desk.log.failures = [StorageKnown("b1")]
    desk.put(("ingest", MUCH))

    outcome = desk.put(("ingest", LITTLE))
    assert (outcome.answers, outcome.again) == ([], True)
    assert len(desk.engines) == 2
    assert [row.batch_id for row in desk.engines[-1].recalled] == ["b1"]
    desk.put()
    assert answers(desk.put()) == {2: b"2", 3: b"3"}
    assert desk.log.head().last_seq == 3


def test_a_fault_in_the_next_step_does_not_touch_the_one_before() -> None:
    """What was appended is acknowledged; the request that the engine cannot bear is refused."""
    desk = Turned()
    desk.put(("ingest", MUCH))

    def fail(_inputs: list[Input]) -> None:
        raise RuntimeError("a fault")

    desk.engines[-1].before_step = fail
    outcome = desk.put(("ingest", LITTLE))

    found = dict(outcome.answers)
    assert found[1] == Answer(200, b"1")
    assert json.loads(found[2].body)["code"] == "engine_failed"
    assert desk.engines[-1].last_seq == 1
    assert answers(desk.put(("ingest", LITTLE))) == {3: b"2"}


@pytest.mark.parametrize(
    "error", [StorageError("The disk failed"), AssertionError("rows do not follow")]
)
def test_an_append_that_fails_beside_a_step_is_fatal(error: Exception) -> None:
    """Nothing of either step is acknowledged."""
    desk = Turned()
    desk.log.failures = [error]
    desk.put(("ingest", MUCH))

    outcome = desk.put(("ingest", LITTLE), ("jobs", b""))

    assert outcome.answers == []
    assert isinstance(outcome.fatal, HpcError)
    assert desk.log.head().last_seq == 0


def test_upkeep_comes_to_its_turn_however_much_comes() -> None:
    """After some steps one is appended before the next is taken."""
    desk = Turned()
    waits = []
    for _ in range(2 * AHEAD_TURNS_MAX + 2):
        desk.put(("ingest", MUCH))
        waits.append(desk.committer.has_more)

    assert waits == ([True] * AHEAD_TURNS_MAX + [False]) * 2
    assert desk.log.head().last_seq == len(waits)


def test_a_registration_is_recorded_before_the_log_is_read_for_it() -> None:
    """The engine wants the log from some seq on, with all that is in it."""
    desk = Turned()
    desk.engines[-1].build_from = 1
    outcome = desk.put(("ingest", MUCH))
    assert answers(outcome) == {1: b"1"}
    desk.put()
    assert desk.engines[-1].builds == [0, 1]


def test_what_reads_the_log_waits_for_the_append() -> None:
    """A call of the same turn, and of the next one, sees what was recorded before it."""
    desk = Turned()
    together = desk.committer.run(
        Arrived([(1, "ingest", "", MUCH, "")], calls=[(2, lambda log: log.head().last_seq)])
    )
    assert answers(together) == {1: b"1"}
    assert together.results == [(2, 1)]
    desk.put(("ingest", MUCH))
    later = desk.committer.run(Arrived(calls=[(3, lambda log: log.head().last_seq)]))
    assert later.results == [(3, 2)]


def test_steps_are_small_only_while_appends_are_quick() -> None:
    """A slow disk is shared by as many as there are."""
    desk = Turned()

    def take(seconds: float) -> None:
        desk.timer_s += seconds

    for is_slow in (False, True, False):
        step_s, append_s = (0.0, 1.0) if is_slow else (1.0, 0.0)
        # An append is over before the next step begins, so that each is timed by itself.
        desk.engine.before_step = lambda _, step_s=step_s: (settle(desk), take(step_s))
        desk.log.on_append = lambda append_s=append_s: take(append_s)
        desk.put(("ingest", MUCH))
        desk.put(("ingest", MUCH))
        expected = TURN_BYTES_MAX if is_slow else AHEAD_TURN_BYTES
        assert desk.committer.bytes_max == expected
        desk.put()
        assert desk.committer.bytes_max == expected


@pytest.mark.parametrize("error", [StorageError("The outputs are broken"), KeyError("ours")])
def test_after_a_fatal_turn_nothing_is_being_appended(error: Exception) -> None:
    """Whoever closes the log then is alone with it, also after a mistake of ours."""
    desk = Turned()
    gate = threading.Timer(0.2, desk.log.gate.set)
    desk.log.gate.clear()
    desk.put(("ingest", MUCH))
    desk.outputs.failures = [error]
    gate.start()

    try:
        outcome = desk.committer.run(Arrived(packs=[(9, b"pack")]))
    except KeyError as raised:
        assert raised is error
    else:
        assert outcome.fatal is error
        assert outcome.answers == []
    assert desk.log.head().last_seq == 1


def test_no_turn_is_short_while_a_generator_is_built() -> None:
    """Each step of it reads the log."""
    desk = Turned()
    desk.engines[-1].build_from = 1
    desk.committer.run(Arrived([(1, "ingest", "", LITTLE, "")]), is_short=True)
    assert not desk.committer.may_be_short
    desk.put()
    assert desk.committer.may_be_short
