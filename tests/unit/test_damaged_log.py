"""Bits that flip in a log: what is damaged is named, the rest is served, nothing is made up."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest
from kept_hub import NoOutputs
from service_rig import ServiceRig, run_with

from hpc.clock import SystemClock
from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.errors import HpcError, StorageDamaged, StorageError
from hpc.hub.commit import Committer
from hpc.hub.quarantine import Quarantine
from hpc.hub.recovery import recover
from hpc.hub.turn_parts import Arrived
from hpc.hub.verification import verify
from hpc.protocols import EventLog, LogRow
from hpc.storage.sqlite import open_log
from hpc.storage.sqlite_tools import SqliteTools
from hpc.testing.small_hub import SmallHub

SEED = 5
FLIPS = 200
BATCHES = 12
EACH = 5

NAMESPACE = NamespaceSpec(
    ns_id="lab",
    handler_type="process",
    schema={"Said": [FieldSpec(key="i", expected_type="Int")]},
)


def counting(gid: str) -> GeneratorSpec:
    """A generator that counts and has the greatest."""
    join = {"count": {"count": 1}, "most": {"max": "$spec.i"}}
    rule = {"on": "Said", "table": "t", "key": "$ctx.node_id", "join": join}
    return GeneratorSpec(gid=gid, namespaces=["lab"], rules=[rule])


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as made:
        yield Path(made)


def make_log(data: Path, *, snapshot_after: int | None) -> tuple[SmallHub, list[LogRow]]:
    """Write batches of a real engine, and a snapshot behind some of them."""
    hub = SmallHub()
    open_log(data).close()
    damage(data, "UPDATE meta SET value = 'hub'")  # which is the id of a Hub in memory
    (data / "hub.json").unlink()
    with closing(open_log(data)) as log:
        written = 0
        for number in range(-2, BATCHES):
            if number < 0:
                hub.register(NAMESPACE if number == -2 else counting("g"))
            else:
                ctx = {"ns_id": "lab", "node_id": "n1"}
                said = {"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": number}}}
                hub.ingest(f"box/{number + 1}", [said] * EACH)
            log.append([LogRow(*row) for row in hub.log[written:]])
            written = len(hub.log)
            if number == snapshot_after:
                for _ in log.snapshot(hub.snapshot().state, hub.head):
                    pass
        return hub, log.read(1, 10**6)


def damage(data: Path, sql: str, *values: Any) -> None:
    """Change what stands in the file."""
    with closing(apsw.Connection(str(data / "log.sqlite3"))) as db:
        db.execute(sql, values)
        assert db.changes() == 1


def committer_of(log: EventLog, quarantine: Quarantine, *, set_aside: bool = False) -> Committer:
    """The turns of a Hub that starts with this log."""
    clock = SystemClock()
    return Committer(
        log=log,
        outputs=NoOutputs(),
        build_engine=lambda: recover(
            log,
            lease_ms=30_000,
            reclaim_ms=300_000,
            clock=clock,
            quarantine=quarantine,
            set_aside=set_aside,
        ),
        lease_ms=30_000,
        clock=clock,
        quarantine=quarantine,
    )


def ask(committer: Committer, verb: str, query: str, body: Any = None) -> Any:
    """Put one request; every generator is built when this returns."""
    outcome = committer.run(Arrived(inputs=[(1, verb, query, json.dumps(body).encode(), "")]))
    answers = list(outcome.answers)
    while outcome.fatal is None and outcome.again:
        outcome = committer.run(Arrived())
        answers += outcome.answers
    if outcome.fatal is not None:
        raise outcome.fatal
    ((_, answer),) = answers
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def register_late(committer: Committer) -> Any:
    """Register a generator over the whole log; what a pull of it says then."""
    spec = {"namespaces": ["lab"], "rules": counting("late").rules}
    ask(committer, "control", "", {"type": "RegisterGenerator", "gid": "late", "spec": spec})
    return ask(committer, "pull", "gid=late&cursor=0")


BODY = "UPDATE log SET body = replace(body, '\"i\":2', '\"i\":9') WHERE batch_id = 'box/3'"
CHAIN = "UPDATE log SET chain = zeroblob(32) WHERE batch_id = 'box/3'"
COUNT = "UPDATE log SET count = count + 2 WHERE batch_id = 'box/3'"
TEXT = "UPDATE log SET batch_id = CAST(x'626f782fff' AS TEXT) WHERE batch_id = 'box/3'"
GONE = "DELETE FROM log WHERE batch_id = 'box/3'"
# Batch `box/3` has the events 13 to 17; where its chain value is unknown, so is the next one's.
CASES = [(BODY, [13]), (CHAIN, [13, 18]), (COUNT, [13]), (TEXT, [13, 18]), (GONE, [13, 18])]


@pytest.mark.parametrize(("sql", "seqs"), CASES)
def test_fault_13_damage_below_a_snapshot_is_named_and_the_rest_is_served(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], sql: str, seqs: list[int]
) -> None:
    """A Hub with a year's log must not stay down for one bit in last March."""
    hub, rows = make_log(tmp_path, snapshot_after=6)
    damage(tmp_path, sql)
    quarantine = Quarantine()
    with closing(open_log(tmp_path)) as log:
        committer = committer_of(log, quarantine)
        pulled = ask(committer, "pull", "gid=g&cursor=0")
        assert pulled["facts"] == hub.pull("g")["facts"]
        late = register_late(committer)
        assert [one.seq for one in quarantine.found()] == seqs
        assert late["since"] == quarantine.found()[-1].until
        count = sum(row.count for row in rows[2:] if row.first_seq not in seqs)
        assert late["facts"]["t"]["n1"] == {"count": count, "most": BATCHES - 1}
    told = capfd.readouterr().err
    assert "at seq 13 of the log is damaged" in told
    assert f"cursor {quarantine.found()[0].until - 1}" in told


