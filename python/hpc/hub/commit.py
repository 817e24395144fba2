"""Commit: one turn of the Hub, from what has arrived to what may be answered.

Output packs are stored, the engine steps, its rows are appended, and only then is anything
answered: an answer never shows what is not yet durable (turn_parts.py has the shapes). Where a step
brought much, its rows are appended while the engine takes the next one, on a thread of their own;
that one's are appended, and its answers leave, after them. If the append finds no space, or the
engine fails, the engine is thrown away and rebuilt from the log, which holds nothing of that turn.
If the outcome of an append is unknown, nothing more may be acknowledged: the turn is fatal. If the
log knows a batch id that the engine had forgotten, the engine is told and the turn is run again.

After the turn, a step of upkeep.py: snapshots and compaction.

It blocks, knows nothing of the event loop, and is called by one thread at a time: the turn thread
(turn_thread.py), or for a short turn the loop's.
"""

from __future__ import annotations

import functools
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from hpc.clock import SystemClock
from hpc.errors import (
    HpcError,
    StorageDamaged,
    StorageError,
    StorageFull,
    StorageKnown,
    StorageLocked,
)
from hpc.hub.outputs import Stored
from hpc.hub.quarantine import Quarantine
from hpc.hub.space import DROPPED, WRITES, Space, no_space
from hpc.hub.turn_parts import Arrived, Clock, Engine, EngineTurn, Input, Outcome, Outputs
from hpc.hub.upkeep import Upkeep
from hpc.problems import problem
from hpc.protocols import Answer, EventLog, LogRow

BUILD_EVENTS: Final = 2000
"""Events that are read at once to compute a generator registered late; more after a turn that
recorded more, lest a busy log run away from it. How much of them one step takes is the engine's."""

AHEAD_BYTES_MIN: Final = 64 * 1024
"""Bodies of a step, together, from which on they are appended beside the next step."""

AHEAD_TURN_BYTES: Final = 128 * 1024
"""Bodies that a turn takes where appends go on beside steps."""

