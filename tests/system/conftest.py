"""Real processes: a Hub with a short lease, and relays that a test starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc.testing.processes import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub, with no relay yet."""
    with Cluster(tmp_path) as running:
        yield running
