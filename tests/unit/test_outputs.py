"""The output of tasks: frames in, streams out, through crashes, repeats and overlaps."""

import json
import os
import random
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from output_frames import content, frame

from hpc.errors import Refused, StorageDamaged, StorageError, StorageFull
from hpc.hub import outputs_index
from hpc.hub.frames import parse
from hpc.hub.outputs import OutputStore
from hpc.hub.packs import Packs

SEED = 11


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[[], OutputStore]:
    return lambda: OutputStore(tmp_path, pack_bytes_max=4096)


@pytest.fixture
def store(open_store: Callable[[], OutputStore]) -> Iterator[OutputStore]:
    with closing(open_store()) as opened:
        yield opened


def test_what_was_written_is_read(store: OutputStore) -> None:
    """One pack carries the output of many tasks."""
    pack = frame(b"out", end=True) + frame(b"err", stream="stderr") + frame(b"two", task=2)
    (stored,) = store.append([pack])
    assert stored.answer == (200, b'{"bytes":9}')
    assert stored.job_ids == {"fit-1"}
    view = store.read("fit-1", 0, "stdout")
    assert content(store, view) == {0: b"out"}
    assert view is not None
    assert (view.attempt, view.total) == (1, 3)
    view = store.read("fit-1", 0, "stderr")
    assert content(store, view) == {0: b"err"}
    assert view is not None
    assert view.total is None
    assert content(store, store.read("fit-1", 2, "stdout")) == {0: b"two"}
    assert store.read("fit-1", 1, "stdout") is None
    assert store.read("fit-2", 0, "stdout") is None


def test_the_newest_attempt_is_read_unless_one_is_named(store: OutputStore) -> None:
    """After a retry nobody wants the first try's output, except to compare."""
    store.append([frame(b"first"), frame(b"third", attempt=3)])
    assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"third"}
    assert content(store, store.read("fit-1", 0, "stdout", attempt=1)) == {0: b"first"}
    assert store.read("fit-1", 0, "stdout", attempt=2) is None
    other = store.read("fit-1", 0, "stderr")
    assert other is not None
    assert (other.attempt, other.segments) == (3, [])


def test_head_and_tail_of_a_long_stream_leave_a_gap(store: OutputStore) -> None:
    """Of streams beyond 64 KiB the middle stays at the relay; the total is known all the same."""
    store.append([frame(b"head"), frame(b"tail", offset=1000, end=True)])
    view = store.read("fit-1", 0, "stdout")
    assert content(store, view) == {0: b"head", 1000: b"tail"}
    assert view is not None
    assert view.total == 1004


def test_fault_50_a_hole_is_known_as_bytes_are(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """In whatever order and however often it is told; what came before it was made stays."""
    with closing(open_store()) as store:
        store.append([frame(b"seen", offset=4)])
        for _ in range(2):
            store.append([frame(b"head"), frame(offset=4, gone=96), frame(offset=100, gone=900)])
            store.append([frame(b"late", offset=50), frame(b"tail", offset=1000, end=True)])
        size = (tmp_path / "outputs" / "000001.pack").stat().st_size
        store.append([frame(offset=4, gone=996)])
        assert (tmp_path / "outputs" / "000001.pack").stat().st_size == size
        before = store.read("fit-1", 0, "stdout")
    assert before is not None
    assert before.total == 1004
    assert [(one.offset, one.end, one.is_kept) for one in before.segments] == [
        (0, 4, True), (4, 8, True), (8, 100, False), (100, 1000, False), (1000, 1004, True),
    ]  # fmt: skip
    (tmp_path / "outputs" / "index.sqlite3").unlink()
    with closing(open_store()) as store:
        assert store.read("fit-1", 0, "stdout") == before
        assert [store.data(one) for one in before.segments if one.is_kept][1] == b"seen"


def test_frames_that_come_again_change_nothing(store: OutputStore, tmp_path: Path) -> None:
    """A relay repeats a pack whose answer was lost."""
    pack = frame(b"abc") + frame(b"de", offset=3, end=True) + frame(b"", task=5, end=True)
    store.append([pack])
    size = (tmp_path / "outputs" / "000001.pack").stat().st_size
    for _ in range(3):
        assert store.append([pack, pack])[1].answer.status == 200
    assert (tmp_path / "outputs" / "000001.pack").stat().st_size == size
    assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"abcde"}


