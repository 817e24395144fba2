"""Quarantine: which batches of the log are not as they were recorded, and the log without them.

A Hub goes on beside damage that its state does not rest on. Here cold rows are read: each is held
against the log's chain, and one that does not match, or cannot be read, is given without its body,
as if compaction had dropped it; whoever computes from it says so. After such a row the chain goes
on with what stands there, so that the row behind one that cannot be read cannot be verified either:
it is set aside too. Nothing in the log is changed.

It notes what it finds, says it once on stderr, and is asked for it by `GET /healthz?full=true`. A
pass over all that a start has not read is made in the background, by the side's thread.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec

from hpc._core import verify_rows
from hpc.errors import StorageDamaged, StorageError
from hpc.hub.side import PIECE_EVENTS, Side
from hpc.protocols import LogReader, LogRow

REST_SHARE: Final = 20
"""The pass in the background rests so many times as long as it works."""

NOTED_MAX: Final = 1000
"""Of more only the number is told."""


class SetAside(msgspec.Struct, frozen=True):
    """A batch that is damaged.

    Attributes:
        seq: Of its first event.
        until: Of the event after its last: a cursor of `until - 1` lies behind it.
        id: Where it is known.
    """

    seq: int
    until: int
    why: str
    id: str | None = None


class Quarantine:
    """What is known to be damaged of one log. May be used by several threads."""

    def __init__(self) -> None:
        self._found: dict[int, SetAside] = {}
        self._behind = (1, bytes(32))
        """A first seq, and the chain value before it: where the last call has ended."""

    def found(self) -> list[SetAside]:
        """Return what was found so far, in order."""
        return sorted(self._found.copy().values(), key=lambda one: one.seq)

    def rows(self, log: LogReader, first_seq: int, limit: int) -> list[LogRow]:
        """Return rows as `log.read` does; those that are damaged without a body.

        Raises:
            StorageError: The log cannot be read at all.
        """
        rows, bad = _readable(log, first_seq, limit)
        if not rows:
            return rows
        follows = rows[0].first_seq
        _, broken = verify_rows(rows, self._chain_before(log, follows), follows, only_chain=True)
        bad |= {seq: why for seq, _, why in broken if seq not in bad}
        given = [_bare(log, row) if row.first_seq in bad else row for row in rows]
        for row in given:
            if row.first_seq in bad:
                self._note(row, bad[row.first_seq])
        self._behind = (given[-1].first_seq + given[-1].count, given[-1].chain)
        return given

    def _chain_before(self, log: LogReader, first_seq: int) -> bytes:
        known, chain = self._behind
        if known == first_seq:
            return chain
        if first_seq == 1:
            return bytes(32)
        try:
            return log.read(first_seq - 1, 1)[0].chain
        except StorageDamaged:
            return bytes(32)  # nothing follows that

    def _note(self, row: LogRow, why: str) -> None:
        if row.first_seq in self._found or len(self._found) >= NOTED_MAX:
            return
        until = row.first_seq + row.count
        self._found[row.first_seq] = SetAside(row.first_seq, until, why, row.batch_id or None)
        print(
            f"hub: the batch {row.batch_id!a} at seq {row.first_seq} of the log is damaged and set "
            f"aside: {why}. The Hub is degraded: it serves the rest, which goes on at cursor "
            f"{until - 1}; `hpc log verify` names all that is damaged",
            file=sys.stderr,
            flush=True,
        )

    async def look_through(self, side: Side, upto: int) -> None:
        """Verify the log up to a seq, a piece at a time."""
        next_seq = 1
        while next_seq <= upto:
            began_s = time.perf_counter()
            try:
                rows = await side.call(_piece(self, next_seq))
            except StorageError as error:
                if not side.is_closed:
                    print(f"hub: the log cannot be verified: {error.message}", file=sys.stderr)
                return
            if not rows:
                return
            next_seq = rows[-1].first_seq + rows[-1].count
            await asyncio.sleep(REST_SHARE * (time.perf_counter() - began_s))


def _piece(quarantine: Quarantine, next_seq: int) -> Callable[[LogReader], list[LogRow]]:
    return lambda log: quarantine.rows(log, next_seq, PIECE_EVENTS)


def _readable(log: LogReader, first_seq: int, limit: int) -> tuple[list[LogRow], dict[int, str]]:
    """Read rows, or fewer, with a stub for what cannot be read or is not there; and why so."""
    try:
        rows = log.read(first_seq, limit)
    except StorageDamaged:
        if first_seq > log.head().last_seq:
            return [], {}  # the last one cannot be read, which a read behind it meets as well
        try:
            rows = log.read(first_seq, 1)
        except StorageDamaged as error:
            return _stub(first_seq, _next_after(log, first_seq)), {first_seq: error.message}
    if rows and rows[0].first_seq > first_seq:
        missing = _stub(first_seq, rows[0].first_seq)
        return missing + rows, {first_seq: "it is missing"}
    return rows, {}


def _stub(first_seq: int, until: int) -> list[LogRow]:
    zeros = bytes(32)
    count = until - first_seq
    return [LogRow(first_seq, count, "", zeros, zeros, 0, b"")] if count > 0 else []


def _bare(log: LogReader, row: LogRow) -> LogRow:
    """Return a damaged row without its body, up to where the next one begins."""
    return row._replace(count=_next_after(log, row.first_seq) - row.first_seq, body=b"")


def _next_after(log: LogReader, first_seq: int) -> int:
    """Return where the next batch begins, or where the log ends if none can be found."""
    try:
        found = log.next_after(first_seq)
    except StorageDamaged:
        found = None
    return found or max(log.head().last_seq, first_seq) + 1
