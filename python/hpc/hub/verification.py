"""Verification of a log: each batch that is not as it was recorded, each snapshot that is no use.

It reads the whole log beside whoever writes it, and goes on behind what it cannot read. The rows
are held against the chain by the engine's own code; where a body was dropped, the chain value that
stands there is taken as it is.
"""

from __future__ import annotations

from typing import Final

import msgspec

from hpc._core import check_snapshot, verify_rows
from hpc.errors import StorageDamaged
from hpc.protocols import LogInspector, LogRow

PIECE_EVENTS: Final = 5_000


class Damage(msgspec.Struct, frozen=True):
    """One thing that is wrong.

    Attributes:
        what: `batch`, `snapshot` or `file`.
        seq: Of a batch its first, of a snapshot its cursor.
        id: Of a batch, as far as it is known.
    """

    what: str
    why: str
    seq: int | None = None
    id: str | None = None


class Report(msgspec.Struct):
    """What a log holds, and what is wrong with it.

    Attributes:
        compacted: Batches whose bodies were dropped.
        floor: From this seq on no body was.
        snapshots: Seqs of those that can be used.
    """

    hub_id: str
    last_seq: int = 0
    batches: int = 0
    events: int = 0
    compacted: int = 0
    floor: int = 1
    snapshots: list[int] = []
    damaged: list[Damage] = []


def verify(log: LogInspector) -> Report:
    """Read a log from its beginning to its end, as it is at one instant.

    Raises:
        StorageError: It cannot be read at all.
    """
    with log.instant():
        report = Report(log.hub_id, last_seq=log.head().last_seq, floor=log.floor())
        report.damaged += [Damage("file", why) for why in log.integrity()]
        _verify_rows(log, report)
        _verify_snapshots(log, report)
    return report


def _verify_rows(log: LogInspector, report: Report) -> None:
    chain: bytes | None = bytes(32)
    next_seq = 1
    while next_seq <= report.last_seq:
        rows, damage = _read(log, next_seq)
        if damage is not None:
            # Of what follows it the chain cannot be known: the row behind it is taken as it is.
            report.damaged.append(damage)
            chain = None
            next_seq = log.next_after(next_seq) or report.last_seq + 1
            continue
        if not rows:
            return
        rest, follows = rows, next_seq
        if chain is None:
            chain, rest = rows[0].chain, rows[1:]
            follows = rows[0].first_seq + rows[0].count
        chain, found = verify_rows(rest, chain, follows)
        report.damaged += [Damage("batch", why, seq, id_) for seq, id_, why in found]
        report.damaged += _bare(rows, report.floor)
        report.batches += len(rows)
        report.events += sum(row.count for row in rows)
        report.compacted += sum(not row.body for row in rows)
        next_seq = rows[-1].first_seq + rows[-1].count


def _read(log: LogInspector, next_seq: int) -> tuple[list[LogRow], Damage | None]:
    """Read a piece, or where that is not possible one row, or say what is wrong with that."""
    try:
        return log.read(next_seq, PIECE_EVENTS), None
    except StorageDamaged:
        pass
    try:
        return log.read(next_seq, 1), None
    except StorageDamaged as error:
        return [], Damage("batch", error.message, next_seq)


def _bare(rows: list[LogRow], floor: int) -> list[Damage]:
    return [
        Damage("batch", "its body is gone, and compaction has not dropped it", row[0], row.batch_id)
        for row in rows
        if not row.body and (row.first_seq + row.count > floor or row.flags & 1)
    ]


def _verify_snapshots(log: LogInspector, report: Report) -> None:
    for head in log.snapshots():
        try:
            hub_id, seq, chain = check_snapshot(log.read_snapshot(head.number))
            row = next(iter(log.read(head.seq, 1)), None)
        except StorageDamaged as error:
            report.damaged.append(Damage("snapshot", error.message, head.seq))
            continue
        fits = row is not None and (hub_id, seq) == (log.hub_id, head.seq)
        if fits and row is not None and chain == head.chain == row.chain:
            report.snapshots.append(head.seq)
        else:
            why = "it is not of this log at this seq"
            report.damaged.append(Damage("snapshot", why, head.seq))
    if report.floor > 1 and not report.snapshots:
        why = f"the log was compacted below seq {report.floor}, and no snapshot can be used"
        report.damaged.append(Damage("snapshot", why))
