"""Ctrl-C while a job is being submitted: whatever the Hub has heard, nothing goes on unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from canned_hub import Canned, CannedHub, Request, answer, job, knows

WAIT_S = 30
RECEIPT = answer({"id": "b", "first_seq": 4, "count": 1, "duplicate": True, "jobs": ["7"]})


@pytest.mark.parametrize("words", [["run", "--", "true"], ["map", "--", "true", ":::", "a"]])
def test_a_job_whose_receipt_did_not_come_is_found_and_cancelled(
    hub: CannedHub, words: list[str]
) -> None:
    """The same batch again says which job it is; it is recorded once."""
    started, again = threading.Event(), threading.Event()
    pids: list[int] = []

    def ingest(request: Request) -> Canned | None:
        batches = [each.body["id"] for each in hub.asked if each.path == "/ingest"]
        if len(batches) == 1:
            assert started.wait(WAIT_S)
            os.kill(pids[0], signal.SIGINT)
            again.wait(WAIT_S)  # the first try hears no answer
            return None
        again.set()
        return RECEIPT

    hub.routes["POST", "/ingest"] = ingest
    knows(hub, job(state="cancelled"))
    with subprocess.Popen(
        ["env", "--default-signal=INT,HUP", sys.executable, "-m", "hpc", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        pids.append(command.pid)
        started.set()
        _, said = command.communicate(timeout=WAIT_S)

    first, second, cancel = [each.body for each in hub.asked if each.path == "/ingest"]
    assert first == second
    assert [event["kind"] for event in cancel["events"]] == ["CancelJob"]
    assert "cancelling job 7\n" in said
    assert command.returncode == 130
