"""E9: whatever a crash leaves of an append, the Hub knows what a prefix of the log says.

The engine makes the rows, SQLite writes them through a VFS that records every write, and the disk
is cut off after each of them, with writes torn at any byte. What is left is opened and recovered by
the code that ships, and must answer every cursor as the engine did when its log ended there; and no
acknowledged event may be missing.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.hub.recovery import recover
from hpc.protocols import EventLog, LogRow
from hpc.storage import sqlite_connect
from hpc.storage.sqlite import open_log
from hpc.testing.disk import Op, PowerCut, fault_vfs
from hpc.testing.disk.power_cut import lay_out
from hpc.testing.small_hub import WALL_MS, SmallHub

SEED = 11
TURNS = 14
WAL = "log.sqlite3-wal"

NAMESPACE = NamespaceSpec(
    ns_id="lab",
    handler_type="process",
    schema={
        "Said": [FieldSpec(key="i", expected_type="Int")],
        "SubmitJob": [FieldSpec(key="command", expected_type="String")],
    },
)
JOIN = {"most": {"max": "$spec.i"}, "newest": {"last": "$spec.i"}, "count": {"count": 1}}
GENERATOR = GeneratorSpec(
    gid="g",
    namespaces=["lab"],
    rules=[{"on": "Said", "table": "t", "key": "$ctx.node_id", "join": JOIN}],
)


class Clock:
    """One that stands still."""

    def wall_ms(self) -> int:
        return WALL_MS

    def mono_ms(self) -> int:
        return 0


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of logs are opened in it."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)


def batch(number: int, rng: random.Random) -> dict[str, Any]:
    """A batch of some events, now and then a job."""
    ctx = {"ns_id": "lab", "node_id": rng.choice(["n1", "n2", "n3"])}
    said = {"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": rng.randrange(100)}}}
    job = {"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "lab"}, "spec": {"command": "a"}}}
    events = [said] * rng.randrange(1, 40) + [job] * rng.randrange(2)
    return {"id": f"box/{number + 1}", "events": events}


def queries(head: int) -> list[str]:
    """Pulls of all generators, from some cursors and from the end."""
    cursors = sorted({cursor for cursor in (0, 1, head // 2, head - 1, head) if cursor >= 0})
    gids = ["kernel", "g"] if head > 1 else ["kernel"]
    return [f"gid={gid}&cursor={cursor}" for gid in gids for cursor in cursors]


def living(hub: SmallHub) -> list[Any]:
    """What the Hub answers that has made the rows."""
    return [hub.ask("pull", query) | {"hub": None} for query in queries(hub.head)]


def recovered(log: EventLog) -> list[Any]:
    """What a Hub answers that was rebuilt from the log by the code that ships."""
    head = log.head().last_seq
    engine = recover(log, lease_ms=30_000, reclaim_ms=300_000, clock=Clock())
    assert engine.last_seq == head
    asked = [(n, "pull", query, b"null", "") for n, query in enumerate(queries(head))]
    turn = engine.step(asked, wall_ms=WALL_MS, mono_ms=1)
    assert {status for _, status, _ in turn.replies} == {200}
    return [json.loads(body) | {"hub": None} for _, _, body in sorted(turn.replies)]


def test_e9_after_a_crash_the_facts_are_those_of_a_prefix_with_all_that_was_acknowledged(
    tmp_path: Path, quick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Hub that forgot what it acknowledged, or knew half of a batch, would be worse than none."""
    rng = random.Random(SEED)
    monkeypatch.setattr(sqlite_connect, "CHECKPOINT_PAGES", 12)
    data = tmp_path / "data"
    hub, known = SmallHub(), dict[int, list[Any]]()
    known[0] = living(hub)
    with fault_vfs() as vfs, closing(open_log(data, vfs=vfs.name)) as log:
        files = ("hub.json", "log.sqlite3", WAL)
        disk = PowerCut({n: (data / n).read_bytes() for n in files}, torn_bytes=1)
        vfs.ops.clear()
        for number in range(-2, TURNS):
            before = len(hub.log)
            if number < 0:
                hub.register(NAMESPACE if number == -2 else GENERATOR)
            else:
                hub.turn([(n, "ingest", "", batch(2 * number + n, rng)) for n in range(2)])
            log.append([LogRow(*row) for row in hub.log[before:]])
            vfs.ops.append(Op("ack", "", hub.head))
            known[hub.head] = living(hub)
        ops = list(vfs.ops)
    assert any(op.kind == "sync" and op.name == "log.sqlite3" for op in ops), "no checkpoint seen"

    acked, cuts, short = 0, 0, 0
    for op in ops:
        if op.kind == "ack":
            acked = op.offset
            continue
        disk.do(op)
        for left in disk.states(rng):
            cuts += 1
            lay_out(left, quick / "cut")
            with closing(open_log(quick / "cut")) as log:
                head = log.head().last_seq
                assert head >= acked, f"seed {SEED}, cut {cuts}: acknowledged events are lost"
                assert head in known, f"seed {SEED}, cut {cuts}: {head} is the end of no turn"
                assert recovered(log) == known[head], f"seed {SEED}, cut {cuts}"
            short += head < hub.head
    assert cuts > 100
    assert short > 50
