"""What the engine says to whoever reads a task's output, as far as that is needed."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec

from hpc.hub.turn import Turns
from hpc.protocols import Answer
from hpc.states import SETTLED

_OK: Final = 200


class Task(msgspec.Struct):
    """One task, as `GET /jobs/{id}/tasks` tells it."""

    task: int
    state: str
    attempt: int | None = None
    node_id: str | None = None


class TaskPage(msgspec.Struct):
    """A page of them."""

    data: list[Task]


class Attempt(msgspec.Struct):
    """Tasks that share an attempt; `closed` is one whose processes have to end yet."""

    attempt: int
    tasks: str
    state: str


class Job(msgspec.Struct):
    """What a reader of output needs of a job."""

    tasks: str
    submitted_at: int = 0
    attempts: list[Attempt] = []
    spec: dict[str, object] = {}


class JobAnswer(msgspec.Struct):
    """The answer to `job`."""

    data: Job


class TailAnswer(msgspec.Struct):
    """Where a stream is asked for, and how that node is."""

    node_id: str
    attempt: int
    state: str = "up"


task_page: Final = msgspec.json.Decoder(TaskPage)
job_answer: Final = msgspec.json.Decoder(JobAnswer)
tail_answer: Final = msgspec.json.Decoder(TailAnswer)


class TaskState(NamedTuple):
    """What the engine says of one task.

    Attributes:
        attempt: Number of the newest attempt, or of the one that succeeded; None before the first.
        node_id: Where that is or was.
        state: Of the task, as the read routes tell it.
    """

    is_settled: bool
    attempt: int | None = None
    node_id: str = ""
    state: str = ""


class Found(NamedTuple):
    """A task by its number, and how it stands."""

    task: int
    state: TaskState


async def ask_task(turns: Turns, job_id: str, task: int | None) -> Answer | Found | None:
    """Ask for a task of a job, None being its first; a refusal, or None where it has no such."""
    query: dict[str, str | int] = {"job_id": job_id, "limit": 1}
    if task:
        query["after"] = task - 1
    answer = await turns.ask("tasks", urlencode(query))
    if answer.status != _OK:
        return answer
    for one in task_page.decode(answer.body).data:
        if task in (None, one.task):
            is_settled = one.state in SETTLED
            state = TaskState(is_settled, one.attempt, one.node_id or "", one.state)
            return Found(one.task, state)
    return None
