"""Snapshots and compaction of a Hub's log: when they are made, and that nobody can tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from kept_hub import DAY_MS, HOUR_MS, HandClock, KeptHub, filled, kept

from hpc._core import check_snapshot
from hpc.errors import StorageDamaged, StorageError
from hpc.hub import upkeep
from hpc.protocols import EventLog
from hpc.storage import memory, sqlite
from hpc.storage.memory import MemoryDisk

OpenLog = Callable[[], EventLog]

SECTIONS = (
    "head", "namespaces", "resources", "nodes", "jobs", "receipts", "origins", "kernel",
    "generators", "facts/g", "facts/k",
)  # fmt: skip


@pytest.fixture(params=["sqlite", "memory"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Opens one log, of either kind."""
    if request.param == "sqlite":
        return lambda: sqlite.open_log(tmp_path / "data")
    disk = MemoryDisk()
    return lambda: memory.MemoryLog(disk)


def with_two_snapshots(open_log: OpenLog) -> object:
    """Leave a log with two snapshots and something after each; what a Hub on it answers."""
    with kept(open_log) as hub:
        filled(hub)
        hub.close()
    with kept(open_log) as hub:
        hub.say("lose", 90)
        hub.submit("j2")
        hub.close()
    with kept(open_log) as hub:
        hub.say("keep", 91)
        return hub.pulls()


