"""Many jobs that wait: what the Hub keeps of each."""

from __future__ import annotations

import json
import os
import subprocess
import sys

JOBS = 50_000
JOB_BYTES_MAX = 1024

PROGRAM = f"""
import json, psutil
from hpc.namespaces.batch import BATCH
from hpc.testing.small_hub import SmallHub

hub, process = SmallHub(), psutil.Process()
hub.register(BATCH.namespace)
def submit(first, count):
    events = [
        {{"kind": "SubmitJob", "payload": {{"ctx": {{"ns_id": "batch", "job_id": f"fit-{{n}}"}},
          "spec": {{"command": "./fit", "args": ["--seed", str(n)], "cpu": 1, "memory": 512}}}}}}
        for n in range(first, first + count)
    ]
    assert hub.ask("ingest", "", {{"id": f"b-{{first}}", "events": events}})
    hub.log.clear()  # a Hub has it on its disk
submit(0, 5000)
before = process.memory_info().rss
for first in range(5000, 5000 + {JOBS}, 5000):
    submit(first, 5000)
grown = process.memory_info().rss - before
page = hub.ask("jobs", "limit=100", None)
print(json.dumps([grown, len(page["data"]), bool(page["next"])]))
"""


def test_fault_56_a_job_that_waits_costs_less_than_a_kib_and_lists_have_pages() -> None:
    """A million of them must fit beside all else on a small machine."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    grown, rows, has_more = json.loads(ran.stdout)
    assert 0 < grown < JOBS * JOB_BYTES_MAX, grown / JOBS
    assert (rows, has_more) == (100, True)
