"""The public contract suite over the logs that ship."""

from pathlib import Path

import pytest

from hpc.storage import memory, sqlite
from hpc.testing.event_log import EventLogContract, OpenLog


class TestSqlite(EventLogContract):
    """The embedded default."""

    @pytest.fixture
    def open_log(self, tmp_path: Path) -> OpenLog:
        return lambda: sqlite.open_log(tmp_path / "data")


class TestMemory(EventLogContract):
    """What LocalCluster and simulations run on."""

    @pytest.fixture
    def open_log(self) -> OpenLog:
        disk = memory.MemoryDisk()
        return lambda: memory.MemoryLog(disk)
