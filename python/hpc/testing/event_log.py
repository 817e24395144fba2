"""The contract of an `EventLog` as tests: subclass it, say how your log is opened, run pytest.

    class TestMyLog(EventLogContract):
        @pytest.fixture
        def open_log(self, tmp_path):
            return lambda: my_storage.open_log(tmp_path / "data")

`open_log` opens the same log at each call; nothing else is assumed of it. Batches are made here,
with chains of their own: a log keeps them and never verifies them. What a disk does when it fails
is each plugin's to test.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from hpc.errors import StorageDamaged, StorageError, StorageKnown, StorageLocked
from hpc.protocols import EventLog, LogHead, LogRow

OpenLog = Callable[[], EventLog]

SEED_COUNT = 5


def make_row(
    head: LogHead,
    *,
    count: int = 1,
    batch_id: str | None = None,
    flags: int = 0,
    body: bytes | None = None,
    job_ids: Sequence[str] = (),
) -> LogRow:
    """Return a batch that follows `head`; what is not given is made from the seq."""
    first_seq = head.last_seq + 1
    text = body or b'{"events":[%s]}' % b",".join(
        b'{"at":%d,"kind":"Note","payload":{"n":%d}}' % (1000 + n, n)
        for n in range(first_seq, first_seq + count)
    )
    return LogRow(
        first_seq=first_seq,
        count=count,
        batch_id=batch_id or f"origin/{first_seq}",
        digest=hashlib.sha256(text).digest(),
        chain=hashlib.sha256(head.chain + text).digest(),
        flags=flags,
        body=text,
        job_ids=tuple(job_ids),
    )


def make_rows(head: LogHead, counts: Sequence[int]) -> list[LogRow]:
    """Return batches of so many events each, one following the other."""
    rows: list[LogRow] = []
    for count in counts:
        rows.append(make_row(head, count=count))
        head = head_of(rows)
    return rows


def head_of(rows: Sequence[LogRow]) -> LogHead:
    """Return the head of a log that ends with these rows."""
    return LogHead(rows[-1].first_seq + rows[-1].count - 1, rows[-1].chain)


def stored(rows: Sequence[LogRow]) -> list[LogRow]:
    """Return rows as a log gives them back: without `job_ids`."""
    return [row._replace(job_ids=()) for row in rows]


def make_state(seq: int, size: int = 100) -> bytes:
    """Return bytes in place of a snapshot: a log keeps them and never looks into them."""
    filler = random.Random(seq).randbytes(size)  # noqa: S311 - any bytes will do
    return filler + hashlib.sha256(filler).digest()


def store(log: EventLog, seq: int, size: int = 100) -> bytes:
    """Store a snapshot at a seq, and return its state."""
    state = make_state(seq, size)
    for _ in log.snapshot(state, seq):
        pass
    return state


def _after(row: LogRow) -> LogRow:
    """Return the row once more, behind itself."""
    return row._replace(first_seq=row.first_seq + row.count)


class EventLogContract:
    """What every `EventLog` does. Subclass it and define the fixture `open_log`."""

    @pytest.fixture
    def open_log(self) -> OpenLog:
        """Return a function that opens the same log at each call; empty at the first."""
        raise NotImplementedError("define the fixture `open_log`")

    def test_a_new_log_is_empty(self, open_log: OpenLog) -> None:
        """The engine begins at seq 1 with a chain of zero bytes."""
        with contextlib.closing(open_log()) as log:
            assert log.head() == LogHead(0, bytes(32))
            assert log.read(1, 10) == []
            assert log.read_control() == []
            assert log.read_job("job", 0, 10) == []
            assert log.receipt("origin/1") is None
            assert log.free_bytes() > 0

    def test_the_hub_id_stays(self, open_log: OpenLog) -> None:
        """Relays refuse a Hub whose id has changed."""
        with contextlib.closing(open_log()) as log:
            first = log.hub_id
        with contextlib.closing(open_log()) as log:
            assert log.hub_id == first
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", first)

    def test_a_history_that_goes_on_otherwise_has_another_name(self, open_log: OpenLog) -> None:
        """Readers who know it by its name read it anew; the Hub is the same."""
        with contextlib.closing(open_log()) as log:
            hub_id = log.hub_id
            assert log.lineage == hub_id
            log.begin_lineage()
            lineage = log.lineage
            assert lineage != hub_id
        with contextlib.closing(open_log()) as log:
            assert (log.hub_id, log.lineage) == (hub_id, lineage)
            log.begin_lineage()
            assert log.lineage not in (hub_id, lineage)

    def test_what_was_appended_is_there_after_reopening(self, open_log: OpenLog) -> None:
        """An acknowledged event is in the log for ever."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [1, 3, 1])
            log.append(rows[:2])
            log.append(rows[2:])
            assert log.read(1, 100) == rows
        with contextlib.closing(open_log()) as log:
            assert log.read(1, 100) == rows
            assert log.head() == head_of(rows)

    def test_the_next_batch_is_found(self, open_log: OpenLog) -> None:
        """Whoever cannot read a batch goes on behind it."""
        with contextlib.closing(open_log()) as log:
            assert log.next_after(0) is None
            log.append(make_rows(log.head(), [2, 3, 1]))
            assert [log.next_after(seq) for seq in range(7)] == [1, 3, 3, 6, 6, 6, None]

    def test_rows_come_back_as_rows_of_bytes(self, open_log: OpenLog) -> None:
        """The engine takes them as they come, so their types must not depend on the storage."""
        with contextlib.closing(open_log()) as log:
            log.append([make_row(log.head())])
            (row,) = log.read(1, 1)
        assert isinstance(row, LogRow)
        kinds = [int, int, str, bytes, bytes, int, bytes, tuple]
        assert [type(value) for value in row] == kinds

    def test_plain_tuples_are_rows_too(self, open_log: OpenLog) -> None:
        """The engine hands out tuples; nobody should have to convert each."""
        with contextlib.closing(open_log()) as log:
            row = make_row(log.head(), job_ids=["a"])
            log.append([tuple(row)])  # type: ignore[list-item]
            assert log.read(1, 1) == stored([row])
            assert log.receipt(row.batch_id) == stored([row])[0]
            assert log.read_job("a", 0, 10) == stored([row])

    def test_appending_nothing_changes_nothing(self, open_log: OpenLog) -> None:
        """A turn without writes may still ask."""
        with contextlib.closing(open_log()) as log:
            log.append([])
            assert log.head().last_seq == 0

    @pytest.mark.parametrize("shift", [-1, 1])
    def test_rows_that_do_not_follow_are_refused_whole(self, open_log: OpenLog, shift: int) -> None:
        """A gap or an overlap would be a log that nobody can replay."""
        with contextlib.closing(open_log()) as log:
            good, next_one = make_rows(log.head(), [2, 1])
            wrong = next_one._replace(first_seq=next_one.first_seq + shift)
            with pytest.raises(AssertionError):
                log.append([good, wrong])
            assert log.read(1, 10) == []
            assert log.head().last_seq == 0
            log.append([good, next_one])
            assert log.read(1, 10) == [good, next_one]

    def test_a_batch_id_stands_once(self, open_log: OpenLog) -> None:
        """A retry that slipped through would be recorded twice."""
        with contextlib.closing(open_log()) as log:
            first = make_row(log.head(), batch_id="same")
            again = make_row(head_of([first]), batch_id="same")
            with pytest.raises(AssertionError):
                log.append([first, again])
            assert log.read(1, 10) == []
            log.append([first])
            with pytest.raises(StorageKnown) as caught:
                log.append([again._replace(batch_id="new"), _after(again)])
            assert caught.value.batch_id == "same"
            with pytest.raises(StorageKnown):
                log.append([again])
            assert log.head() == head_of([first])
            log.append([again._replace(batch_id="other")])
            assert log.head().last_seq == 2  # noqa: PLR2004

    def test_read_begins_with_the_row_that_holds_the_seq(self, open_log: OpenLog) -> None:
        """A cursor may point into the middle of a batch."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [2, 3, 4])
            log.append(rows)
            starts = {0: 0, 1: 0, 2: 0, 3: 1, 5: 1, 6: 2, 9: 2, 10: 3, 99: 3}
            for first_seq, index in starts.items():
                assert log.read(first_seq, 100) == rows[index:]

    def test_read_stops_once_it_has_enough_events(self, open_log: OpenLog) -> None:
        """A page is bounded in events, whatever the batches' sizes, and is never empty."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [2, 3, 4])
            log.append(rows)
            taken = {0: 0, 1: 1, 2: 1, 3: 2, 5: 2, 6: 3, 99: 3}
            for limit, length in taken.items():
                assert log.read(1, limit) == rows[:length]

    def test_registrations_are_found_without_the_rest(self, open_log: OpenLog) -> None:
        """Recovery reads them first."""
        with contextlib.closing(open_log()) as log:
            rows = [
                row._replace(flags=flags)
                for row, flags in zip(
                    make_rows(log.head(), [1] * 6), [0, 1, 2, 3, 0, 1], strict=True
                )
            ]
            log.append(rows)
            assert log.read_control() == [rows[1], rows[3], rows[5]]

    def test_a_job_is_found_by_what_speaks_of_it(self, open_log: OpenLog) -> None:
        """Per-task detail is read from the log, not kept in memory."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [2, 3, 1, 4])
            speaks = [("a",), ("a", "b"), ("b",), ("b", "a", "a")]
            log.append([r._replace(job_ids=j) for r, j in zip(rows, speaks, strict=True)])
            assert log.read_job("a", 0, 10) == [rows[0], rows[1], rows[3]]
            assert log.read_job("b", 0, 10) == rows[1:]
            assert log.read_job("a", 0, 2) == [rows[0], rows[1]]
            assert log.read_job("a", 2, 10) == [rows[1], rows[3]]
            assert log.read_job("a", 4, 10) == [rows[1], rows[3]]
            assert log.read_job("a", 5, 10) == [rows[3]]
            assert log.read_job("a", 10, 10) == []
            assert log.read_job("a", 99, 10) == []
            assert log.read_job("c", 0, 10) == []

    def test_each_job_of_a_batch_of_many_is_found(self, open_log: OpenLog) -> None:
        """One batch may submit a hundred thousand, and the next speak of some of them."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [100, 2])
            many = tuple(f"job-{number}" for number in range(100))
            speaks = [(*many, many[0]), (many[99], many[99])]
            log.append([r._replace(job_ids=j) for r, j in zip(rows, speaks, strict=True)])
            for job_id in many[:99]:
                assert log.read_job(job_id, 0, 10) == [rows[0]]
            assert log.read_job(many[99], 0, 10) == rows

    def test_a_receipt_is_found_by_its_batch(self, open_log: OpenLog) -> None:
        """A retry gets its first receipt again, also after a restart."""
        ids = ["018f-aa", "abcdefghijklmnopqrstuvwxyz/12", "é/☃"]
        with contextlib.closing(open_log()) as log:
            rows = [
                row._replace(batch_id=batch_id)
                for row, batch_id in zip(make_rows(log.head(), [1, 2, 3]), ids, strict=True)
            ]
            log.append(rows)
        with contextlib.closing(open_log()) as log:
            assert [log.receipt(i) for i in ids] == rows
            assert log.receipt("018f-ab") is None

    def test_bodies_come_back_byte_for_byte(self, open_log: OpenLog) -> None:
        """The chain is over these bytes."""
        bodies = [
            '{"events":[{"kind":"Ünï","payload":"☃ 𝄞 \\u0000"}]}'.encode(),
            b'{"events":[1.0,-0.0,1e-7,12345678901234567890]}',
            b'{"events":["' + b"x" * (2 << 20) + b'"]}',
        ]
        with contextlib.closing(open_log()) as log:
            for body in bodies:
                log.append([make_row(log.head(), body=body)])
            assert [row.body for row in log.read(1, 10)] == bodies

    def test_a_log_has_one_writer(self, open_log: OpenLog) -> None:
        """Two Hubs on one log would both be right."""
        with contextlib.closing(open_log()) as log:
            row = make_row(log.head())
            with pytest.raises(StorageLocked):
                open_log()
            log.append([row])
        with contextlib.closing(open_log()) as log:
            assert log.head() == head_of([row])

    def test_a_second_reader_sees_what_is_appended_beside_it(self, open_log: OpenLog) -> None:
        """Long questions are put to a reader of their own, on a thread of its own."""
        with contextlib.closing(open_log()) as log:
            rows = [
                row._replace(flags=flags, job_ids=job_ids)
                for row, flags, job_ids in zip(
                    make_rows(log.head(), [2, 3, 1]), [0, 1, 0], [("a",), (), ("a",)], strict=True
                )
            ]
            log.append(rows[:1])
            with ThreadPoolExecutor(1) as thread:
                reader = thread.submit(log.reader).result()
                assert thread.submit(reader.head).result() == head_of(rows[:1])
                assert thread.submit(reader.read, 1, 10).result() == stored(rows[:1])
                log.append(rows[1:])
                assert thread.submit(reader.head).result() == head_of(rows)
                assert thread.submit(reader.read, 3, 10).result() == stored(rows[1:])
                assert thread.submit(reader.read_control).result() == stored(rows[1:2])
                of_job = thread.submit(reader.read_job, "a", 0, 10).result()
                assert of_job == stored([rows[0], rows[2]])
                receipt = thread.submit(reader.receipt, rows[2].batch_id).result()
                assert receipt == stored(rows)[2]
                thread.submit(reader.close).result()
                thread.submit(reader.close).result()
                with pytest.raises(StorageError):
                    thread.submit(reader.read, 1, 10).result()
            log.append([make_row(head_of(rows))])

    def test_a_reader_in_the_midst_of_appends_sees_whole_rows(self, open_log: OpenLog) -> None:
        """What it reads is a beginning of the log, whatever is being appended."""
        count = 200
        with contextlib.closing(open_log()) as log, ThreadPoolExecutor(1) as thread:
            rows = make_rows(log.head(), [2] * count)

            def look() -> list[LogRow]:
                reader = log.reader()
                seen: list[LogRow] = []
                while len(seen) < count:
                    page = reader.read(1, 2 * count)
                    assert page[: len(seen)] == seen
                    seen = page
                reader.close()
                return seen

            seen = thread.submit(look)
            for row in rows:
                log.append([row])
            assert seen.result() == stored(rows)

    def test_a_closed_log_says_so(self, open_log: OpenLog) -> None:
        """Closing twice is harmless; using it afterwards is an error and not silence."""
        log = open_log()
        row = make_row(log.head())
        log.close()
        log.close()
        with pytest.raises(StorageError):
            log.append([row])
        with pytest.raises(StorageError):
            log.read(1, 1)
        with pytest.raises(StorageError):
            log.reader()

    def test_a_new_log_has_no_snapshot_and_nothing_is_gone(self, open_log: OpenLog) -> None:
        """The Hub replays all of it."""
        with contextlib.closing(open_log()) as log:
            assert log.snapshots() == []
            assert log.floor() == 1
            with pytest.raises(StorageDamaged):
                log.read_snapshot(1)

    def test_a_snapshot_comes_back_byte_for_byte(self, open_log: OpenLog) -> None:
        """Also a large one, also after reopening, with the chain of the log at its seq."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [2, 3, 4])
            log.append(rows)
            states = [store(log, 5), store(log, 9, 5 << 20)]
        with contextlib.closing(open_log()) as log:
            newest, older = log.snapshots()
            assert (newest.seq, newest.chain) == (9, rows[2].chain)
            assert (older.seq, older.chain) == (5, rows[1].chain)
            found = [log.read_snapshot(head.number) for head in (older, newest)]
            assert found == states
            assert log.read(1, 100) == rows

    def test_two_snapshots_are_kept(self, open_log: OpenLog) -> None:
        """Below the floor they are the only copy of what was, and one is none."""
        with contextlib.closing(open_log()) as log:
            log.append(make_rows(log.head(), [1] * 5))
            for seq in (1, 2, 4, 5, 5):
                store(log, seq)
            assert [head.seq for head in log.snapshots()] == [5, 5]
            assert len({head.number for head in log.snapshots()}) == 2  # noqa: PLR2004

    def test_a_snapshot_that_was_not_finished_never_was(self, open_log: OpenLog) -> None:
        """The Hub may be killed between two steps; appends come between them."""
        with contextlib.closing(open_log()) as log:
            log.append(make_rows(log.head(), [1] * 3))
            first = store(log, 1)
            steps = log.snapshot(make_state(3, 3 << 20), 3)
            next(steps)
            log.append([make_row(log.head())])
            assert [head.seq for head in log.snapshots()] == [1]
        with contextlib.closing(open_log()) as log:
            assert [head.seq for head in log.snapshots()] == [1]
            last = store(log, 4, 2 << 20)
            states = [log.read_snapshot(head.number) for head in log.snapshots()]
            assert states == [last, first]

    def test_a_snapshot_ends_with_a_batch(self, open_log: OpenLog) -> None:
        """Within one there is no chain value that it could be held against."""
        with contextlib.closing(open_log()) as log:
            log.append(make_rows(log.head(), [2, 2]))
            for seq in (1, 5):
                with pytest.raises(AssertionError):
                    store(log, seq)
            assert log.snapshots() == []

    def test_a_dropped_body_leaves_its_row(self, open_log: OpenLog) -> None:
        """The chain goes on over it, and its batch id stays taken."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [1, 2, 1, 1])
            log.append([row._replace(job_ids=("a",)) for row in rows])
            store(log, 4)
            store(log, 5)
            log.compact([rows[0].first_seq, rows[1].first_seq])
        with contextlib.closing(open_log()) as log:
            bare = [row._replace(body=b"") for row in rows[:2]]
            assert log.read(1, 100) == bare + rows[2:]
            assert log.read_job("a", 0, 2) == bare
            assert log.receipt(rows[1].batch_id) == bare[1]
            assert log.floor() == rows[2].first_seq
            with pytest.raises(StorageKnown):
                log.append([make_row(log.head(), batch_id=rows[0].batch_id)])
            store(log, 5)
            log.compact([])
            assert log.floor() == rows[2].first_seq

    def test_the_floor_does_not_fall(self, open_log: OpenLog) -> None:
        """What is above it is whole, whatever went first."""
        with contextlib.closing(open_log()) as log:
            log.append(make_rows(log.head(), [1] * 12))
            store(log, 12)
            store(log, 12)
            for first_seq, floor in ((2, 3), (10, 11), (9, 11)):
                log.compact([first_seq])
                assert log.floor() == floor

    @pytest.mark.parametrize("wrong", [3, 4, 5, 99])
    def test_what_is_needed_is_not_dropped(self, open_log: OpenLog, wrong: int) -> None:
        """A registration, what the older snapshot does not hold, what is not there: none goes."""
        with contextlib.closing(open_log()) as log:
            rows = make_rows(log.head(), [1, 1, 1, 2, 1])
            rows[2] = rows[2]._replace(flags=1)
            log.append(rows)
            store(log, 3)
            with pytest.raises(AssertionError):
                log.compact([1])  # one snapshot is none
            store(log, 6)
            with pytest.raises(AssertionError):
                log.compact([1, wrong])
            assert log.read(1, 100) == rows
            assert log.floor() == 1
            log.compact([1])

    @pytest.mark.parametrize("seed", range(SEED_COUNT))
    def test_any_history_reads_as_a_list_does(self, open_log: OpenLog, seed: int) -> None:
        """Appends, refusals and reopenings in any order give what a plain list would give."""
        rng = random.Random(seed)  # noqa: S311 - the seed is the test's name
        log = open_log()
        model: list[LogRow] = []
        try:
            for _ in range(60):
                _one_step(rng, log, model)
                if rng.random() < 0.1:  # noqa: PLR2004
                    log.close()
                    log = open_log()
        finally:
            log.close()


def _one_step(rng: random.Random, log: EventLog, model: list[LogRow]) -> None:
    """Append something, then compare every way of reading with the list."""
    rows = [
        row._replace(flags=rng.randrange(2), job_ids=tuple(rng.sample("abcd", rng.randrange(4))))
        for row in make_rows(log.head(), [rng.randrange(1, 5) for _ in range(rng.randrange(4))])
    ]
    log.append(rows)
    model.extend(rows)
    end = model[-1].first_seq + model[-1].count if model else 1
    seq, limit, job_id = rng.randrange(end + 2), rng.randrange(1, 8), rng.choice("abcd")
    assert log.head().last_seq == end - 1
    page: list[LogRow] = []
    for row in model:
        if row.first_seq + row.count > seq and sum(r.count for r in page) < limit:
            page.append(row)
    assert log.read(seq, limit) == stored(page)
    assert log.read_control() == stored([row for row in model if row.flags & 1])
    of_job = [r for r in model if job_id in r.job_ids and r.first_seq + r.count - 1 > seq]
    assert log.read_job(job_id, seq, limit) == stored(of_job[:limit])
