"""How long output is kept: up to a quota and for a time, oldest first; and that this is told."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hpc.hub import outputs
from hpc.hub.frames import Header, encode
from hpc.hub.outputs import OutputStore

DAY_MS = 86_400_000
PACK = 4096


class Clock:
    """Stands until it is set."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def wall_ms(self) -> int:
        return self.now_ms

    def boottime_ms(self) -> int:
        return self.now_ms


class Folder:
    """A store that is opened again and again, and what it was told."""

    def __init__(self, path: Path, **limits: int) -> None:
        self.path = path
        self.limits = limits
        self.clock = Clock()
        self.store = self.opened()

    def opened(self) -> OutputStore:
        return OutputStore(self.path, pack_bytes_max=PACK, clock=self.clock, **self.limits)

    def close(self) -> None:
        self.store.close()

    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    def packs(self) -> list[Path]:
        return sorted((self.path / "outputs").glob("*.pack"))

    def put(self, task: int, size: int = 900) -> None:
        """Store a whole stream of a task; its pack was written when the clock says."""
        header = Header(
            job_id="j", task=task, attempt=1, stream="stdout", offset=0, length=size, end=True
        )
        self.store.append([encode(header, bytes([task % 256]) * size)])
        newest = self.packs()[-1]
        os.utime(newest, ns=(self.clock.now_ms * 1_000_000,) * 2)

    def known(self) -> list[int]:
        """The tasks of which there is output; each is whole."""
        tasks = []
        for task in range(1000):
            view = self.store.read("j", task, "stdout")
            if view is None:
                continue
            found = b"".join(self.store.data(segment) for segment in view.segments)
            assert found == bytes([task % 256]) * (view.total or 0)
            tasks.append(task)
        return tasks


@pytest.mark.parametrize("at_a_time", [3, 2000])
def test_of_more_than_the_quota_the_oldest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """Whole packs, from the oldest on, however little is forgotten at a time."""
    monkeypatch.setattr(outputs, "FORGET_STREAMS", at_a_time)
    folder = Folder(tmp_path, quota_bytes=3 * PACK)
    with closing(folder):
        for task in range(60):
            folder.put(task)
        known = folder.known()
        assert known[-1] == 59
        assert known == list(range(known[0], 60))
        assert 12 <= len(known) <= 24
        assert len(folder.packs()) <= 6
        assert folder.store.removed_before_ms is not None
        folder.reopen()
        assert folder.known() == known


def test_what_is_older_than_its_time_goes_with_the_next_output(tmp_path: Path) -> None:
    """Also where it would never fill a pack."""
    folder = Folder(tmp_path, keep_ms=30 * DAY_MS)
    with closing(folder):
        folder.put(1, 10)
        assert folder.store.removed_before_ms is None
        folder.clock.now_ms += 29 * DAY_MS
        folder.put(2, 10)
        assert folder.known() == [1, 2]
        folder.clock.now_ms += 2 * DAY_MS
        folder.put(3, 10)
        assert folder.known() == [2, 3]
        assert folder.store.removed_before_ms == folder.clock.now_ms - 2 * DAY_MS
        folder.reopen()
        assert folder.known() == [2, 3]


def test_a_stream_that_goes_on_begins_packs_by_time(tmp_path: Path) -> None:
    """Otherwise what is written slowly and for long would never go."""
    folder = Folder(tmp_path, keep_ms=16 * DAY_MS)
    with closing(folder):
        for offset in range(6):
            header = Header(job_id="j", task=0, attempt=1, stream="stdout", offset=offset, length=1)
            folder.store.append([encode(header, b"x")])
            folder.clock.now_ms += 2 * DAY_MS
        assert len(folder.packs()) == 6


def test_a_stream_that_goes_on_is_kept_as_far_as_its_packs_are(tmp_path: Path) -> None:
    """What was in a pack that is gone is a hole, as any other that the Hub has not got."""
    folder = Folder(tmp_path, quota_bytes=PACK)
    with closing(folder):
        for offset in range(0, 12 * 900, 900):
            header = Header(
                job_id="j", task=0, attempt=1, stream="stdout", offset=offset, length=900
            )
            folder.store.append([encode(header, b"x" * 900)])
        view = folder.store.read("j", 0, "stdout")
        assert view is not None
        assert view.segments[0].offset > 0
        assert view.segments[-1].end == 12 * 900
        for segment in view.segments:
            assert folder.store.data(segment) == b"x" * segment.length


LONG = 240
"""Pieces of 4,000 bytes that the stream below has: about 1 MB."""


def put_piece(folder: Folder, number: int) -> None:
    header = Header(
        job_id="j", task=0, attempt=1, stream="stdout", offset=4000 * number, length=4000
    )
    folder.store.append([encode(header, bytes([number]) * 4000)])


