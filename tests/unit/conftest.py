"""A Hub for the tests of the command line; a file that needs another has a `hub` of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from canned_hub import TOKEN, Canned, CannedHub, answer, job, knows

RECEIPT = answer({"id": "b", "first_seq": 4, "count": 1, "duplicate": False, "jobs": ["7"]})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[CannedHub]:
    """A Hub that this user's commands find."""
    with CannedHub() as serving:
        monkeypatch.setenv("HPC_HOME", str(tmp_path))
        monkeypatch.setenv("HPC_HUB_URL", serving.url)
        monkeypatch.setenv("HPC_TOKEN", TOKEN)
        serving.routes["POST", "/ingest"] = RECEIPT
        serving.routes["GET", "/jobs"] = answer({"cursor": 4, "data": [], "next": None})
        serving.routes["GET", "/jobs/7/log"] = Canned()
        knows(serving, job())
        yield serving
