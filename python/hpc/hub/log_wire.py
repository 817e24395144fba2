"""What the engine answers to whoever reads a task's output, as far as that is needed."""

from __future__ import annotations

from typing import Final

import msgspec


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
