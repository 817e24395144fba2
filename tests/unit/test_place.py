"""The node's folder: one process per place, epochs that never fall, copies told apart."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hpc.errors import Conflict, StorageDamaged
from hpc.relay.place import NodeFolder
from hpc.relay.resources import Resources, resources

BOOT = "boot-1"


def opened(home: Path, node_id: str = "n1", boot_id: str = BOOT) -> NodeFolder:
    return NodeFolder.open(home, node_id, on_wait=None, boot_id=boot_id)


def test_epochs_rise_over_restarts(tmp_path: Path) -> None:
    """R22: an epoch that is used twice would run a task twice."""
    folder = opened(tmp_path)
    assert (folder.epoch, folder.raise_epoch(), folder.raise_epoch()) == (0, 1, 2)
    folder.close()

    folder = opened(tmp_path)
    assert folder.raise_epoch() == 3
    assert folder.raise_epoch(above=10) == 11
    assert folder.raise_epoch(above=4) == 12
    assert folder.reach_epoch(5) == 12
    assert folder.reach_epoch(20) == folder.epoch == 20
    folder.close()


def test_an_epoch_that_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    """Starting at 1 again would be answered `lost`, or worse, served."""
    folder = opened(tmp_path)
    (folder.path / "epoch").write_text("x")
    with pytest.raises(StorageDamaged, match="epoch"):
        folder.raise_epoch()
    folder.close()


def test_a_restarted_process_is_the_same_place(tmp_path: Path) -> None:
    """Its predecessor is dead, since it held the lock; the Hub lets it in at once."""
    folder = opened(tmp_path)
    place = folder.place
    folder.close()
    folder = opened(tmp_path)
    assert folder.place == place
    assert place.endswith(f".{BOOT}")
    folder.close()


def test_fault_20_and_26_a_copied_folder_and_a_reboot_are_other_places(tmp_path: Path) -> None:
    """Two machines from one image must not both be the node."""
    folder = opened(tmp_path)
    place = folder.place
    folder.raise_epoch()
    folder.close()
    shutil.copytree(tmp_path / "relays/n1", tmp_path / "relays/n2")
    copied = opened(tmp_path, "n2")
    assert copied.place != place
    assert copied.epoch == 1
    copied.close()
    rebooted = opened(tmp_path, boot_id="boot-2")
    assert rebooted.place.split(".")[0] == place.split(".")[0]
    assert rebooted.place != place
    rebooted.close()


def _second(home: Path, pipe: Connection) -> None:
    folder = NodeFolder.open(home, "n1", on_wait=pipe.send, boot_id=BOOT)
    pipe.send(folder.raise_epoch())


def test_a_second_process_waits_for_the_first(tmp_path: Path) -> None:
    """One place, one process; the one that waits says for whom."""
    folder = opened(tmp_path)
    folder.raise_epoch()
    with pytest.raises(Conflict, match=str(os.getpid())):
        opened(tmp_path)

    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    second = context.Process(target=_second, args=(tmp_path, there))
    second.start()
    assert here.poll(30)
    assert here.recv() == str(os.getpid())
    assert not here.poll(0.05)
    folder.close()
    assert here.poll(30)
    assert here.recv() == 2
    second.join(30)


def test_sessions_keep_their_hub_as_long_as_they_have_an_outbox(tmp_path: Path) -> None:
    """Reports of a session are for the Hub that it joined, whatever answers at the URL later."""
    folder = opened(tmp_path)
    (folder.path / "outbox").mkdir()
    (folder.path / "outbox" / "s1.log").touch()
    folder.remember_hub("s1", "hub-a")
    folder.remember_hub("s2", "hub-a")
    folder.remember_hub("s3", "hub-b")
    folder.close()
    folder = opened(tmp_path)
    assert [folder.hub_of(s) for s in ("s1", "s2", "s3", "s4")] == ["hub-a", None, "hub-b", None]
    folder.close()


@pytest.mark.parametrize(
    ("quota", "cpus", "offered"),
    [(None, None, 4), (2.5, None, 2), (0.5, None, 1), (9.0, None, 4), (2.0, 3, 3), (None, 6, 6)],
)
def test_cores_are_those_that_may_be_used(
    quota: float | None, cpus: int | None, offered: int
) -> None:
    """A container with half a core must not be given the machine's 4; a flag has the last word."""
    found = resources(allowed=[2, 3, 5, 7], quota=quota, memory_bytes=8 << 30, cpus=cpus)
    assert found.cpus == [2, 3, 5, 7, 2, 3][:offered]
    assert found.offer() == {"cpus": offered, "memory_mib": 8192}


def test_memory_can_be_overridden() -> None:
    """`--memory` offers less, or more, than was found."""
    found = resources(allowed=[0], quota=None, memory_bytes=8 << 30, memory_mib=100)
    assert found == Resources([0], 100)
