"""`hpc job wait`: a bar on a terminal, a line now and then without one."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc.cli import output, progress
from hpc.errors import NotFound
from hpc.testing.processes import Cluster, until

STAY = 'while ! test -e "$0.$HPC_TASK_ID"; do sleep 0.05; done'


READ_S_MAX = 60.0
"""How long a terminal is read; its bar is drawn anew for ever."""


def read_all(terminal: int) -> Iterator[str]:
    """What comes to a terminal until its program has ended."""
    until_s = time.monotonic() + READ_S_MAX
    while True:
        left_s = max(until_s - time.monotonic(), 0.0)
        assert select.select([terminal], [], [], left_s)[0], "the program has not ended"
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the other side is closed
            return
        if not piece:
            return
        yield piece.decode()


def read_until(capsys: pytest.CaptureFixture[str], is_enough: Callable[[str], bool]) -> str:
    """What comes to stderr until there is enough of it."""
    seen: list[str] = []

    def is_there() -> bool:
        seen.append(capsys.readouterr().err)
        return is_enough("".join(seen))

    until(is_there)
    return "".join(seen)


def test_a_terminal_shows_a_bar_that_leaves_nothing_behind(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Each task that ends moves it on; what is printed at last stands alone in its line."""
    cluster.relay("n1", cpus=2)
    gate = tmp_path / "gate"
    client = cluster.client()
    job = client.submit(["sh", "-c", STAY, str(gate)], tasks="0-3", key="some", memory=16)
    until(lambda: job.info()["counts"]["running"] == 2)
    terminal, inside = pty.openpty()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "hpc", "job", "wait", "some"],
        env={**os.environ, **cluster.env},
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    shown, ended = "", 0
    for piece in read_all(terminal):
        shown += piece
        # The next one ends once the bar has told of the one before it.
        if ended < 4 and f"{ended}/4 [" in shown:
            (tmp_path / f"gate.{ended}").touch()
            ended += 1
    assert waiting.wait(30) == 0
    assert re.search(r"\r\x1b\[K0/4 \[-{20}\]  2 running, 2 queued", shown)
    assert "1/4 [#####---------------]  " in shown
    assert re.search(r"\r\x1b\[Kjob some succeeded\r\n[^\r\n]*\r\x1b\[K$", shown)


def test_a_file_gets_a_line_each_time(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, without signs for a terminal."""
    monkeypatch.setattr(progress, "LINE_EACH_S", 0.05)
    client = cluster.client()
    client.submit("true", tasks="0-3", hold=True, key="held")
    with progress.Progress(client, ["held"]):
        seen = read_until(capsys, lambda seen: seen.count("\n") >= 2)
    assert seen.splitlines()[0] == "0/4 tasks  4 held"
    assert "\x1b" not in seen


def test_the_last_line_of_what_runs_stands_at_the_end(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of the task that started last, of whichever stream it writes; nothing in it does anything."""
    monkeypatch.setattr(progress, "LINE_EACH_S", 0.05)
    cluster.relay("n1", cpus=1)
    client = cluster.client()
    gate = tmp_path / "gate"
    writes = r"printf 'epoch 1\n\033[31mepoch 2\033[0m\rloss 0.\0075\n' >&2; "
    client.submit(["sh", "-c", writes + STAY, str(gate)], key="fit", memory=16)
    with progress.Progress(client, ["fit"]):
        seen = read_until(capsys, lambda seen: "log: " in seen)
    (tmp_path / "gate.0").touch()
    assert seen.splitlines()[-1] == "0/1 tasks  1 running  log: loss 0.5"
    client.wait("fit", timeout_s=30)


def test_the_newest_that_runs_is_asked_for_its_output_once_a_look() -> None:
    """Of an array its last task; where it cannot be had it is left alone for a while."""
    asked: list[tuple[Any, ...]] = []

    class Hub:
        def log(self, job_id: str, task: int, *, stream: str, last: int) -> Any:
            asked.append((job_id, task, stream, last))
            raise NotFound("it was forgotten")

    def attempt(state: str, at_ms: int, tasks: str) -> dict[str, Any]:
        return {"state": state, "started_at": at_ms, "tasks": tasks}

    infos = [
        {"job_id": "a", "attempts": [attempt("running", 5, "0-3,7"), attempt("failed", 9, "8")]},
        {"job_id": "b", "attempts": [attempt("running", 4, "0")]},
        {"job_id": "c"},
    ]
    line = progress.LastLine(Hub())
    for at_s in (0.0, 1.0, 9.9, 10.0):
        line.look(at_s, infos)
    line.look(30.0, [])
    assert asked == [("a", 7, "stdout", progress.TAIL_BYTES)] * 2
    assert line.text == ""


def test_the_rate_is_that_of_late_and_tells_what_is_left() -> None:
    """Of tasks that were settled."""
    course = progress.Course()
    for at_s, done in ((0.0, 0), (10.0, 50), (40.0, 80)):
        course.look(at_s, [{"counts": {"succeeded": done, "queued": 100 - done}}])
    assert course.rate == 1.0  # what was before the last 30 s is forgotten
    assert course.text() == "20 queued  1.0/s  20 s left"
    assert course.bar() == "80/100 [################----]  20 queued  1.0/s  20 s left"


def test_what_is_printed_goes_above_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the bar is there again."""
    bar = progress.Bar()
    output.hide(bar)
    try:
        bar.set("half")
        output.say("a note")
        bar.end()
        bar.set("late")
    finally:
        output.hide(None)
    clear = progress.TO_EMPTY_LINE
    assert capsys.readouterr().err == f"{clear}half{clear}a note\nhalf{clear}"
