"""`hpc submit --from-json FILE` without a command: a graph of jobs, recorded at once or not at all.

What the file means is graphs/document.py's; here the options of the command line become what its
jobs fall back on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpc.cli import array, job, output, selectors
from hpc.client import Client
from hpc.client.graph import send
from hpc.errors import UsageError
from hpc.graphs.document import parse, plan_of
from hpc.graphs.plan import Plan

FLAG = "--from-json"


def check_options(given: Mapping[str, bool]) -> None:
    """Refuse options that mean nothing for a graph.

    Args:
        given: Each by its flag, and whether it was typed.

    Raises:
        UsageError: One was.
    """
    for flag, is_given in given.items():
        if is_given:
            is_batch_id = flag == "--batch-id"
            raise UsageError(
                f"{flag} makes no sense beside a graph of jobs, which is {FLAG} without a command",
                field=flag.removeprefix("--").replace("-", "_"),
                hint="the same graph again is safe with the same --key"
                if is_batch_id
                else "say it in the file, job by job",
            )


def plan(path: str, *, key: str | None, base: Mapping[str, Any]) -> Plan:
    """Return the plan of the graph in a file.

    Args:
        path: Of the file; `-` is stdin.
        key: Begins the ids of its jobs.
        base: What jobs fall back on, by the names of the file's fields.

    Raises:
        UsageError: It describes none.
    """
    name = array.shown(FLAG, path)
    return plan_of(parse(array.read_file(path, FLAG), name), name, key=key, base=base)


def submit(hub: Client, asked: Plan, *, wait: bool, as_json: bool) -> int:
    """Send a graph, print the ids of its jobs and return the exit code."""
    receipt = send(hub, asked)
    job_ids = list(asked.ids.values())
    selectors.remember(job_ids[-1])
    if as_json:
        data = {"batch_id": receipt["id"], "tasks": asked.tasks, "jobs": asked.ids}
        output.put_json("submit", data, cursor=hub.cursor)
    else:
        jobs = "1 job" if len(job_ids) == 1 else f"{len(job_ids):,} jobs"
        tasks = "1 task" if asked.tasks == 1 else f"{asked.tasks:,} tasks"
        output.say(f"graph {asked.key} submitted: {jobs}, {tasks}; look at it: hpc job list")
        for job_id in job_ids:
            output.put(job_id)
    return job.wait_for(hub, job_ids, timeout_s=None, tell=output.say) if wait else 0
