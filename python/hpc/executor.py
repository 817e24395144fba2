"""`Executor`: Python calls on relays, with the interface of `concurrent.futures`.

```python
from hpc import Executor
from sim import run                    # a module that the workers can import too

with Executor(max_workers=8) as executor:
    for result in executor.map(run, range(1000)):
        print(result)
```

Workers are tasks of one job, started with the executor and kept warm; calls go to them many at a
time and results come back by a stream. How calls travel stands in `hpc/calls/`.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from typing import Any, Final, TypeVar

from hpc import submission
from hpc.calls import messages
from hpc.calls.broken import BrokenWorker
from hpc.calls.crew import CallFuture, Crew
from hpc.calls.pickled import NotPickled, TooLarge, pack_call
from hpc.client import Client
from hpc.errors import NotFound, UsageError
from hpc.resources import check_labels

__all__ = ["BrokenWorker", "Executor"]

MAP_LINGER_S: Final = 0.5
"""How long a result of a `map` may wait for others while its worker has more to run."""

SUBMIT_LINGER_S: Final = 0.01
MAP_SLICE: Final = 2_000
"""Calls of a `map` that are pickled before the first of them leave."""

T = TypeVar("T")

_open: weakref.WeakSet[Crew] = weakref.WeakSet()


class NotANumberOfWorkers(UsageError, ValueError):
    """A `max_workers` that makes no sense."""


class Executor(futures.Executor):
    """Runs calls in warm interpreters on the relays that serve the namespace `calls`.

    It is a `concurrent.futures.Executor`. Functions are sent by name, arguments and results by
    pickle, 720 KiB each at most: what is called must be in a module that the workers can import.

    Args:
        max_workers: Workers, at most; None is one for each core that the relays offer.
        client: The Hub; None finds it as `Client()` does.
        cpu: Cores of each worker.
        memory: MiB of each worker, or a text such as `4G`; enforced. None reserves 1 GiB.
        gpus: GPUs of each worker; its calls find theirs in `CUDA_VISIBLE_DEVICES`.
        require: Labels of relays that workers may run on.
        env: Added to the relay's environment.
        cwd: Folder in which the workers run; None is the current one.
        python: Interpreter of the workers, with hpc in it; None is the relay's.
        initializer: Called once in each interpreter before any call.
        initargs: Its arguments.
        idle: Seconds after which a worker without calls ends; others start when there are calls.
        name: A label of its job.

    Attributes:
        job_id: The job of its workers, for `hpc job info` and `hpc job log`.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        client: Client | None = None,
        cpu: int = 1,
        memory: int | str | None = None,
        gpus: int = 0,
        require: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        python: str | os.PathLike[str] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        idle: float = 60.0,
        name: str | None = None,
    ) -> None:
        """Submit the workers' job.

        Raises:
            HpcError: No Hub answers, or it refuses the job; nothing was started.
            NotFound: `max_workers` is None and no relay serves `calls`.
        """
        if max_workers is not None and max_workers <= 0:
            raise NotANumberOfWorkers(
                f"max_workers must be greater than 0, got {max_workers}", field="max_workers"
            )
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        spec: dict[str, Any] = {
            "cpu": cpu,
            **submission.memory_of(memory),
            "cwd": os.path.abspath(cwd or "."),  # noqa: PTH100 - a text, and links stay
            "path": _paths(),
            "idle": float(idle),
        }
        if gpus:
            spec["gpus"] = gpus
        if require:
            check_labels(require, "require")
            spec["require"] = dict(require)
        if env:
            spec["env"] = dict(env)
        if python is not None:
            spec["python"] = os.fspath(python)
        if initializer is not None:
            spec["initializer"] = messages.text_of(pack_call(initializer, (initargs, {})))
        hub = Client() if client is None else client.again()
        size = max_workers or _workers(hub, {"cpus": max(cpu, 1), "gpus": gpus}, require or {})
        self.job_id = submission.new_job_id()
        self._crew = Crew(hub, self.job_id, spec, name, size)
        _open.add(self._crew)
        # One that nobody has any more runs what it was given, and ends.
        weakref.finalize(self, self._crew.shut, cancel=False).atexit = False

    def __repr__(self) -> str:
        return f"Executor(job_id={self.job_id!r})"

    def submit(
        self,
        fn: Callable[..., T],
        /,
        *args: Any,  # noqa: ANN401 - fn's own
        **kwargs: Any,  # noqa: ANN401 - fn's own
    ) -> futures.Future[T]:
        """Call `fn(*args, **kwargs)` on a worker and return its future.

        What cannot be sent fails the future, at once.

        Raises:
            Shut: After `shutdown`; a `RuntimeError`.
            BrokenWorker: The executor has no workers any more.
        """
        try:
            text = messages.text_of(pack_call(fn, (args, kwargs)))
        except (NotPickled, TooLarge) as error:
            failed: futures.Future[T] = futures.Future()
            failed.set_exception(error)
            return failed
        (future,) = self._crew.call([text], linger_s=SUBMIT_LINGER_S)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Call `fn` with one item of each iterable at a time; yield results in their order.

        All calls are sent before the first result is asked for. They travel many at a time by
        themselves; a result may wait half a second for others while its worker has more to run.

        Args:
            fn: What is called.
            iterables: Ends with the shortest.
            timeout: Seconds from now after which `TimeoutError` is raised.
            chunksize: Taken for the interface's sake; it changes nothing.

        Raises:
            NotPickled: An item, or `fn`, cannot be sent; those before it are cancelled.
        """
        if chunksize < 1:
            raise NotANumberOfWorkers("chunksize must be >= 1", field="chunksize")
        until = None if timeout is None else time.monotonic() + timeout
        sent: list[CallFuture] = []
        texts: list[str] = []
        try:
            for args in zip(*iterables):  # noqa: B905 - as the interface has it
                texts.append(messages.text_of(pack_call(fn, (args, {}))))
                if len(texts) >= MAP_SLICE:
                    sent += self._crew.call(texts, linger_s=MAP_LINGER_S)
                    texts = []
            sent += self._crew.call(texts, linger_s=MAP_LINGER_S)
        except BaseException:
            self._crew.give_back(sent)
            raise
        sent.reverse()
        return _results(self._crew, sent, until)

    def give_up(self, reason: str) -> None:
        """Fail every call that is not over, with `BrokenWorker`, and let the workers go.

        Args:
            reason: What the error says.
        """
        self._crew.give_up(BrokenWorker(reason))
        self._crew.join()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, run those that there are, and let the workers go.

        Args:
            wait: Until all that is over.
            cancel_futures: Cancel what has not begun.
        """
        self._crew.shut(cancel=cancel_futures)
        if wait:
            self._crew.join()