@pytest.mark.parametrize("again", [0, 1])
def test_new_streams_beside_one_that_is_known_or_comes_twice(
    store: OutputStore, open_store: Callable[[], OutputStore], tmp_path: Path, again: int
) -> None:
    """All are kept, each byte once, and a rebuilt index says the same."""
    if again == 0:
        store.append([frame(b"known", task=1)])
    new = frame(b"one", task=0, end=True) + frame(b"known more", task=1, end=True)
    store.append([new, frame(b"two", task=2, end=True), frame(b"known", task=again)])

    def read(opened: OutputStore) -> list[dict[int, bytes]]:
        return [content(opened, opened.read("fit-1", task, "stdout")) for task in range(3)]

    expected = [{0: b"one"}, {0: b"known more"}, {0: b"two"}]
    if again == 0:
        expected[0] = {0: b"onewn"}  # a relay that contradicts itself: the first word holds
    assert read(store) == expected
    store.close()
    outputs_index.remove(tmp_path / "outputs")
    with closing(open_store()) as opened:
        assert read(opened) == expected


def test_an_overlap_keeps_each_byte_once(store: OutputStore) -> None:
    """A tail is sent in pieces while somebody reads, and whole at the end."""
    whole = bytes(range(200))
    store.append([frame(whole[20:50], offset=20), frame(whole[70:90], offset=70)])
    store.append([frame(whole[40:80], offset=40)])
    assert content(store, store.read("fit-1", 0, "stdout")) == {20: whole[20:90]}
    store.append([frame(whole, end=True)])
    view = store.read("fit-1", 0, "stdout")
    assert content(store, view) == {0: whole}
    assert view is not None
    assert view.total == 200
    assert [s.length for s in view.segments] == [20, 30, 20, 20, 110]


def test_the_end_may_be_told_after_the_bytes(store: OutputStore) -> None:
    """All bytes of a tailed stream may have been sent before its task ends."""
    store.append([frame(b"abc")])
    store.append([frame(offset=3, end=True)])
    view = store.read("fit-1", 0, "stdout")
    assert view is not None
    assert (content(store, view), view.total) == ({0: b"abc"}, 3)


def test_now_tells_a_reader_that_it_has_all_there_is(store: OutputStore) -> None:
    """A reader of a task that has written nothing yet must not wait for ever."""
    store.append([frame(now=True)])
    view = store.read("fit-1", 0, "stdout", attempt=1)
    assert view is not None
    assert (view.segments, view.now_bytes, view.now_count) == ([], 0, 1)
    store.append([frame(b"abc"), frame(b"de", offset=3, now=True)])
    view = store.read("fit-1", 0, "stdout")
    assert view is not None
    assert (view.now_bytes, view.now_count, view.total) == (5, 2, None)


def test_reading_goes_on_where_it_stopped(store: OutputStore) -> None:
    """A long stream is read in pages, from any byte of it."""
    whole = random.Random(SEED).randbytes(5000)
    for at in range(0, 5000, 100):
        store.append([frame(whole[at : at + 100], offset=at)])
    read = b""
    while len(read) < 4950:
        view = store.read("fit-1", 0, "stdout", offset=50 + len(read), limit=7)
        assert view is not None
        assert 0 < len(view.segments) <= 7
        for segment in view.segments:
            while (at := 50 + len(read)) < segment.end:
                read += store.data(segment, offset=at, limit=33)
    assert read == whole[50:]