TURN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bodies that a turn takes otherwise."""

AHEAD_TURNS_MAX: Final = 64
"""Steps that may follow each other so; upkeep must come to its turn."""

NO_REPLY: Final = frozenset({"gone", "untail"})
"""Verbs that the engine does not answer."""


class _Stepped(NamedTuple):
    """One step of the engine: what it took, what it brought, and its rows."""

    inputs: list[Input]
    turn: EngineTurn
    rows: list[LogRow]


class _Ahead(NamedTuple):
    """A step whose rows are being appended."""

    stepped: _Stepped
    appending: Future[None]


class Committer:
    """Runs turns over one log.

    Attributes:
        on_appended: Called on another thread when what a turn has left is appended: the next turn
            will not wait for it.
        head_seq: Seq of the last durable event. May be read on other threads: it takes no lock,
            where the engine's own does, and does not run ahead of the append.

    Args:
        log: Nobody else may use it while turns run.
        outputs: Where output packs go.
        build_engine: Rebuilds the engine from the log (recovery.py).
        lease_ms: The engine's lease; a pause of writes is short beside it.
        clock: Where time comes from.
        space: When to refuse writes for want of space.
        upkeep: Snapshots and compaction; without it there are none.
        quarantine: Notes damaged batches that a late generator would count.
        timer_s: By which steps and appends are timed; called on the appender's thread as well.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        outputs: Outputs,
        build_engine: Callable[[], Engine],
        lease_ms: int,
        clock: Clock | None = None,
        space: Space | None = None,
        upkeep: Upkeep | None = None,
        quarantine: Quarantine | None = None,
        timer_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._log = log
        self._outputs = outputs
        self._build_engine = build_engine
        self._lease_ms = lease_ms
        self._clock = clock or SystemClock()
        self._space = space or Space()
        self._upkeep = upkeep
        self._quarantine = quarantine or Quarantine()
        self._timer_s = timer_s
        self._engine = build_engine()
        self.head_seq = self._engine.last_seq
        self._open: dict[int, Input] = {}
        """Inputs that the engine holds unanswered, to be put again to a rebuilt one."""
        self._again: list[Input] = []
        self._is_short = False
        self._is_log_needed = False
        self._left: Callable[[Outcome], None] | None = None
        """What a short turn has left to the next one."""
        self._ahead: _Ahead | None = None
        """A step whose rows are appended beside the next one."""
        self.on_appended: Callable[[], None] = lambda: None
        self._append_s = 0.0
        self._is_append_quick = False
        self._went_ahead = 0
        """How many steps in a row did so."""
        self._appender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hpc-append")
        self._build_from: int | None = None
        self._recorded = 0
        """Events of the last turn."""
        self.turns = 0
        self.commits = 0
        """Appends to the log; each is one fsync, and a checkpoint of the WAL now and then."""
        self.output_syncs = 0
        # The first step tells when the engine wants to be woken.
        self._wake_ms: int | None = self._clock.mono_ms()

    def run(self, arrived: Arrived, *, is_short: bool = False) -> Outcome:
        """Run one turn; what it returns may be told to everybody.

        Args:
            arrived: What it takes.
            is_short: Leave to the next turn, which must not be short, what may take long: upkeep,
                and the rebuilding of the engine after an append that failed.
        """
        outcome = Outcome()
        self.turns += 1
        goes_on = False
        try:
            assert not is_short or self.may_be_short, "what was left must be done first"
            if self._left is not None:
                left, self._left = self._left, None
                left(outcome)
            self._is_short = is_short
            self._look_at_clock()
            self._is_log_needed = bool(arrived.calls)
            self._store(arrived.packs, outcome)
            self._step(arrived.inputs, outcome)
            for token, call in arrived.calls:
                outcome.results.append((token, self._called(call)))
            is_settled = self._ahead is None and outcome.fatal is None
            if self._upkeep is not None and not is_short and is_settled:
                goes_on = self._upkeep.step(self._engine)
        except StorageError as error:
            outcome.fatal = error
        except AssertionError as error:
            # The log refused rows that do not follow: a mistake of ours, and the log is intact.
            outcome.fatal = HpcError(f"The engine and the log disagree: {error}", code="internal")
        except BaseException:
            self._appender.shutdown()
            raise
        if outcome.fatal is not None:
            # Whoever closes the log next must not do so under an append.
            self._appender.shutdown()
        outcome.head_seq = self.head_seq
        if self._wake_ms is not None:
            outcome.wake_ms = max(self._wake_ms, self._space.paused_until_ms)
        if self._upkeep is not None and self._upkeep.wake_ms is not None:
            outcome.wake_ms = min(outcome.wake_ms or self._upkeep.wake_ms, self._upkeep.wake_ms)
        outcome.again = bool(self._again or self._left) or self._build_from is not None or goes_on
        return outcome

    def space(self) -> dict[str, int]:
        """Return what is free on the log's disk, and below how much submits are refused.

        Nothing where the folder cannot be looked at. May be asked on other threads: it looks at
        the file system alone.
        """
        try:
            return self._space.figures(self._log.free_bytes())
        except StorageError:
            return {}

    @property
    def tokens(self) -> list[tuple[str, str, bool]]:
        """All tokens as the engine has recovered them; to be asked for before the first turn."""
        return self._engine.tokens

    @property
    def generators(self) -> list[tuple[str, str]]:
        """Id and spec of all generators; to be asked for before the first turn."""
        return self._engine.generators

    @property
    def bytes_max(self) -> int:
        """Bodies that the next turn should take; the one that reaches it is its last.

        Where an append takes less time than a step, the less each takes the more of both goes on at
        once; where it takes longer, the more share it the better.
        """
        return AHEAD_TURN_BYTES if self._is_append_quick else TURN_BYTES_MAX

    @property
    def has_more(self) -> bool:
        """Whether the last turn has left something to the next, which must not be short.

        It need not follow at once: see `on_appended`.
        """
        return self._left is not None or self._ahead is not None

    @property
    def may_be_short(self) -> bool:
        """Whether the next turn may be short: nothing was left to it, and no generator is built."""
        return not self.has_more and self._build_from is None

    def close(self) -> None:
        """After the last turn, with nothing left: write a snapshot, for a quick start."""
        self._appender.shutdown()
        if self._upkeep is None:
            return
        try:
            self._upkeep.finish(self._engine)
        except HpcError as error:
            # The log has everything; the next start takes longer.
            print(f"hub: no snapshot was written: {error.message}", file=sys.stderr)

    def _store(self, packs: list[tuple[int, bytes]], outcome: Outcome) -> None:
        if not packs:
            return
        free_bytes = self._space.free_bytes(self._log.free_bytes, self._clock.mono_ms())
        if self._space.is_low(free_bytes):
            stored = self._dropped(len(packs), self._space.low(free_bytes))
        else:
            self.output_syncs += 1
            try:
                stored = self._outputs.append([pack for _, pack in packs])
                self._space.note_outputs(is_dropped=False)
            except StorageFull as error:
                stored = self._dropped(len(packs), error.message)
        for (token, _), one in zip(packs, stored, strict=True):
            outcome.answers.append((token, one.answer))
            outcome.heard += one.job_ids

    def _look_at_clock(self) -> None:
        """Before anything of this turn is forgotten for its age: also where no step is due."""
        wall_ms, mono_ms = self._clock.wall_ms(), self._clock.mono_ms()
        ahead_ms = self._engine.ahead_ms(wall_ms=wall_ms, mono_ms=mono_ms)
        if ahead_ms and not self._outputs.ahead_ms:
            _say_ahead(ahead_ms)
        self._outputs.ahead_ms = ahead_ms

    def _dropped(self, count: int, detail: str) -> list[Stored]:
        self._space.note_outputs(is_dropped=True, detail=detail)
        return [Stored(DROPPED, frozenset())] * count

    def _step(self, arrived: list[Input], outcome: Outcome) -> None:
        inputs = self._again + self._admitted(arrived, outcome)
        self._again = []
        mono_ms = self._clock.mono_ms()
        # While claims are refused, time must not pass for the engine by itself: it would declare
        # nodes lost that had no way to renew their leases (R25).
        is_paused = mono_ms < self._space.paused_until_ms
        is_due = self._wake_ms is not None and mono_ms >= self._wake_ms and not is_paused
        build: list[LogRow] = []
        if self._build_from is not None:
            wanted = max(BUILD_EVENTS, 2 * self._recorded)
            build = self._quarantine.rows(self._log, self._build_from, wanted)
        ahead, self._ahead = self._ahead, None
        stepped: _Stepped | None = None
        fault: Exception | None = None
        began_s = self._timer_s()
        if inputs or is_due or self._build_from is not None:
            try:
                turn = self._engine.step(
                    inputs, wall_ms=self._clock.wall_ms(), mono_ms=mono_ms, build=build
                )
                stepped = _Stepped(inputs, turn, [LogRow._make(row) for row in turn.rows])
            except Exception as error:  # a fault of ours must not end the others' work
                fault = error
        step_s = self._timer_s() - began_s
        if ahead is not None:
            if not self._record(ahead.stepped, ahead.appending.result, inputs, outcome):
                return  # the engine of the step is gone
            if stepped is not None:
                self._is_append_quick = self._append_s < step_s
        if fault is not None:
            self._later(functools.partial(self._after_engine_fault, fault, inputs), outcome)
        elif stepped is not None:
            if self._may_go_ahead(stepped):
                self._went_ahead += 1
                self._ahead = _Ahead(stepped, self._appender.submit(self._append, stepped.rows))
            else:
                self._went_ahead = 0
                began_s = self._timer_s()
                append = functools.partial(self._log.append, stepped.rows)
                if self._record(stepped, append, [], outcome) and stepped.rows:
                    self._is_append_quick = self._timer_s() - began_s < step_s

    def _append(self, rows: list[LogRow]) -> None:
        """Append on the appender's thread; until it is done the log is used by nobody else."""
        began_s = self._timer_s()
        try:
            self._log.append(rows)
        finally:
            self._append_s = self._timer_s() - began_s
            self.on_appended()

    def _may_go_ahead(self, stepped: _Stepped) -> bool:
        """Return whether a step's rows may be appended beside the next step."""
        return (
            not (self._is_short or self._is_log_needed)
            and self._build_from is None
            and stepped.turn.build_from is None
            and self._went_ahead < AHEAD_TURNS_MAX
            and (self._upkeep is None or not self._upkeep.is_under_way)
            and sum(len(row.body) for row in stepped.rows) >= AHEAD_BYTES_MIN
        )

    def _record(
        self,
        stepped: _Stepped,
        append: Callable[[], None],
        others: list[Input],
        outcome: Outcome,
    ) -> bool:
        """Append what a step brought, and take its replies into the outcome.

        Args:
            stepped: The step.
            append: Appends its rows, or waits until they are.
            others: Inputs of the step after it, if the engine has taken that.
            outcome: Of the turn.

        Returns:
            False if nothing was appended, and the engine is or will be another one.
        """
        if stepped.rows:
            inputs = [*stepped.inputs, *others]
            self.commits += 1
            try:
                append()
            except (StorageFull, StorageLocked) as error:
                self._later(functools.partial(self._after_no_append, error, inputs), outcome)
                return False
            except StorageKnown as error:
                self._later(functools.partial(self._after_known, error, inputs), outcome)
                return False
            last = stepped.rows[-1]
            self.head_seq = last.first_seq + last.count - 1
        self._recorded = sum(row.count for row in stepped.rows)
        self._settle(stepped.turn, stepped.inputs, outcome)
        outcome.rows += stepped.rows
        return True

    def _admitted(self, inputs: list[Input], outcome: Outcome) -> list[Input]:
        if not any(one[1] in WRITES for one in inputs):
            return inputs
        mono_ms = self._clock.mono_ms()
        free_bytes = self._space.free_bytes(self._log.free_bytes, mono_ms)
        admitted = []
        for one in inputs:
            token, verb, _query, body, _who = one
            refusal = self._space.refusal(verb, body, free_bytes=free_bytes, mono_ms=mono_ms)
            if refusal is None:
                admitted.append(one)
            else:
                outcome.answers.append((token, refusal))
        return admitted

    def _settle(self, turn: EngineTurn, inputs: list[Input], outcome: Outcome) -> None:
        for one in inputs:
            if one[1] == "gone":
                self._open.pop(_gone_token(one), None)
            elif one[1] not in NO_REPLY:
                self._open[one[0]] = one
        for token, status, body in turn.replies:
            self._open.pop(token, None)
            outcome.answers.append((token, Answer(status, body)))
        outcome.pokes += turn.pokes
        self._wake_ms = turn.wake_ms
        self._build_from = turn.build_from

    def _later(self, rest: Callable[[Outcome], None], outcome: Outcome) -> None:
        """Rebuild the engine now, or first of all in the next turn after a short one."""
        if self._is_short:
            self._left = rest
        else:
            rest(outcome)

    def _after_no_append(self, error: StorageError, inputs: list[Input], outcome: Outcome) -> None:
        began_ms = self._clock.mono_ms()
        refusal = no_space(error.message)
        if isinstance(error, StorageLocked | StorageDamaged):
            refusal = problem(
                503,
                error.code,
                "The log cannot be written now",
                f"{error.message}; nothing was recorded",
                "send the same request again",
            )
        self._start_over({**self._open, **_by_token(inputs)}, refusal, outcome)
        now_ms = self._clock.mono_ms()
        self._space.pause(
            refusal, mono_ms=now_ms, replay_ms=now_ms - began_ms, lease_ms=self._lease_ms
        )

    def _after_known(self, error: StorageKnown, inputs: list[Input], outcome: Outcome) -> None:
        """Remind the engine of a receipt that it no longer had, and run all of the turn again."""
        try:
            row = self._log.receipt(error.batch_id)
        except StorageDamaged as damage:
            self._after_no_append(damage, inputs, outcome)
            return
        if row is None:
            raise AssertionError(f"The log knows batch `{error.batch_id}` and has no receipt of it")
        unanswered = {**self._open, **_by_token(inputs)}
        self._start_over({}, no_space(""), outcome)
        try:
            self._engine.recall(row)
        except StorageDamaged:  # that it is there is known all the same, and by which digest
            self._engine.recall(row._replace(body=b""))
        self._again = list(unanswered.values())

    def _after_engine_fault(self, error: Exception, inputs: list[Input], outcome: Outcome) -> None:
        traceback.print_exception(error, file=sys.stderr)
        if not inputs:
            # No request caused it, so that a rebuilt engine would meet it again.
            outcome.fatal = HpcError(f"The engine failed: {error!r}", code="internal")
            return
        refusal = problem(
            503,
            "engine_failed",
            "The Hub could not do this",
            "the engine failed on a request of this turn; nothing was recorded",
            "send the request again; if it fails again, report it with the Hub's stderr",
        )
        # Its reads are refused as well: one of them may be what the engine cannot bear.
        refused = [one for one in inputs if one[1] not in NO_REPLY]
        outcome.answers += [(one[0], refusal) for one in refused]
        held = {**self._open, **_by_token([one for one in inputs if one[1] in NO_REPLY])}
        self._start_over(held, refusal, outcome)

    def _start_over(self, unanswered: dict[int, Input], refusal: Answer, outcome: Outcome) -> None:
        """Rebuild the engine: what writes is refused, what reads is put to the new one."""
        self._open = {}
        self._build_from = None
        self._engine = self._build_engine()
        if self._upkeep is not None:
            self._upkeep.leave()
        self.head_seq = self._engine.last_seq
        self._wake_ms = self._clock.mono_ms()
        outcome.rebuilt = True
        gone = {_gone_token(one) for one in unanswered.values() if one[1] == "gone"}
        for token, one in unanswered.items():
            if one[1] in WRITES:
                outcome.answers.append((token, refusal))
            elif one[1] not in NO_REPLY and token not in gone:
                self._again.append(one)

    def _called(self, call: Callable[[EventLog], object]) -> object:
        try:
            return call(self._log)
        except Exception as error:  # handed to whoever asked, on the event loop
            return error


def _by_token(inputs: list[Input]) -> dict[int, Input]:
    return {one[0]: one for one in inputs}


def _gone_token(one: Input) -> int:
    return int(one[2].removeprefix("token="))


def _say_ahead(ahead_ms: int) -> None:
    days = ahead_ms / 86_400_000
    print(
        f"hub: the clock has gone ahead by {days:.1f} days; nothing is forgotten for its age until "
        "that has stood for a day. If it is wrong, set it right before",
        file=sys.stderr,
    )