def _results(crew: Crew, left: list[CallFuture], until: float | None) -> Iterator[Any]:
    """Yield results, last of the list first; what is not waited for any more is cancelled."""
    try:
        while left:
            wait_s = None if until is None else until - time.monotonic()
            # Popped, so that a result is its program's alone.
            yield _result(left.pop(), wait_s)
    finally:
        crew.give_back(left)


def _result(future: CallFuture, wait_s: float | None) -> Any:  # noqa: ANN401 - of any call
    try:
        return future.result(wait_s)
    finally:
        if not future.done():
            future.cancel()
        del future


def _workers(client: Client, needs: Mapping[str, int], labels: Mapping[str, str]) -> int:
    """Return how many workers the relays have room for, at least one."""
    nodes = [n for n in client.nodes() if messages.NS_ID in n["namespaces"] and n["state"] == "up"]
    if not nodes:
        raise NotFound(
            f"No relay serves the namespace `{messages.NS_ID}`",
            code="no_relay",
            hint="start one: hpc relay   or say how many workers shall wait "
            "for one: Executor(max_workers=4)",
        )
    places = [node for node in nodes if labels.items() <= (node.get("labels") or {}).items()]
    room = (
        min(int(node["resources"].get(name, 0)) // need for name, need in needs.items() if need)
        for node in places
    )
    return max(sum(room), 1)


def _paths() -> list[str]:
    """Return where this program finds modules, for workers that see the same folders."""
    return [os.path.abspath(path) for path in sys.path if "\0" not in path]  # noqa: PTH100 - '' too


def end_all() -> None:
    """Run what there is and end, as other executors do at the end of a program."""
    crews = list(_open)
    for crew in crews:
        crew.shut(cancel=False)
    for crew in crews:
        crew.join()


atexit.register(end_all)