def test_packs_are_bounded_and_survive_a_restart(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """Many files of bounded size can be dropped one by one."""
    with closing(open_store()) as store:
        for task in range(40):
            store.append([frame(bytes([task]) * 900, task=task)])
    packs = sorted((tmp_path / "outputs").glob("*.pack"))
    assert len(packs) == 10
    assert all(p.stat().st_size <= 4096 for p in packs)
    with closing(open_store()) as store:
        store.append([frame(b"more", task=40)])
        for task in range(40):
            assert content(store, store.read("fit-1", task, "stdout")) == {0: bytes([task]) * 900}
        assert content(store, store.read("fit-1", 40, "stdout")) == {0: b"more"}


def test_one_pack_that_is_refused_does_not_hold_up_the_others(store: OutputStore) -> None:
    """Packs of many relays share a turn."""
    good, bad, other = store.append([frame(b"a"), frame(b"b")[:-1], frame(b"c", task=1)])
    assert [good.answer.status, bad.answer.status, other.answer.status] == [200, 422, 200]
    document = json.loads(bad.answer.body)
    assert document["code"] == "not_well_formed"
    assert document["errors"] == [
        {"frame": 0, "field": "length", "expected": "1 bytes", "got": "0 bytes"}
    ]
    assert bad.job_ids == frozenset()
    assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"a"}
    assert content(store, store.read("fit-1", 1, "stdout")) == {0: b"c"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"\x01", "header"),
        (struct.pack("<I", 5000) + b"{" * 5000, "header"),
        (struct.pack("<I", 10) + b"{}", "header"),
        (struct.pack("<I", 2) + b"{}", "header"),
        (struct.pack("<I", 2) + b"\xff\xff", "header"),
        (struct.pack("<I", 4000) + b"[" * 4000, "header"),
        (frame(b"x")[:-1], "length"),
        (frame(b"x") + frame(job_id="../../etc/passwd"), "job_id"),
        (frame(job_id=""), "job_id"),
        (frame(job_id="a" * 129), "job_id"),
        (frame(job_id="a\n"), "job_id"),
        (frame(job_id="-rf"), "job_id"),
        (frame(task=-1), "task"),
        (frame(task=2**32), "task"),
        (frame(task=True), "task"),
        (frame(attempt=-1), "attempt"),
        (frame(stream="stdin"), "stream"),
        (frame(offset=-1), "offset"),
        (frame(offset=2**63), "offset"),
        (frame(end=1), "end"),
        (frame(gone=-1), "gone"),
        (frame(gone=2**62), "gone"),
        (frame(b"x", gone=5), "header"),
        (frame(gone=5, end=True), "header"),
        (frame(colour="red"), "header"),
    ],
)
def test_a_frame_that_is_not_well_formed_is_refused(body: bytes, field: str) -> None:
    """Nothing that a relay sends may become a path, a huge number or a silent loss."""
    with pytest.raises(Refused) as refused:
        parse(body)
    assert refused.value.field == field
    assert refused.value.errors[0]["frame"] == body.startswith(frame(b"x"))


