"""Snapshots within the SQLite log: a head, and the state in parts of a megabyte.

A head is written when all its parts are; until then nobody sees the snapshot, and parts without a
head are what a writer that was cut off has left. So a large state costs many short commits, between
which the turns go on, and none that holds them up.

Only the statements stand here; when they are committed, and what a failure means, is sqlite.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import apsw

from hpc.protocols import SnapshotHead

PART_BYTES: Final = 1 << 20
"""Of a state in one commit: some milliseconds of writing."""

KEPT: Final = 2
"""Snapshots that are kept: below the compaction floor they are the only copy of what was."""

SINCE_VERSION: Final = 2
"""The `user_version` that has the tables."""

SCHEMA: Final = """
CREATE TABLE snapshots (
    id    INTEGER PRIMARY KEY,
    seq   INTEGER NOT NULL,
    chain BLOB NOT NULL,
    hash  BLOB NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE TABLE snapshot_parts (
    id    INTEGER NOT NULL,
    part  INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (id, part)
);
"""

HASH_BYTES: Final = 32
"""The hash over a state is its last bytes."""


def heads(db: apsw.Connection) -> list[SnapshotHead]:
    """Return the snapshots that are whole, the newest first."""
    found = db.execute("SELECT id, seq, chain FROM snapshots ORDER BY id DESC")
    read = (SnapshotHead(*values) for values in found)
    # What is no head is none: the older one, or the log, has what it should hold.
    return [one for one in read if isinstance(one.seq, int) and isinstance(one.chain, bytes)]


def state_of(db: apsw.Connection, number: int) -> bytes | None:
    """Return a state as it lies there, or None where it is not as long as it was, or changed."""
    found: list[Any] = db.execute(
        "SELECT hash, bytes FROM snapshots WHERE id = ?", (number,)
    ).fetchall()
    parts = db.execute("SELECT state FROM snapshot_parts WHERE id = ? ORDER BY part", (number,))
    state = b"".join(part for (part,) in parts)
    if not found or len(state) != found[0][1] or state[-HASH_BYTES:] != found[0][0]:
        return None
    return state


def next_number(db: apsw.Connection) -> int:
    """Return a number that no snapshot has, nor any part that was left behind."""
    sql = "SELECT max(coalesce((SELECT max(id) FROM {}), 0), coalesce((SELECT max(id) FROM {}), 0))"
    found: list[Any] = db.execute(sql.format("snapshots", "snapshot_parts")).fetchall()
    return int(found[0][0]) + 1


def parts_of(state: bytes) -> Iterator[tuple[int, memoryview]]:
    """Return the parts of a state with their numbers."""
    whole = memoryview(state)
    for number, start in enumerate(range(0, len(state), PART_BYTES)):
        yield number, whole[start : start + PART_BYTES]


def put_part(db: apsw.Connection, number: int, part: int, piece: memoryview) -> None:
    """Write one part."""
    db.execute("INSERT INTO snapshot_parts VALUES (?, ?, ?)", (number, part, piece))


def put_head(db: apsw.Connection, head: SnapshotHead, state: bytes) -> None:
    """Make a snapshot count, and those that are too many not."""
    values = (head.number, head.seq, head.chain, state[-HASH_BYTES:], len(state))
    db.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)", values)
    old = "SELECT id FROM snapshots ORDER BY id DESC LIMIT -1 OFFSET ?"
    db.execute(f"DELETE FROM snapshots WHERE id IN ({old})", (KEPT,))  # noqa: S608 - a constant


def left_over(db: apsw.Connection) -> list[int]:
    """Return the rows of parts that no snapshot has, each to be deleted by itself."""
    sql = "SELECT rowid FROM snapshot_parts WHERE id NOT IN (SELECT id FROM snapshots)"
    return [rowid for (rowid,) in db.execute(sql)]


def drop_part(db: apsw.Connection, rowid: int) -> None:
    """Delete one part."""
    db.execute("DELETE FROM snapshot_parts WHERE rowid = ?", (rowid,))
