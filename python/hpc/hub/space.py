"""Space: what is still taken when the disk under the log is nearly or quite full.

Below the reserve, submits are refused and output is dropped while reports of running tasks are
taken: the last bytes belong to results. Output is dropped and not refused, because a relay delivers
it ahead of the reports of its tasks and would hold those back until it is taken.

Once an append has failed for want of space, nothing that writes is taken for a while, since every
failed append costs a replay of the log. Reads go on throughout.

This is the only place where Python looks into a batch, and only while the disk is low.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from hpc.config import MIN_FREE_BYTES_DEFAULT
from hpc.problems import problem
from hpc.protocols import Answer

PAUSE_MS_MIN: Final = 1000
"""How long nothing is written after an append that found no space."""

PAUSE_PER_REPLAY: Final = 10
"""The pause is so many times what the replay took, within its bounds."""

AMPLE_BYTES: Final = 1024 * 1024 * 1024
"""Where so much is free beyond the reserve, it is not looked at again for `LOOK_MS`: no disk takes
it in that time. A look in each turn was 25 of the 430 µs of a turn for one job."""

LOOK_MS: Final = 20

PAUSES_PER_LEASE: Final = 4
"""A pause is at most this part of a lease: claims are heartbeats, and must come through in time."""

WRITES: Final = frozenset({"ingest", "control", "claim"})
"""Verbs that may add to the log."""

TAKEN_WHEN_LOW: Final = frozenset(
    {
        "JobStarted",
        "JobFinished",
        "TasksReturned",
        "NodeLeft",
        "NodeDrained",
        "ReportRefused",
        "CancelJob",
    }
)
"""Kinds that end something, and so free more than they take; and whatever else a relay reports: it
tells all in the order in which it happened, and results would wait behind what is not taken."""


DROPPED: Final = Answer(200, b'{"bytes":0,"dropped":true}')
"""Answers output that is not kept for want of space."""


class _Event(msgspec.Struct):
    kind: str


class _Batch(msgspec.Struct):
    events: list[_Event]


_of_json = msgspec.json.Decoder(_Batch)
_of_msgpack = msgspec.msgpack.Decoder(_Batch)


def is_taken_when_low(verb: str, body: bytes) -> bool:
    """Return whether an input is taken while the disk is below its reserve."""
    if verb not in WRITES or verb == "claim":
        return True  # an open claim is the heartbeat
    if verb == "control":
        return False
    try:
        batch = (_of_msgpack if body[:1] > b"\x7f" else _of_json).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True  # the engine refuses it with the right words, and writes nothing
    return all(event.kind in TAKEN_WHEN_LOW for event in batch.events)


def no_space(detail: str) -> Answer:
    """Return the 507 for what was not recorded."""
    return problem(
        507,
        "storage_full",
        "The disk of the log is full",
        f"{detail}; nothing was recorded",
        "free space under the Hub's data folder, then send the same request again",
    )


class Space:
    """Remembers whether the disk was last found low or full.

    Attributes:
        paused_until_ms: Monotonic ms before which nothing that writes is taken.
    """

    def __init__(self, reserve_bytes: int = MIN_FREE_BYTES_DEFAULT) -> None:
        self._reserve_bytes = reserve_bytes
        self.paused_until_ms = 0
        self._pause: Answer | None = None
        self._is_dropping = False
        self._free_bytes = 0
        self._look_at_ms = -math.inf

    def free_bytes(self, look: Callable[[], int], mono_ms: int) -> int:
        """Return what is free by `look`, or by a look of just now that found plenty."""
        if mono_ms >= self._look_at_ms:
            self._free_bytes = look()
            is_ample = self._free_bytes >= self._reserve_bytes + AMPLE_BYTES
            self._look_at_ms = mono_ms + LOOK_MS if is_ample else -math.inf
        return self._free_bytes

    def pause(self, refusal: Answer, *, mono_ms: int, replay_ms: int, lease_ms: int) -> None:
        """Refuse all that writes for a while: an append failed and the engine was rebuilt."""
        wanted_ms = max(PAUSE_MS_MIN, PAUSE_PER_REPLAY * replay_ms)
        self._pause = refusal
        self.paused_until_ms = mono_ms + min(wanted_ms, lease_ms // PAUSES_PER_LEASE)

    def is_low(self, free_bytes: int) -> bool:
        """Return whether what is free belongs to the reports of running tasks."""
        return free_bytes < self._reserve_bytes

    def note_outputs(self, *, is_dropped: bool, detail: str = "") -> None:
        """Say on stderr where dropping begins, once until output was stored again."""
        if is_dropped and not self._is_dropping:
            print(
                f"hub: output of tasks is dropped, their reports are taken: {detail}; "
                "free space under the Hub's data folder",
                file=sys.stderr,
            )
        self._is_dropping = is_dropped

    def refusal(self, verb: str, body: bytes, *, free_bytes: int, mono_ms: int) -> Answer | None:
        """Return why an input must not reach the engine now, or None."""
        if verb not in WRITES:
            return None
        if self._pause is not None and mono_ms < self.paused_until_ms:
            return self._pause
        if not self.is_low(free_bytes) or is_taken_when_low(verb, body):
            return None
        return no_space(self.low(free_bytes))

    def figures(self, free_bytes: int) -> dict[str, int]:
        """Return what is free, and below how much submits are refused."""
        return {"free_bytes": free_bytes, "min_free_bytes": self._reserve_bytes}

    def low(self, free_bytes: int) -> str:
        """Say how much is free and what it is kept for."""
        return (
            f"{free_bytes >> 20} MiB are free, and the last {self._reserve_bytes >> 20} MiB are "
            "kept for the reports of running tasks"
        )
