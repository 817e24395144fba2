"""settling: what became of calls and workers, told to futures and in words.

The executor's end of a call: results are opened here.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from hpc.calls import messages
from hpc.calls.broken import BrokenWorker
from hpc.calls.frames import RAISED, RETURNED
from hpc.calls.hand import Call
from hpc.calls.pickled import open_failure, open_result
from hpc.client import Client
from hpc.errors import HpcError


def cancelled(future: Future[Any]) -> bool:
    """Cancel a future of which nothing runs, and tell who waits for it."""
    was_done = future.done()
    is_cancelled = Future.cancel(future)
    if is_cancelled and not was_done:
        future.set_running_or_notify_cancel()
    return is_cancelled


def initializer_failed(node_id: str, spec: Mapping[str, Any]) -> BrokenWorker:
    """Return why an executor is broken whose worker could not be set up."""
    cause: BaseException | None = None
    reason = spec.get("reason")
    if "failure" in spec:
        cause = open_failure(messages.bytes_of(spec["failure"]))
        reason = f"{type(cause).__name__}: {cause}"
    error = BrokenWorker(f"The initializer failed on node `{node_id}`: {reason}")
    error.__cause__ = cause
    return error


_LOST: Final = {
    "a newer epoch does not hold it": "its relay was started again without it",
    "reclaimed: the node did not come back": "its node did not come back",
    "given up on request": "somebody gave its node up",
    "drain": "its relay was told to end",
    "fence": "its relay was cut off from the Hub",
}
"""Reasons of the Hub and of relays, in words for who knows neither."""


def worker_lost(reason: str | None) -> str:
    """Return why a worker is gone that did not end by itself, in words."""
    return _LOST.get(reason or "", reason or "no reason was given")


def may_have_begun(node_id: str, how: str) -> BrokenWorker:
    """Return what a call fails with whose worker is gone."""
    return BrokenWorker(
        f"The call's worker on node `{node_id}` ended while it may have run: {how}",
        hint="calls are not repeated by themselves; submit it again if it may run twice",
    )


def warn_of_wait(client: Client, job_id: str) -> bool:
    """Warn the program, by the Hub's reasons, that no worker has come; return whether it was."""
    with contextlib.suppress(HpcError):  # whoever needs an answer asks again
        if why := client.why(job_id)["why"]:
            text = f"Calls wait for a worker: {why} (hpc job why {job_id})"
            with contextlib.suppress(RuntimeWarning):  # where warnings are errors
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            return True
    return False


def settle_all(over: list[tuple[Call, str, str]]) -> None:
    """Settle the futures of calls, each with its letter and text; empties the list."""
    over.reverse()
    while over:
        # Popped, so that a result is its program's alone from here on.
        _settle(*over.pop())


def _settle(call: Call, how: str, text: str) -> None:
    future = call.future
    try:
        if how == RETURNED.decode():
            value = open_result(messages.bytes_of(text))
        elif how == RAISED.decode():
            future.set_exception(open_failure(messages.bytes_of(text)))
            return
        else:
            told = messages.bytes_of(text).decode()
            future.set_exception(
                BrokenWorker(
                    f"Call ended its worker's interpreter: {told}",
                    hint="other calls go on in a new one; a crash, os._exit or a signal did this",
                )
            )
            return
    except BaseException as error:  # importing a class is somebody else's code
        future.set_exception(error)
        return
    future.set_result(value)


def at(value: Any, index: int) -> Any:  # noqa: ANN401 - a column of a report
    """Return a task's value of a column: one for all of them, or a list in their order."""
    return value[index] if isinstance(value, list) else value


def how_ended(spec: Mapping[str, Any]) -> str:
    """Return how a task ended, in words."""
    told = ""
    if spec.get("signal") is not None:
        told = f"signal {spec['signal']}"
    elif spec.get("exit_code") is not None:
        told = f"exit code {spec['exit_code']}"
    cause = spec.get("cause")
    if cause in (None, "exit", "signal"):
        return told or "no reason was given"
    return ", ".join(part for part in (cause, told, spec.get("detail")) if part)