@pytest.fixture
def long_stream(tmp_path: Path) -> Iterator[Folder]:
    """A folder with one stream over many packs, of which the quota has left the last few."""
    folder = Folder(tmp_path, quota_bytes=40 * PACK)
    with closing(folder):
        for number in range(LONG):
            put_piece(folder, number)
        yield folder


def test_what_is_left_of_a_stream_is_read_from_its_start_on(long_stream: Folder) -> None:
    """However few segments are asked for at a time, and wherever in the hole it is begun."""
    view = long_stream.store.read("j", 0, "stdout")
    assert view is not None
    left = view.segments
    assert 40 <= len(left) < LONG
    assert (left[0].offset, left[-1].end) == (4000 * (LONG - len(left)), 4000 * LONG)
    for offset in (0, 1, 4000, left[0].offset - 1, left[0].offset + 3999):
        view = long_stream.store.read("j", 0, "stdout", offset=offset, limit=1)
        assert view is not None
        assert view.segments == left[:1]
    assert long_stream.store.data(left[0]) == bytes([left[0].offset // 4000]) * 4000


def test_what_is_gone_is_stored_when_it_comes_again(long_stream: Folder) -> None:
    """A relay that has it sends it to a reader who asks, and it is there after a restart too."""
    for again in (False, True):
        put_piece(long_stream, 0)
        view = long_stream.store.read("j", 0, "stdout", limit=1)
        assert view is not None
        assert [(one.offset, one.length) for one in view.segments] == [(0, 4000)]
        assert long_stream.store.data(view.segments[0]) == bytes(4000)
        if not again:
            long_stream.reopen()
    straddling = Header(job_id="j", task=0, attempt=1, stream="stdout", offset=2000, length=4000)
    long_stream.store.append([encode(straddling, bytes(2000) + b"y" * 2000)])
    view = long_stream.store.read("j", 0, "stdout", limit=2)
    assert view is not None
    assert [(one.offset, one.length) for one in view.segments] == [(0, 4000), (4000, 2000)]
    assert long_stream.store.data(view.segments[1]) == b"y" * 2000


@pytest.mark.parametrize(
    ("bodies", "streams", "size"), [(1, 3000, 700), (8, 1, 900_000)], ids=["many", "large"]
)
def test_the_quota_holds_however_much_comes_at_a_time(
    tmp_path: Path, bodies: int, streams: int, size: int
) -> None:
    """More streams in a turn than are forgotten at a time, or more packs than one."""
    pack, quota = 1 << 20, 4 << 20
    clock = Clock()
    store = OutputStore(tmp_path, pack_bytes_max=pack, quota_bytes=quota, clock=clock)
    came = bodies * streams * (size + 200)
    with closing(store):
        for turn in range(20):
            store.append([
                b"".join(
                    encode(
                        Header(
                            job_id=f"j{turn}-{body}", task=task, attempt=1, stream="stdout",
                            offset=0, length=size, end=True,
                        ),
                        b"x" * size,
                    )
                    for task in range(streams)
                )
                for body in range(bodies)
            ])  # fmt: skip
            sizes = [path.stat().st_size for path in (tmp_path / "outputs").glob("*.pack")]
            assert sum(sizes) <= quota + 3 * pack
        assert turn * came > 5 * quota
        view = store.read(f"j19-{bodies - 1}", streams - 1, "stdout")
        assert view is not None
        assert view.total == size
        assert store.read("j0-0", 0, "stdout") is None


def test_a_lost_index_brings_nothing_back(tmp_path: Path) -> None:
    """The packs are what there is."""
    rng = random.Random(7)
    folder = Folder(tmp_path, quota_bytes=2 * PACK)
    with closing(folder):
        for task in range(80):
            folder.put(task, rng.randrange(1, 1500))
        known = folder.known()
        folder.store.close()
        for path in (tmp_path / "outputs").glob("index.sqlite3*"):
            path.unlink()
        folder.store = folder.opened()
        again = folder.known()
        assert again[-len(known) :] == known
        assert folder.store.removed_before_ms is not None


def test_fault_46_what_only_a_clock_that_jumped_calls_old_is_kept(tmp_path: Path) -> None:
    """The engine says by how much it has; output that is gone does not come back."""
    with closing(Folder(tmp_path, keep_ms=30 * DAY_MS)) as folder:
        for task in range(5):
            folder.put(task)
        folder.clock.now_ms += 100 * DAY_MS
        folder.store.ahead_ms = 100 * DAY_MS
        folder.put(5)
        assert folder.known() == [0, 1, 2, 3, 4, 5]
        folder.store.ahead_ms = 0  # it is believed
        folder.put(6)
        folder.put(7)
        assert 0 not in folder.known()
