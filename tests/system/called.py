"""Functions that tests call on workers: a worker imports this file, as it would a user's."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

WAIT_S_MAX = 60.0
SETTINGS: dict[str, str] = {}


def add(a: int, b: int = 0) -> int:
    return a + b


def place() -> tuple[int, int]:
    """Processes of the interpreter and of its worker."""
    return os.getpid(), os.getppid()


def refuse(what: str) -> None:
    raise LookupError(what, 7)


class Odd(Exception):
    """Cannot be made again from its arguments, as many exceptions cannot."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"odd {a} {b}")


def refuse_oddly() -> None:
    raise Odd(1, 2)


def end_by(how: str) -> None:
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def mark(folder: str, name: str) -> str:
    """Leave a mark; a second time of the same call leaves another line."""
    with (Path(folder) / name).open("a") as file:
        file.write("x\n")
    return name


def mark_slowly(folder: str, name: str) -> str:
    time.sleep(0.01)
    return mark(folder, name)


def wait_for(path: str) -> str:
    """Return once a file is there."""
    until = time.monotonic() + WAIT_S_MAX
    looks = threading.Event()
    while not Path(path).exists():
        assert time.monotonic() < until
        looks.wait(0.01)
    return path


def begin_and_wait_for(folder: str, path: str) -> str:
    mark(folder, "begun")
    return wait_for(path)


def say(text: str) -> None:
    print(text)


def large(count: int) -> bytes:
    return b"x" * count


def lock() -> threading.Lock:
    return threading.Lock()


def set_up(text: str) -> None:
    SETTINGS["text"] = text


def settings() -> dict[str, str]:
    return SETTINGS


def fail_to_set_up() -> None:
    raise ValueError("no licence")


def gpus(_: int) -> tuple[str, str]:
    """Where this runs, and the GPUs that it may use."""
    return os.environ["HPC_NODE_ID"], os.environ["CUDA_VISIBLE_DEVICES"]