def test_a_clean_stop_leaves_a_snapshot_and_the_start_uses_it(
    open_log: OpenLog, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next start replays nothing, and answers every cursor as before."""
    with kept(open_log) as hub:
        filled(hub)
        before = hub.pulls()
        seq = hub.engines[-1].last_seq
        hub.close()
        assert [head.seq for head in hub.log.snapshots()] == [seq]
    capsys.readouterr()
    with kept(open_log) as hub:
        told = capsys.readouterr().err
        assert f"hub: restored a snapshot at seq {seq} and replayed 0 events in" in told
        assert hub.pulls() == before
        hub.close()
        assert len(hub.log.snapshots()) == 1, "there was nothing new to write"


def test_a_snapshot_is_due_after_so_many_events(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next start, also after a kill, has little to replay."""
    with kept(open_log, snapshot_events=20) as hub:
        filled(hub, 30)
        hub.idle()
        newest = hub.log.snapshots()[0].seq
        assert 20 <= newest <= hub.engines[-1].last_seq
        before = hub.pulls()
    with kept(open_log) as hub:
        assert hub.pulls() == before


def test_a_snapshot_costs_little_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast events come: the next waits fifty times as long as the last one took."""
    clock = HandClock()
    seconds = iter(range(1000))
    with kept(memory.MemoryLog, clock, snapshot_events=1) as hub:
        monkeypatch.setattr(hub.upkeep, "_timer_s", lambda: float(next(seconds)))
        hub.register("keep")
        hub.idle()
        assert hub.upkeep.snapshots == 1  # by this clock it took 3 s
        clock.move(149_000)
        hub.say("keep", 1)
        hub.idle()
        assert hub.upkeep.snapshots == 1
        clock.move(2_000)
        hub.say("keep", 2)
        hub.idle()
        assert hub.upkeep.snapshots == 2


def test_turns_go_on_while_a_snapshot_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of the instant at which it began, whatever is recorded before it is whole."""
    monkeypatch.setattr("hpc.storage.sqlite_snapshots.PART_BYTES", 20)
    with kept(lambda: sqlite.open_log(tmp_path / "data"), snapshot_events=20) as hub:
        filled(hub, 30)
        assert hub.log.snapshots() == []
        assert hub.idle() > 10
        assert hub.log.snapshots()[0].seq < hub.engines[-1].last_seq
        before = hub.pulls()
    with kept(lambda: sqlite.open_log(tmp_path / "data")) as hub:
        assert hub.pulls() == before


def test_no_snapshot_is_taken_while_a_generator_is_built(open_log: OpenLog) -> None:
    """It would lack facts that a compacted log can no longer give."""
    with kept(open_log) as hub:
        filled(hub)
        spec = {"namespaces": ["keep"], "rules": [
            {"on": "Said", "table": "t", "key": "$ctx.node_id", "join": {"n": {"count": 1}}}
        ]}  # fmt: skip
        hub.ask("control", body={"type": "RegisterGenerator", "gid": "late", "spec": spec})
        assert hub.engines[-1].is_building
        hub.close()
        assert hub.log.snapshots() == []
        hub.idle()
        hub.close()
        assert len(hub.log.snapshots()) == 1


def flip(path: Path, number: int, offset: int) -> None:
    """Flip a bit of a stored state, past the checks of SQLite and of its hash."""
    with closing(apsw.Connection(str(path))) as db:
        ((state,),) = db.execute("SELECT state FROM snapshot_parts WHERE id = ?", (number,))
        changed = bytearray(state)
        changed[offset] ^= 0x10
        db.execute("UPDATE snapshot_parts SET state = ? WHERE id = ?", (bytes(changed), number))


def places(state: bytes) -> dict[str, int]:
    """An offset within each section, found by what a flip there is called."""
    found: dict[str, int] = {}
    for offset in range(8, len(state) - 40):
        changed = bytearray(state)
        changed[offset] ^= 1
        with pytest.raises(StorageDamaged) as caught:
            check_snapshot(bytes(changed))
        name = caught.value.message.split("`")[1]
        found.setdefault(name, offset)
        if len(found) == len(SECTIONS) + 1:
            break
    return found


def test_a_bit_flipped_in_any_table_of_a_snapshot_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, the older snapshot is used, and then the whole log: with the same pulls."""

    def open_log() -> EventLog:
        return sqlite.open_log(tmp_path / "data")

    expected = with_two_snapshots(open_log)
    with closing(open_log()) as log:
        newest, older = log.snapshots()
        offsets = places(log.read_snapshot(newest.number))
        of_older = places(log.read_snapshot(older.number))
    assert set(offsets) == {*SECTIONS, "contents"}
    path = tmp_path / "data" / "log.sqlite3"
    for name in offsets:
        flip(path, newest.number, offsets[name])
        capsys.readouterr()
        with kept(open_log) as hub:
            told = capsys.readouterr().err
            assert f"the snapshot at seq {newest.seq} is passed over" in told
            assert f"section `{name}` is damaged" in told
            assert f"restored a snapshot at seq {older.seq}" in told
            assert hub.pulls() == expected
        flip(path, older.number, of_older[name])
        capsys.readouterr()
        with kept(open_log) as hub:
            told = capsys.readouterr().err
            assert told.count("is passed over") == 2
            assert "hub: replayed" in told
            assert hub.pulls() == expected
        flip(path, newest.number, offsets[name])
        flip(path, older.number, of_older[name])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE snapshots SET seq = seq - 1",
        "UPDATE snapshots SET chain = randomblob(32)",
        "UPDATE snapshots SET hash = randomblob(32)",
        "UPDATE snapshots SET bytes = bytes + 1",
        "DELETE FROM snapshot_parts",
        "UPDATE snapshot_parts SET state = x'00'",
        "UPDATE snapshots SET seq = 'many'",
    ],
)
def test_a_snapshot_that_does_not_fit_the_log_is_passed_over(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own checksums are not enough: cursor and chain are held against the log."""

    def open_log() -> EventLog:
        return sqlite.open_log(tmp_path / "data")

    expected = with_two_snapshots(open_log)
    with closing(apsw.Connection(str(tmp_path / "data" / "log.sqlite3"))) as db:
        db.execute(change)
    capsys.readouterr()
    with kept(open_log) as hub:
        told = capsys.readouterr().err
        assert "hub: replayed" in told
        assert told.count("is passed over") == (0 if "many" in change else 2)
        assert hub.pulls() == expected


def compacted(open_log: OpenLog, clock: HandClock) -> object:
    """Leave a log of which all that may go is gone; what a Hub on it answers."""
    with kept(open_log, clock) as hub:
        filled(hub)
        hub.close()
    with kept(open_log, clock) as hub:
        clock.move(2 * DAY_MS)
        hub.say("lose", 99)
        before = hub.pulls()
        hub.idle()
        assert hub.upkeep.dropped == 8
        assert hub.pulls() == before
        return before


def bodies(hub: KeptHub) -> dict[int, bytes]:
    """The bodies of the log by first seq."""
    return {row.first_seq: row.body for row in hub.log.read(1, 10**6)}


def test_compaction_drops_what_is_past_its_retention_and_nothing_else(open_log: OpenLog) -> None:
    """Facts stay, also over a restart; registrations, jobs and other namespaces stay whole."""
    clock = HandClock()
    before = compacted(open_log, clock)
    with kept(open_log, clock) as hub:
        assert hub.pulls() == before
        found = bodies(hub)
        gone = [seq for seq, body in found.items() if not body]
        assert len(gone) == 8
        assert hub.log.floor() == gone[-1] + 1
        assert all(b"lose" in body for seq, body in found.items() if seq == max(found))
        # The next round finds nothing, and writes nothing.
        numbers = [head.number for head in hub.log.snapshots()]
        clock.move(DAY_MS // 2)
        hub.idle()
        assert [head.number for head in hub.log.snapshots()] == numbers
        assert hub.upkeep.dropped == 0


def test_fault_46_compaction_of_an_idle_hub_sees_a_jump_of_the_clock(open_log: OpenLog) -> None:
    """Its turn has no step of the engine; what is dropped for its age is gone for good."""
    clock = HandClock()
    with kept(open_log, clock) as hub:
        filled(hub)
        clock.move(2 * HOUR_MS)
        hub.idle()
        assert len(hub.log.snapshots()) == 1
        clock.move(2 * HOUR_MS)
        clock.wall += 100 * DAY_MS
        hub.idle()
        clock.move(DAY_MS // 2)
        hub.idle()
        assert hub.upkeep.dropped == 0
        clock.move(DAY_MS)
        hub.idle()
        assert hub.upkeep.dropped == 8


def test_what_the_older_snapshot_does_not_hold_is_kept(open_log: OpenLog) -> None:
    """However old it is: it must be in two snapshots first."""
    clock = HandClock()
    with kept(open_log, clock) as hub:
        filled(hub)
        clock.move(2 * DAY_MS)
        hub.idle()
        assert len(hub.log.snapshots()) == 1
        assert hub.log.floor() == 1
        clock.move(HOUR_MS)
        hub.idle()
        assert hub.log.floor() > 1


def test_a_generator_that_the_older_snapshot_lacks_puts_it_off(open_log: OpenLog) -> None:
    """Were the newer one damaged, it could not be built again."""
    clock = HandClock()
    with kept(open_log, clock) as hub:
        filled(hub)
        hub.close()
        hub.generator("g2", "lose")
        clock.move(2 * DAY_MS)
        hub.idle()
        assert hub.log.floor() == 1
        clock.move(HOUR_MS)
        hub.idle()
        assert hub.log.floor() > 1


def test_a_generator_registered_after_compaction_says_since_when_it_counts(
    open_log: OpenLog,
) -> None:
    """It counts what is left; what is gone it cannot know."""
    clock = HandClock()
    compacted(open_log, clock)
    with kept(open_log, clock) as hub:
        hub.generator("late", "lose")
        _, page = hub.ask("pull", "gid=late")
        assert page["since"] == hub.log.floor()
        assert sum(row["n"] for row in page["facts"]["t"].values()) == 1
        assert "since" not in hub.ask("pull", "gid=g")[1]
        hub.close()
    with kept(open_log, clock) as hub:
        assert hub.ask("pull", "gid=late")[1] == page


def test_below_the_floor_a_snapshot_is_the_truth(tmp_path: Path) -> None:
    """One damaged is survived; with both gone, the Hub says so and does not start with less."""

    def open_log() -> EventLog:
        return sqlite.open_log(tmp_path / "data")

    clock = HandClock()
    expected = compacted(open_log, clock)
    path = tmp_path / "data" / "log.sqlite3"
    with closing(open_log()) as log:
        newest, older = log.snapshots()
    flip(path, newest.number, 100)
    with kept(open_log, clock) as hub:
        assert hub.pulls() == expected
    flip(path, older.number, 100)
    refused = pytest.raises(StorageDamaged, match="none of its snapshots can be used")
    with refused as caught, kept(open_log, clock):
        pass
    assert "hpc log restore" in (caught.value.hint or "")


def test_fault_08_a_full_disk_only_puts_upkeep_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events come first; a snapshot is written when there is space again."""
    disk = MemoryDisk()
    disk.capacity_bytes = 100 << 20
    clock = HandClock()
    with kept(lambda: memory.MemoryLog(disk), clock, snapshot_events=5) as hub:
        filled(hub)
        hub.idle()
        told = capsys.readouterr().err
        assert "upkeep is put off" in told
        assert re.search(r"is written where 129 MiB are free, and (99|100) MiB are", told)
        assert hub.log.snapshots() == []
        disk.capacity_bytes = 1 << 40
        hub.say("keep", 1)
        assert hub.log.snapshots() == []
        clock.move(upkeep.RETRY_MS)
        hub.say("keep", 2)
        hub.idle()
        assert len(hub.log.snapshots()) == 1


def test_fault_11_a_failed_disk_ends_the_hub_also_in_upkeep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An fsync that failed is never tried again, whatever it was for."""
    with kept(memory.MemoryLog, snapshot_events=1) as hub:

        def fail(_state: bytes, _seq: int) -> None:
            raise StorageError("the disk failed")

        monkeypatch.setattr(hub.log, "snapshot", fail)
        with pytest.raises(AssertionError, match="the disk failed"):
            hub.register("keep")


def test_a_batch_id_that_comes_again_after_its_receipt_is_known(open_log: OpenLog) -> None:
    """After a month the engine has forgotten it and the log has not: it is recorded once."""
    clock = HandClock()
    uuid = "018f3a4e-0000-7000-8000-00000000000a"
    with kept(open_log, clock) as hub:
        filled(hub)
        first = hub.say("keep", 7, uuid)
        clock.move(31 * DAY_MS)
        hub.say("keep", 8)
        hub.close()
        head = hub.engines[-1].last_seq
        again = hub.say("keep", 7, uuid)
        assert again == first | {"duplicate": True}
        assert len(hub.engines) == 2
        assert hub.say("keep", 7, uuid) == again
        assert len(hub.engines) == 2, "it is remembered now"
        status, told = hub.ask("ingest", body={"id": uuid, "events": [
            {"kind": "Said", "payload": {"ctx": {"ns_id": "keep"}, "spec": {}}}]})  # fmt: skip
        assert (status, told["code"]) == (409, "id_conflict")
        assert hub.engines[-1].last_seq == head


def test_an_engine_that_is_rebuilt_leaves_its_snapshot_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is under way is of an engine that is gone."""
    monkeypatch.setattr("hpc.storage.sqlite_snapshots.PART_BYTES", 20)
    clock = HandClock()
    uuid = "018f3a4e-0000-7000-8000-00000000000b"
    with kept(lambda: sqlite.open_log(tmp_path / "data"), clock, snapshot_events=20) as hub:
        hub.register("keep")
        hub.say("keep", 1, uuid)
        clock.move(31 * DAY_MS)
        hub.say("keep", 2)
        hub.close()  # the receipt is forgotten
        for i in range(18):
            hub.say("keep", i)
        hub.say("keep", 19)
        assert hub.log.snapshots()[0].seq == 3
        assert hub.say("keep", 1, uuid)["duplicate"]
        hub.idle()
        before = hub.pulls()
    with kept(lambda: sqlite.open_log(tmp_path / "data"), clock) as hub:
        assert hub.pulls() == before