def test_a_lost_index_is_rebuilt_from_the_packs(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """The packs are the truth; the index is only quick."""
    whole = random.Random(SEED).randbytes(3000)
    with closing(open_store()) as store:
        store.append([frame(whole[1000:2000], offset=1000), frame(b"x", task=1, end=True)])
        store.append([frame(whole, end=True), frame(whole, task=2, attempt=4)])
        before = [store.read("fit-1", task, "stdout") for task in range(3)]
    for spoil in (_unlink, _rubbish, _foreign, _emptied):
        spoil(tmp_path / "outputs" / "index.sqlite3")
        with closing(open_store()) as store:
            assert [store.read("fit-1", task, "stdout") for task in range(3)] == before
            assert content(store, before[0]) == {0: whole}


def _unlink(path: Path) -> None:
    path.unlink()


def _rubbish(path: Path) -> None:
    path.write_bytes(b"\xa5" * 10_000)


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE flowers (name TEXT)")


def _emptied(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DELETE FROM packs")
        db.execute("DELETE FROM segments")
        db.execute("DELETE FROM streams")


def test_an_index_that_was_behind_catches_up(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """The index is not synced, so that a power cut may take its last changes."""
    index = tmp_path / "outputs" / "index.sqlite3"
    with closing(open_store()) as store:
        store.append([frame(b"old")])
    before = index.read_bytes()
    with closing(open_store()) as store:
        store.append([frame(b"new", task=1, end=True), frame(b"er", offset=3)])
    index.write_bytes(before)
    with closing(open_store()) as store:
        assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"older"}
        assert content(store, store.read("fit-1", 1, "stdout")) == {0: b"new"}


def test_an_index_of_bytes_that_are_gone_is_rebuilt(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """A pack restored from an older copy must not be read beyond its end."""
    pack = tmp_path / "outputs" / "000001.pack"
    with closing(open_store()) as store:
        store.append([frame(b"old")])
        before = pack.read_bytes()
        store.append([frame(b"new", task=1)])
    pack.write_bytes(before)
    with closing(open_store()) as store:
        assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"old"}
        assert store.read("fit-1", 1, "stdout") is None


@pytest.mark.parametrize("with_index", [True, False])
def test_a_torn_tail_is_cut_at_any_byte(
    open_store: Callable[[], OutputStore], tmp_path: Path, with_index: bool
) -> None:
    """What a crash left half written was never acknowledged; what was, is there."""
    folder = tmp_path / "outputs"
    with closing(open_store()) as store:
        store.append([frame(b"kept")])
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    kept = files["000001.pack"]
    with closing(open_store()) as store:
        store.append([frame(b"torn", task=1)])
    torn = (folder / "000001.pack").read_bytes()
    for path in folder.iterdir():
        path.unlink()
    for size in range(len(kept), len(torn)):
        for rest in (b"", b"\0" * 40, b"\xff" * 40):
            for name, data in files.items():
                if with_index or name == "000001.pack":
                    (folder / name).write_bytes(data)
            (folder / "000001.pack").write_bytes(torn[:size] + rest)
            with closing(open_store()) as store:
                assert (folder / "000001.pack").read_bytes() == kept
                assert store.read("fit-1", 1, "stdout") is None
            if size % 40 == 0:
                with closing(open_store()) as store:
                    store.append([frame(b"next", task=2)])
                    assert content(store, store.read("fit-1", 2, "stdout")) == {0: b"next"}
                with closing(open_store()) as store:
                    assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"kept"}
                    assert content(store, store.read("fit-1", 2, "stdout")) == {0: b"next"}
            for path in folder.iterdir():
                path.unlink()


def test_a_flipped_bit_costs_one_record(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """A rebuild steps over what is damaged, and cuts off nothing that is whole."""
    with closing(open_store()) as store:
        for task in range(3):
            store.append([frame(bytes([65 + task]) * 50, task=task)])
    pack = tmp_path / "outputs" / "000001.pack"
    data = bytearray(pack.read_bytes())
    data[data.index(b"B" * 50) + 7] ^= 1
    pack.write_bytes(data)
    (tmp_path / "outputs" / "index.sqlite3").unlink()
    with closing(open_store()) as store:
        assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"A" * 50}
        assert store.read("fit-1", 1, "stdout") is None
        assert content(store, store.read("fit-1", 2, "stdout")) == {0: b"C" * 50}
        assert pack.read_bytes() == data


def test_a_pack_that_was_removed_takes_only_its_own_bytes(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """An operator in need of space deletes the oldest files."""
    with closing(open_store()) as store:
        for task in range(10):
            store.append([frame(bytes(900), task=task)])
    (tmp_path / "outputs" / "000001.pack").unlink()
    with closing(open_store()) as store:
        view = store.read("fit-1", 0, "stdout")
        assert view is not None
        assert view.segments == []
        assert content(store, store.read("fit-1", 9, "stdout")) == {0: bytes(900)}


@pytest.mark.parametrize("step", ["write", "sync", "index"])
def test_fault_08_a_full_disk_stores_nothing_and_goes_on(
    open_store: Callable[[], OutputStore], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """507, the same pack again, 200."""
    packs = [frame(b"abc") + frame(bytes(3000), task=1), frame(bytes(3000), task=2)]

    def full(*_args: object) -> int:
        raise OSError(28, os.strerror(28))

    def full_index(*_args: object) -> None:
        raise apsw.FullError("planted")

    with closing(open_store()) as store:
        store.append([frame(b"old", task=9)])
        with monkeypatch.context() as patch:
            if step == "index":
                patch.setattr("hpc.hub.outputs_index.OutputsIndex.commit", full_index)
            else:
                patch.setattr(os, "pwrite" if step == "write" else "fdatasync", full)
            for _ in range(2):
                with pytest.raises(StorageFull):
                    store.append(packs)
            assert store.read("fit-1", 0, "stdout") is None
            assert content(store, store.read("fit-1", 9, "stdout")) == {0: b"old"}
        store.append(packs)
    with closing(open_store()) as store:
        assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"abc"}
        assert content(store, store.read("fit-1", 1, "stdout")) == {0: bytes(3000)}
        assert content(store, store.read("fit-1", 2, "stdout")) == {0: bytes(3000)}


def test_after_a_failed_sync_the_store_must_be_reopened(
    open_store: Callable[[], OutputStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync that failed is never tried again."""

    def broken(*_args: object) -> None:
        raise OSError(5, os.strerror(5))

    with closing(open_store()) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            with pytest.raises(StorageError):
                store.append([frame(b"abc")])
        with pytest.raises(StorageError):
            store.append([frame(b"abc")])
    with closing(open_store()) as store:
        store.append([frame(b"abc")])
        assert content(store, store.read("fit-1", 0, "stdout")) == {0: b"abc"}


def test_a_damaged_index_is_removed_and_said(
    open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """The next start rebuilds it; until then nothing wrong is answered."""
    with closing(open_store()) as store:
        for task in range(300):
            store.append([frame(b"x", task=task)])
    path = tmp_path / "outputs" / "index.sqlite3"
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xa5" * (len(data) - 4096))
    try:
        store = open_store()  # what it reads at the start may be intact
    except StorageDamaged:
        store = open_store()
    with closing(store):
        assert content(store, store.read("fit-1", 299, "stdout")) == {0: b"x"}


def test_an_answer_comes_after_a_sync(store: OutputStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finish of a task is reported after its output is stored, so the output must stay."""
    done: list[str] = []
    for name in ("pwrite", "fdatasync"):
        real = getattr(os, name)

        def recorded(*args: object, _real: Callable[..., int] = real, _name: str = name) -> int:
            done.append(_name)
            return _real(*args)

        monkeypatch.setattr(os, name, recorded)
    store.append([frame(b"x", task=task) for task in range(20)])
    assert done == ["pwrite", "fdatasync"]


@pytest.mark.parametrize("seed", range(20))
def test_any_history_reads_as_plain_bytes_do(
    open_store: Callable[[], OutputStore], tmp_path: Path, seed: int
) -> None:
    """Pieces in any order, repeated, overlapping, over restarts and lost indexes."""
    rng = random.Random(seed)
    truth = {task: rng.randbytes(300) for task in range(3)}
    known: dict[int, set[int]] = {task: set() for task in truth}
    ended: set[int] = set()
    store = open_store()
    for _ in range(40):
        frames = []
        for _ in range(rng.randrange(5)):
            task = rng.randrange(3)
            start = rng.randrange(301)
            stop = rng.choice([300, rng.randrange(start, 301)])
            is_end = stop == 300 and rng.random() < 0.3
            frames.append(
                frame(truth[task][start:stop], task=task, offset=start, end=is_end, now=True)
            )
            known[task] |= set(range(start, stop))
            ended |= {task} if is_end else set()
        store.append([b"".join(frames)])
        if rng.random() < 0.2:
            store.close()
            if rng.random() < 0.5:
                (tmp_path / "outputs" / "index.sqlite3").unlink()
            store = open_store()
        for task, data in truth.items():
            view = store.read("fit-1", task, "stdout")
            pieces = content(store, view) if view else {}
            assert all(data[at:].startswith(piece) for at, piece in pieces.items())
            assert {at + n for at, p in pieces.items() for n in range(len(p))} == known[task]
            assert (view.total if view else None) == (300 if task in ended else None)
    store.close()


def test_files_are_few(tmp_path: Path) -> None:
    """A thousand packs must not take a thousand file descriptors."""
    folder = tmp_path / "outputs"
    with closing(OutputStore(tmp_path, pack_bytes_max=200)) as store:
        for task in range(60):
            store.append([frame(bytes(20), task=task)])
        for task in range(60):
            store.read("fit-1", task, "stdout")
    packs = Packs(folder)
    assert len(packs.numbers) == 60
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in packs.numbers:
        packs.size(number)
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 33
    packs.close()
