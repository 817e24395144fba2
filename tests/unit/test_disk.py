"""Disks that lose power, fill up, break or lie under a Hub's folder and a relay's: the tier T3."""

from __future__ import annotations

import errno
import random
from contextlib import closing
from pathlib import Path

import pytest

from hpc.hub import packs
from hpc.relay import place
from hpc.storage import folder
from hpc.storage.sqlite import open_log
from hpc.testing.disk import Op, PowerCut, cut_power, fail_everywhere, recorded
from hpc.testing.disk.__main__ import main
from hpc.testing.disk.runner import _small
from hpc.testing.disk.workloads import HubWork

SEEDS = range(1, 13)


def test_fault_06_a_power_cut_after_any_operation_loses_nothing_that_was_acknowledged() -> None:
    """From the first file that a Hub and a relay make: names, bytes, tears and what came before."""
    counts = cut_power(SEEDS)
    assert counts.is_good, counts
    assert counts.points > 3000
    assert counts.acknowledged > 100


def test_fault_06_nor_does_one_that_tears_writes_at_any_byte() -> None:
    """Worse than any disk; every checksum is asked."""
    counts = cut_power(SEEDS[:2], torn_bytes=1)
    assert counts.is_good, counts


def test_fault_07_a_disk_that_lies_loses_the_end_or_is_named_but_nothing_else_is_said() -> None:
    """It cannot be survived; what is left is a former state or an error with a sentence."""
    counts = cut_power(SEEDS[:3], is_lying=True)
    assert counts.lost > 0 < counts.damaged
    assert counts.wrong == 0, counts.first


@pytest.mark.parametrize("for_", [1, 0])
def test_fault_08_a_disk_that_is_full_at_any_operation_loses_nothing(for_: int) -> None:
    """The Hub goes on by itself, or ends; what was acknowledged is there in both."""
    counts = fail_everywhere([1], errno.ENOSPC, for_=for_)
    assert counts.is_good, counts


def test_fault_11_a_disk_that_breaks_at_any_operation_loses_nothing() -> None:
    """Nothing is acknowledged after it, and the next start finds out what is there."""
    counts = fail_everywhere([2], errno.EIO)
    assert counts.is_good, counts


def test_a_history_has_snapshots_compaction_checkpoints_and_packs(tmp_path: Path) -> None:
    """Or the tests above would cut where nothing is written."""
    with _small(), recorded(tmp_path.resolve()) as tape:
        HubWork(1).run(tmp_path.resolve(), lambda: None)
    assert any(op.kind == "sync" and op.name == "hub/log.sqlite3" for op in tape.ops)
    assert {"hub/outputs/000001.pack", "hub/outputs/000002.pack"} <= tape.live
    with closing(open_log(tmp_path / "hub")) as log:
        assert len(log.snapshots()) == 2
        assert log.floor() > 1


def test_a_name_that_is_not_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner that finds nothing in broken code says nothing about sound code."""
    monkeypatch.setattr(folder, "sync_folder", lambda _folder: None)
    counts = cut_power([1])
    assert counts.lost > 0


def test_a_pack_whose_name_is_not_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, of output."""
    monkeypatch.setattr(packs, "sync_folder", lambda _folder: None)
    counts = cut_power([1])
    assert counts.lost > 0


def test_an_epoch_that_is_not_synced_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch that falls back would be another relay's (protocol R22)."""

    def replace(path: Path, content: bytes) -> None:
        path.with_suffix(".new").write_bytes(content)
        path.with_suffix(".new").replace(path)

    monkeypatch.setattr(place, "_replace", replace)
    counts = cut_power([1])
    assert counts.lost > 0
    assert "NodeWork" in counts.first


def test_nothing_that_was_tried_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that ran nothing must not be taken for one that found nothing."""
    assert main(["--seeds", "0"]) == 1
    assert "nothing was tried" in capsys.readouterr().err


def test_a_name_is_there_whole_or_not(tmp_path: Path) -> None:
    """Of a file that is renamed over another the one or the other is left, with its own bytes."""
    disk = PowerCut({"a": b"old"})
    for op in (
        Op("create", "a.new"),
        Op("write", "a.new", 0, b"new"),
        Op("sync", "a.new"),
        Op("rename", "a.new", to="a"),
    ):
        disk.do(op)
    rng = random.Random(1)
    found = {bytes(files["a"] or b"") for _ in range(20) for files in disk.states(rng)}
    assert found == {b"old", b"new"}
    disk.do(Op("folder", ""))
    assert list(disk.states(rng)) == [{"a": bytearray(b"new")}]