@pytest.mark.parametrize(("sql", "seqs"), CASES)
def test_fault_13_events_are_read_up_to_the_damage_and_behind_it(
    tmp_path: Path, sql: str, seqs: list[int]
) -> None:
    """A reader is told where it goes on, and gets nothing that was never said."""
    make_log(tmp_path, snapshot_after=6)
    damage(tmp_path, sql)

    async def run(rig: ServiceRig[Any]) -> None:
        page = await rig.service.events(0, 1000)
        assert page.status == 200
        assert [event["seq"] for event in json.loads(page.body)["data"]] == list(range(1, 13))
        for seq in seqs:
            gone = await rig.service.events(seq - 1, 1000)
            told = json.loads(gone.body)
            assert (gone.status, told["code"], told["floor"]) == (410, "damaged", seq + EACH)
        rest = json.loads((await rig.service.events(seqs[-1] + EACH - 1, 1000)).body)
        assert len(rest["data"]) == 2 + BATCHES * EACH - (seqs[-1] + EACH - 1)
        assert rig.service.figures()["damaged"]

    run_with(lambda: ServiceRig(open_log(tmp_path)), run)


def test_fault_13_a_look_through_the_log_finds_what_nobody_reads(tmp_path: Path) -> None:
    """The sooner it is known, the more copies there are that are whole."""
    hub, _ = make_log(tmp_path, snapshot_after=6)
    damage(tmp_path, BODY)

    async def run(rig: ServiceRig[Any]) -> None:
        quarantine = Quarantine()
        await quarantine.look_through(rig.side, hub.head)
        assert [(one.seq, one.until, one.id) for one in quarantine.found()] == [(13, 18, "box/3")]

    run_with(lambda: ServiceRig(open_log(tmp_path)), run)


@pytest.mark.parametrize(("sql", "seqs"), CASES)
@pytest.mark.parametrize("snapshot_after", [None, 0])
def test_fault_13_damage_that_the_state_rests_on_is_refused_or_set_aside(
    tmp_path: Path, sql: str, seqs: list[int], snapshot_after: int | None
) -> None:
    """Without the batch nobody knows what later ones led to: a person must say so."""
    _, rows = make_log(tmp_path, snapshot_after=snapshot_after)
    damage(tmp_path, sql)
    with closing(open_log(tmp_path)) as log:
        with pytest.raises(StorageDamaged, match="cannot be known") as refused:
            committer_of(log, Quarantine())
        assert "--set-aside-damaged" in (refused.value.hint or "")
        quarantine = Quarantine()
        committer = committer_of(log, quarantine, set_aside=True)
        assert [one.seq for one in quarantine.found()] == seqs
        there = sum(row.count for row in rows[2:] if row.first_seq not in seqs)
        (row,) = ask(committer, "pull", "gid=g&cursor=0")["facts"]["t"].values()
        assert row["count"] == there
        said = {"kind": "Said", "payload": {"ctx": {"ns_id": "lab", "node_id": "n1"}}}
        said["payload"]["spec"] = {"i": 1}
        ask(committer, "ingest", "", {"id": "other/1", "events": [said]})


@pytest.mark.parametrize(
    ("change", "status"), [("body = substr(body, 3)", 200), ("digest = x'00'", 503)]
)
def test_fault_13_a_batch_that_comes_again_and_is_damaged_ends_no_hub(
    quick: Path, change: str, status: int
) -> None:
    """Its sender would end each start of it. That it is there is known; where its digest cannot be
    read, nobody can say whether it is the same."""
    make_log(quick, snapshot_after=None)
    batch = f"box/{BATCHES}"
    damage(quick, f"UPDATE log SET {change} WHERE batch_id = ?", batch)
    with closing(open_log(quick)) as log:
        committer = committer_of(log, Quarantine(), set_aside=True)
        ctx = {"ns_id": "lab", "node_id": "n1"}
        said = {"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": BATCHES - 1}}}
        body = json.dumps({"id": batch, "events": [said] * EACH}).encode()
        outcome = committer.run(Arrived(inputs=[(1, "ingest", "", body, "")]))
        if outcome.again:
            outcome = committer.run(Arrived())
        assert outcome.fatal is None
        ((_, answer),) = outcome.answers
        assert answer.status == status
        assert json.loads(answer.body).get("duplicate", False) == (status == 200)
        assert ask(committer, "pull", "gid=g&cursor=0")["facts"]


def flipped(data: Path, place: Path, rng: random.Random) -> str:
    """Copy a log's folder with one bit that is another."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(data, place)
    content = bytearray((data / "log.sqlite3").read_bytes())
    at, bit = rng.randrange(len(content)), rng.randrange(8)
    content[at] ^= 1 << bit
    (place / "log.sqlite3").write_bytes(content)
    return f"seed {SEED}: bit {bit} of byte {at}"


def what_a_hub_says(place: Path) -> tuple[Any, Any, list[int]]:
    """Facts, those of a late generator, and what is set aside."""
    quarantine = Quarantine()
    with closing(open_log(place)) as log:
        committer = committer_of(log, quarantine)
        pulled = ask(committer, "pull", "gid=g&cursor=0")
        late = register_late(committer)
    return pulled["facts"], late, [one.seq for one in quarantine.found()]


def test_fault_13_any_bit_that_flips_is_harmless_or_named_or_refused(
    tmp_path: Path, quick: Path
) -> None:
    """Anywhere in the file: no state that was never there, and no error that is not ours."""
    rng = random.Random(SEED)
    hub, rows = make_log(tmp_path / "data", snapshot_after=6)
    facts = hub.pull("g")["facts"]
    harmless = named = refused = 0
    for _ in range(FLIPS):
        where = flipped(tmp_path / "data", quick / "flipped", rng)
        is_told = is_named(quick / "flipped")
        try:
            said, late, aside = what_a_hub_says(quick / "flipped")
        except StorageError:
            refused += 1
            continue
        assert said == facts, where
        if late["facts"] == facts and "since" not in late:
            named += is_told
            harmless += not is_told
            continue
        named += 1
        assert aside, where
        count = sum(row.count for row in rows[2:] if row.first_seq not in aside)
        assert late["facts"]["t"]["n1"]["count"] == count, where
    assert harmless + named + refused == FLIPS
    assert min(harmless, named, refused) > 0


def is_named(place: Path) -> bool:
    """Whether `hpc log verify` names something, with a report or an error of ours."""
    try:
        with closing(SqliteTools().reader(place)) as reader:
            return bool(verify(reader).damaged)
    except HpcError:
        return True
