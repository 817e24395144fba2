"""Small streams that came whole: one row of the index for many, read as if each had its own."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from output_frames import content, frame

from hpc.hub import outputs_index
from hpc.hub.outputs import OutputStore
from hpc.hub.outputs_blocks import SPAN

SEED = 11


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[[], OutputStore]:
    return lambda: OutputStore(tmp_path, pack_bytes_max=1 << 16)


@pytest.fixture
def store(open_store: Callable[[], OutputStore]) -> Iterator[OutputStore]:
    with closing(open_store()) as opened:
        yield opened


def rows(data: Path, table: str) -> int:
    """Return how many rows a table of the closed index has."""
    with closing(sqlite3.connect(data / "outputs" / outputs_index.INDEX)) as db:
        ((count,),) = db.execute(f"SELECT count(*) FROM {table}")
        return int(count)


def test_many_small_streams_take_one_row(store: OutputStore, tmp_path: Path) -> None:
    """Of both streams, several attempts and tasks, also of one that wrote nothing."""
    tasks = range(40, 90)
    store.append(
        [
            b"".join(
                frame(b"%d.%d.%s" % (task, attempt, name.encode()) if task != 41 else b"",
                      task=task, attempt=attempt, stream=name, end=True)
                for task in tasks for attempt in (1, 2) for name in ("stdout", "stderr")
            )
        ]
    )  # fmt: skip
    for task in tasks:
        for name in ("stdout", "stderr"):
            view = store.read("fit-1", task, name)
            expected = {} if task == 41 else {0: b"%d.2.%s" % (task, name.encode())}
            assert content(store, view) == expected
            assert view is not None
            assert (view.attempt, view.total) == (2, len(expected.get(0, b"")))
            assert store.read("fit-1", task, name, attempt=3) is None
    assert store.read("fit-1", 39, "stdout") is None
    assert store.read("fit-2", 40, "stdout") is None
    store.close()
    assert (rows(tmp_path, "blocks"), rows(tmp_path, "streams")) == (1, 0)


def test_more_of_a_stream_that_came_whole(
    store: OutputStore, open_store: Callable[[], OutputStore], tmp_path: Path
) -> None:
    """A relay that contradicts itself: what was told first holds, what is new is added."""
    store.append([frame(b"one", task=1, end=True) + frame(b"two", task=2, end=True)])
    store.append([frame(b"twice as long", task=2, end=True)])

    def read(opened: OutputStore) -> list[object]:
        views = [opened.read("fit-1", task, "stdout") for task in (1, 2)]
        return [(content(opened, view), view and view.total) for view in views]

    expected = [({0: b"one"}, 3), ({0: b"twoce as long"}, 13)]
    assert read(store) == expected
    store.close()
    assert (rows(tmp_path, "blocks"), rows(tmp_path, "streams")) == (1, 1)
    outputs_index.remove(tmp_path / "outputs")
    with closing(open_store()) as opened:
        assert read(opened) == expected


def test_a_reader_gets_what_ends_after_its_offset(store: OutputStore) -> None:
    store.append([frame(b"abc", end=True)])
    for offset in range(5):
        view = store.read("fit-1", 0, "stdout", offset=offset)
        assert view is not None
        assert bool(view.segments) == (offset < 3)
        assert view.total == 3


@pytest.mark.parametrize("seed", range(5))
def test_streams_in_any_order_repeated_over_restarts(
    open_store: Callable[[], OutputStore], tmp_path: Path, seed: int
) -> None:
    """Tasks far apart and close together, bodies that come again whole, in part and mixed."""
    rng = random.Random(SEED + seed)
    told: dict[tuple[int, int], bytes] = {}
    bodies: list[list[tuple[int, int]]] = []
    store = open_store()
    for _ in range(40):
        near = rng.randrange(4 * SPAN)
        keys = [
            (max(near + round(rng.gauss(0, SPAN / 2)), 0), rng.randrange(1, 3)) for _ in range(12)
        ]
        if bodies and rng.random() < 0.4:
            keys = rng.choice(bodies) + keys[: rng.randrange(3)]
        bodies.append(keys)
        for key in keys:
            told.setdefault(key, b"%d of %d" % key)
        store.append(
            [b"".join(frame(told[key], task=key[0], attempt=key[1], end=True) for key in keys)]
        )
        if rng.random() < 0.2:
            store.close()
            if rng.random() < 0.5:
                outputs_index.remove(tmp_path / "outputs")
            store = open_store()
    for (task, attempt), data in told.items():
        view = store.read("fit-1", task, "stdout", attempt=attempt)
        assert content(store, view) == {0: data}
    store.close()
    packs = sorted((tmp_path / "outputs").glob("*.pack"))
    stored = b"".join(pack.read_bytes() for pack in packs)
    assert all(stored.count(b"%d of %d" % key) >= 1 for key in told)
    assert stored.count(b'"job_id"') == len(told), "each was stored once"
