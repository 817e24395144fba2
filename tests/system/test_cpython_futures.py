"""CPython's own tests of executors, over `hpc.Executor` on real processes.

The file is CPython's `test_concurrent_futures.py`, unchanged, from Debian's package
`libpython3.11-testsuite`; `.ci/cpython-suite` fetches it. Its mixins are run; what of them cannot
apply to workers on other machines stands in `NOT_OURS`, with the reason.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hpc import BrokenWorker, Executor, LocalCluster

SUITE = Path(__file__).resolve().parents[2] / ".venv" / "cpython-suite"
FILE = SUITE / "test_concurrent_futures.py"
NAME = "cpython_futures"
WORKERS = 5

NOT_OURS = {
    "test_cancel_futures": "it wants one of 50 calls to have begun when it cancels them, right as "
    "the last is submitted. Ours begin when a thread of the executor sends them; beside busy "
    "programs it comes later than that, and all 50 are cancelled, rightly: in 17 of 30 runs, each "
    "time `0 not greater than 0`. test_calls.py has its like",
    "test_interpreter_shutdown": "a script of it imports the executor from concurrent.futures, and "
    "reads what a call prints; ours prints to the job's log. test_calls.py has its like",
    "test_submit_after_interpreter_shutdown": "the script imports the executor from "
    "concurrent.futures; test_calls.py has its like",
    "test_hang_gh83386": "the script imports the executor from concurrent.futures; test_calls.py "
    "has its like",
    "test_exit_at_task_unpickle": "sys.exit while a call is opened raises SystemExit, as it does "
    "anywhere else in a call; a worker does not end by it",
    "test_error_at_task_unpickle": "what a call raises while it is opened is what it raised; no "
    "worker ends by it",
    "test_error_during_result_unpickle_in_result_handler": "the future has the error itself",
    "test_exit_during_result_unpickle_in_result_handler": "the future has the SystemExit itself",
    "test_shutdown_deadlock_pickle": "joins a thread of ProcessPoolExecutor by its private name",
}

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"{FILE} is not there: .ci/cpython-suite says why"
)


class _Shared:
    """What all tests of this file use; the folder goes with this interpreter."""

    cluster: LocalCluster | None = None
    folder: tempfile.TemporaryDirectory[str] | None = None


class OurExecutor(Executor):
    """What the tests make: they know no clients."""

    def __init__(
        self, max_workers: int | None = None, *, mp_context: object = None, **more: Any
    ) -> None:
        assert mp_context is None
        assert _Shared.cluster is not None
        super().__init__(max_workers, client=_Shared.cluster.client(), **more)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster; each test makes executors of its own on it."""
    with LocalCluster(cpus=4 * WORKERS, memory="64G", monitor=False) as running:
        _Shared.cluster = running
        yield
        _Shared.cluster = None


def suite() -> Any:
    """CPython's file as a module that workers can import too."""
    if NAME not in sys.modules:
        _Shared.folder = tempfile.TemporaryDirectory(prefix="hpc-cpython-")
        shutil.copy(FILE, Path(_Shared.folder.name) / f"{NAME}.py")
        sys.path.append(_Shared.folder.name)
    module = importlib.import_module(NAME)
    # A broken pool is told by this name there; ours is a BrokenExecutor too.
    module.BrokenProcessPool = BrokenWorker
    return module


def cases() -> dict[str, type[unittest.TestCase]]:
    """A test case for each mixin, without what is not ours."""
    theirs = suite()

    class Ours(theirs.ExecutorMixin):  # type: ignore[misc, name-defined]
        executor_type = OurExecutor

        def setUp(self) -> None:
            super().setUp()
            # A pool's processes are forked by its first call; ours take a moment longer to be up.
            self.executor.submit(int).result(60)

        def get_context(self) -> None:
            return None

    made: dict[str, type[unittest.TestCase]] = {}
    for name in (
        "ExecutorTest",
        "ExecutorShutdownTest",
        "WaitTests",
        "AsCompletedTests",
        "ExecutorDeadlockTest",
        "InitializerMixin",
    ):
        mixin = getattr(theirs, name)
        bases = (mixin, theirs.BaseTestCase) if issubclass(mixin, theirs.ExecutorMixin) else (
            Ours, mixin, theirs.BaseTestCase)  # fmt: skip
        body: dict[str, Any] = {"executor_type": OurExecutor, "get_context": lambda _self: None}
        body |= {
            test: unittest.skip(NOT_OURS[test])(getattr(mixin, test))
            for test in dir(mixin)
            if test in NOT_OURS
        }
        made[f"Test{name}"] = type(f"Test{name}", bases, body)
    return made


if FILE.exists():
    globals().update(cases())


def test_what_is_left_out_exists() -> None:
    """A reason that outlives its test hides the next one of that name."""
    there = {test for case in cases().values() for test in dir(case)}
    assert set(NOT_OURS) <= there
