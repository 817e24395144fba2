"""Cuts the power after every operation, and fails every operation, of a workload; counts.

What a cut can leave is laid out and opened by the code that ships. States that are the same bytes
after the same acknowledgement are looked at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest import mock

import msgspec

from hpc.errors import HpcError
from hpc.hub import upkeep
from hpc.storage import sqlite_connect, sqlite_snapshots
from hpc.testing.disk.power_cut import Files, PowerCut, lay_out
from hpc.testing.disk.tape import FaultVfs, Op, recorded
from hpc.testing.disk.workloads import TURNS, HubWork, NodeWork, Workload

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of ours is made in it
"""Thousands of logs are opened: in memory, where there is some."""


class Counts(msgspec.Struct):
    """What a run has found.

    Attributes:
        points: Operations after which the power was cut, or that failed.
        states: Of the disk that were opened.
        acknowledged: What clients had been told was recorded.
        lost: States in which some of that is not there, and nothing says so.
        damaged: States that are refused as damaged.
        wrong: States that are opened and say what was never recorded.
        first: The first that should not be, with its seed.
    """

    points: int = 0
    states: int = 0
    acknowledged: int = 0
    lost: int = 0
    damaged: int = 0
    wrong: int = 0
    first: str = ""

    @property
    def is_good(self) -> bool:
        """Whether something was tried, and nothing found."""
        return self.states > 0 < self.acknowledged and not (self.lost or self.damaged or self.wrong)

    def take(self, verdict: str, where: str) -> None:
        """Count one state."""
        self.states += 1
        if verdict != "whole":
            field = {"named": "damaged"}.get(verdict, verdict)
            setattr(self, field, getattr(self, field) + 1)
            self.first = self.first or f"{verdict}: {where}"


def works(seed: int, *, turns: int) -> list[Workload]:
    """Return what is tried with a seed."""
    return [HubWork(seed, turns=turns), NodeWork(seed, turns=turns)]


def cut_power(
    seeds: Iterable[int], *, turns: int = TURNS, torn_bytes: int = 512, is_lying: bool = False
) -> Counts:
    """Cut the power after every operation, once for each seed.

    Args:
        seeds: Each is another history, with other tears.
        turns: How long a history is.
        torn_bytes: See `PowerCut`.
        is_lying: The disk stops to obey syncs with the first acknowledgement: something will be
            found.
    """
    counts = Counts()
    with _small():
        for seed in seeds:
            for work in works(seed, turns=turns):
                _cut(work, seed, counts, torn_bytes=torn_bytes, is_lying=is_lying)
    return counts


def fail_everywhere(
    seeds: Iterable[int], number: int, *, turns: int = TURNS, for_: int = 1
) -> Counts:
    """Fail every operation in turn, once for each seed, and look at what was left.

    Args:
        seeds: Each is another history.
        number: The errno, such as `errno.EIO`.
        turns: How long a history is.
        for_: How many operations fail, one after the other; 0: all from there on.
    """
    counts = Counts()
    with _small():
        for seed in seeds:
            for work in works(seed, turns=turns):
                _fail(work, seed, counts, number, for_)
    return counts


def _cut(work: Workload, seed: int, counts: Counts, *, torn_bytes: int, is_lying: bool) -> None:
    ops = _tape_of(work).ops
    disk = PowerCut(torn_bytes=torn_bytes)
    rng = random.Random(seed)  # noqa: S311 - a seed decides everything
    acked = 0
    seen: set[bytes] = set()
    with _folder() as place:
        for at, op in enumerate(ops):
            if op.kind == "ack":
                acked += 1
                disk.is_lying = is_lying
                seen.clear()
                continue
            disk.do(op)
            counts.points += 1
            for number, files in enumerate(disk.states(rng)):
                if (key := _key(files)) in seen:
                    continue
                seen.add(key)
                lay_out(files, place)
                where = f"{type(work).__name__}, seed {seed}, operation {at}, state {number}"
                counts.take(work.look(place, acked), where)
    counts.acknowledged += acked


def _fail(work: Workload, seed: int, counts: Counts, number: int, for_: int) -> None:
    total = len([op for op in _tape_of(work).ops if op.kind != "ack"])
    for at in range(total):
        left = iter(range(at + for_ if for_ else 1 << 60))

        def fault(_op: Op, left: Iterator[int] = left, at: int = at) -> int | None:
            return number if next(left, -1) >= at else None

        with _folder() as root:
            acked = 0
            with recorded(root) as tape:
                tape.fault = fault
                with contextlib.suppress(HpcError, OSError):
                    work.run(root, lambda: tape.ops.append(Op("ack", "")))
                acked = sum(op.kind == "ack" for op in tape.ops)
            counts.points += 1
            counts.acknowledged += acked
            where = f"{type(work).__name__}, seed {seed}, {os.strerror(number)} at operation {at}"
            counts.take(work.look(root, acked), where)


def _tape_of(work: Workload) -> FaultVfs:
    """Run a workload on a disk without faults."""
    with _folder() as root, recorded(root) as tape:
        work.run(root, lambda: tape.ops.append(Op("ack", "")))
    return tape


def _key(files: Files) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for name, content in files.items():
        found.update(f"{name}\0{-1 if content is None else len(content)}\0".encode())
        found.update(content or b"")
    return found.digest()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="hpc-disk-", dir=where, ignore_cleanup_errors=True) as made:
        yield Path(made).resolve()


@contextlib.contextmanager
def _small() -> Iterator[None]:
    """Make everything that is done now and then be done often; what is said goes nowhere."""
    with (
        mock.patch.object(sqlite_connect, "CHECKPOINT_PAGES", 12),
        mock.patch.object(sqlite_snapshots, "PART_BYTES", 3000),
        mock.patch.object(upkeep, "FREE_BYTES_MIN", 0),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield
