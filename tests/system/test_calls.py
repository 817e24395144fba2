"""`hpc.Executor` on real processes: what it promises when calls fail, end, wait and are killed.

What tasks did is read from marks that they left in files, not from our own answers.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimedOut
from pathlib import Path
from typing import Any

import called
import psutil
import pytest

from hpc import BrokenWorker, Client, Executor, LocalCluster, as_completed
from hpc.calls.pickled import NotPickled, RemoteTraceback, TooLarge
from hpc.clock import SystemClock
from hpc.errors import NotFound, TimedOut
from hpc.hub.recovery import recover
from hpc.storage.sqlite import open_log
from hpc.testing.processes import Cluster, until

SOON_S = 60.0


@pytest.fixture(scope="module")
def local() -> Iterator[LocalCluster]:
    with LocalCluster(cpus=4, monitor=False) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def executor(local: LocalCluster) -> Iterator[Executor]:
    with local.executor(2) as executor:
        yield executor


def marks(folder: Path) -> dict[str, int]:
    """How often each mark was left."""
    return {path.name: len(path.read_text().splitlines()) for path in folder.iterdir()}


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def facts(local: LocalCluster, executor: Executor) -> dict[str, Any]:
    tables = local.client().pull("calls")["facts"]
    row: dict[str, Any] = tables["executors"][executor.job_id]
    return row


# What comes back


def test_a_call_returns_and_its_interpreter_stays_warm(executor: Executor) -> None:
    """Starting Python for each call would take a hundred times as long as most calls."""
    assert executor.submit(called.add, 2, b=3).result(SOON_S) == 5
    places = {executor.submit(called.place).result(SOON_S) for _ in range(6)}
    assert len(places) <= 2
    assert all(pid != os.getpid() for pid, _ in places)


def test_what_a_call_raises_comes_back_with_its_traceback(executor: Executor) -> None:
    """The line that failed is on another machine: it must be told."""
    error = executor.submit(called.refuse, "no such thing").exception(SOON_S)
    assert isinstance(error, LookupError)
    assert error.args == ("no such thing", 7)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "raise LookupError(what, 7)" in str(error.__cause__)


def test_an_exception_that_cannot_come_back_is_told_in_words(executor: Executor) -> None:
    """Its class may want other arguments; that must not hide what happened."""
    error = executor.submit(called.refuse_oddly).exception(SOON_S)
    assert "Odd: odd 1 2" in str(error)
    assert "raise Odd(1, 2)" in str(error and error.__cause__)


def test_a_map_keeps_its_order_and_needs_few_requests(local: LocalCluster) -> None:
    """A request for each call would be slower than the call: at most 3 for each 100."""
    count = 1_000
    with local.executor(2) as executor:
        executor.submit(called.add, 0).result(SOON_S)
        with local.client() as client:
            cursor = client.read("/events", [("job", executor.job_id)])["cursor"]
            assert list(executor.map(called.add, range(count))) == list(range(count))
            # Each batch is a request; news of them come by streams that are open anyway.
            batches = {event["id"] for event in client.events(cursor)}
    assert 2 <= len(batches) <= 3 * count / 100


def test_the_hub_keeps_tallies_and_no_calls(local: LocalCluster) -> None:
    """A million calls must leave no more behind than ten do."""
    with local.executor(2) as executor:
        list(executor.map(called.add, range(300)))
        executor.submit(called.refuse, "x").exception(SOON_S)
    row = facts(local, executor)
    assert (row["returned"], row["failed"], row["nodes"]) == (301, 1, ["local"])
    assert row["sent"] >= 301  # a call that goes from one worker to another is sent twice
    info = local.client().job(executor.job_id).wait(SOON_S)
    assert info["tasks"] == "0-1"
    assert info["state"] == "succeeded"


def test_calls_leave_the_log_after_an_hour(tmp_path: Path) -> None:
    """Their bytes are most of a log that calls are made on; what the kernel knows stays."""
    with Cluster(tmp_path) as cluster:
        cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "2")
        with Executor(2, client=cluster.client()) as executor:
            list(executor.map(called.add, range(50)))
        with cluster.client() as client:
            client.job(executor.job_id).wait(SOON_S)
            kinds: dict[int, set[str]] = {}
            for event in client.events():
                kinds.setdefault(event["seq"] - event["index"], set()).add(event["kind"])
        assert cluster.hub is not None
        cluster.hub.terminate()
        log = open_log(cluster.home / "hub")
        engine = recover(log, lease_ms=1000, reclaim_ms=1000, clock=SystemClock())
        now_ms = int(time.time() * 1000)
        rows = log.read(1, 10_000)
        assert engine.expired(rows, wall_ms=now_ms + 3_000_000, below=0)[0] == []
        gone = set(engine.expired(rows, wall_ms=now_ms + 4_000_000, below=0)[0])
        log.close()
    of_calls = {"CallsSent", "CallsReturned", "CallsRecalled"}
    of_calls |= {"WorkerStarted", "WorkerDismissed", "WorkerStopped"}
    assert {seq for seq, said in kinds.items() if said <= of_calls} == gone
    assert {kind for seq, said in kinds.items() if seq not in gone for kind in said} & of_calls == (
        set()
    )


def test_what_a_call_prints_is_in_the_workers_log(local: LocalCluster) -> None:
    """A print is how most functions are debugged."""
    with local.executor(1) as executor:
        executor.submit(called.say, "hello from a call").result(SOON_S)
    job = local.client().job(executor.job_id)
    job.wait(SOON_S)
    assert b"hello from a call\n" in b"".join(job.log())


# What cannot travel


def test_what_cannot_be_sent_says_what_to_do(executor: Executor) -> None:
    """`Can't pickle <function <lambda>>` helps nobody who has not met it before."""

    def inner() -> None:
        """A function that no worker can find."""

    for fn, hint in ((lambda: 1, "give it one with `def`"), (inner, "move it to its module")):
        error = executor.submit(fn).exception(0)
        assert isinstance(error, NotPickled)
        assert hint in str(error.hint)
    error = executor.submit(called.lock).exception(SOON_S)
    assert isinstance(error, NotPickled)
    assert "Result of type `lock` cannot be returned" in error.message


def test_a_function_of_the_program_itself_is_refused_by_name(local: LocalCluster) -> None:
    """Its pickle is well-formed, and no worker could open it."""
    program = (
        "import sys\n"
        "from hpc import Client, Executor\n"
        "def mine(x): return x\n"
        "with Executor(1, client=Client(home=sys.argv[1])) as executor:\n"
        "    error = executor.submit(mine, 1).exception(0)\n"
        "    print(error.message, '|', error.hint)\n"
        "    print(executor.submit(len, 'text __main__ in an argument').result(60))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, local.home], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "`mine` is defined in `__main__`" in ran.stdout
    assert "move `mine` into a module" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "28"


def test_what_is_too_large_is_refused_with_both_sizes(executor: Executor) -> None:
    """An event has 1 MiB; what to do instead must not be a riddle."""
    error = executor.submit(len, b"x" * (1 << 20)).exception(0)
    assert isinstance(error, TooLarge)
    assert "expected at most 737280" in error.message
    error = executor.submit(called.large, 1 << 20).exception(SOON_S)
    assert isinstance(error, TooLarge)
    assert "write it to a file" in str(error.hint)
    assert len(executor.submit(called.large, 700 * 1024).result(SOON_S)) == 700 * 1024


# What ends


@pytest.mark.parametrize(("how", "told"), [("exit", "exit code 3"), ("kill", "SIGKILL")])
def test_a_call_that_ends_its_process_fails_alone(
    local: LocalCluster, how: str, told: str, tmp_path: Path
) -> None:
    """Where one of a thousand calls crashes, the others must neither fail nor run twice."""
    with local.executor(2) as executor:
        before = [executor.submit(called.mark, str(tmp_path), f"a{n}") for n in range(20)]
        broken = executor.submit(called.end_by, how)
        after = [executor.submit(called.mark, str(tmp_path), f"b{n}") for n in range(20)]
        error = broken.exception(SOON_S)
        done = [future.result(SOON_S) for future in (*before, *after)]
    assert isinstance(error, BrokenWorker)
    assert told in error.message
    assert marks(tmp_path) == dict.fromkeys(done, 1)
    assert len(done) == 40


def test_a_worker_that_is_killed_fails_its_calls_and_another_takes_its_place(
    local: LocalCluster, tmp_path: Path
) -> None:
    """What it may have begun is lost, not repeated; what comes later runs."""
    gate = tmp_path / "gate"
    with local.executor(1) as executor:
        _, worker = executor.submit(called.place).result(SOON_S)
        stuck = executor.submit(called.begin_and_wait_for, str(tmp_path), str(gate))
        until((tmp_path / "begun").exists)
        os.kill(worker, signal.SIGKILL)
        error = stuck.exception(SOON_S)
        assert isinstance(error, BrokenWorker)
        assert "signal 9" in error.message
        assert executor.submit(called.place).result(SOON_S)[1] != worker
    assert marks(tmp_path)["begun"] == 1


def test_an_initializer_runs_once_in_each_interpreter(local: LocalCluster) -> None:
    """Also in one that comes after a crash."""
    with local.executor(1, initializer=called.set_up, initargs=("x",)) as executor:
        assert executor.submit(called.settings).result(SOON_S) == {"text": "x"}
        assert executor.submit(called.end_by, "exit").exception(SOON_S) is not None
        assert executor.submit(called.settings).result(SOON_S) == {"text": "x"}


def test_an_initializer_that_fails_breaks_the_executor_with_its_reason(local: LocalCluster) -> None:
    """Workers that start and fail for ever would look like calls that take long."""
    with local.executor(2, initializer=called.fail_to_set_up) as executor:
        first: Future[int] = executor.submit(called.add, 1)
        error = first.exception(SOON_S)
        assert isinstance(error, BrokenWorker)
        assert "ValueError: no licence" in error.message
        assert isinstance(error.__cause__, ValueError)
        with pytest.raises(BrokenWorker, match="no licence"):
            executor.submit(called.add, 1)


def test_a_relative_folder_is_the_programs(local: LocalCluster, tmp_path: Path) -> None:
    """A worker stands elsewhere: what it is told must mean the same there."""
    with local.executor(1, cwd=os.path.relpath(tmp_path)) as executor:
        assert executor.submit(os.getcwd).result(SOON_S) == str(tmp_path.resolve())


def test_workers_that_cannot_start_break_the_executor(local: LocalCluster) -> None:
    """A wrong folder is told; it does not wait for ever."""
    with local.executor(1, cwd="/no/such/folder") as executor:
        error = executor.submit(called.add, 1).exception(SOON_S)
    assert isinstance(error, BrokenWorker)
    assert "cwd not found" in error.message


# What waits


def test_a_call_that_has_not_begun_can_be_cancelled_and_never_runs(
    local: LocalCluster, tmp_path: Path
) -> None:
    """True is a promise; a call that runs is not interrupted."""
    gate = tmp_path / "gate"
    folder = tmp_path / "marks"
    folder.mkdir()
    with local.executor(1) as executor:
        executor.submit(called.add, 1).result(SOON_S)
        running = executor.submit(called.begin_and_wait_for, str(folder), str(gate))
        waiting = [executor.submit(called.mark, str(folder), f"m{n}") for n in range(10)]
        until((folder / "begun").exists)
        assert [future.cancel() for future in waiting[2:5]] == [True] * 3
        assert not running.cancel()
        assert wait(waiting, timeout=0, return_when=FIRST_COMPLETED).done == set(waiting[2:5])
        gate.touch()
        assert running.result(SOON_S) == str(gate)
        assert executor.submit(called.add, 1).result(SOON_S) == 1
    assert marks(folder) == {"begun": 1, **{f"m{n}": 1 for n in (0, 1, 5, 6, 7, 8, 9)}}


def test_shutdown_cancels_all_that_has_not_begun(local: LocalCluster, tmp_path: Path) -> None:
    """What a worker has ahead is asked back; what runs is not interrupted."""
    gate = tmp_path / "gate"
    folder = tmp_path / "marks"
    folder.mkdir()
    executor = local.executor(1)
    running = executor.submit(called.begin_and_wait_for, str(folder), str(gate))
    until((folder / "begun").exists)
    waiting = [executor.submit(called.mark, str(folder), f"m{n}") for n in range(20)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert wait(waiting, timeout=SOON_S).not_done == set()
    assert all(future.cancelled() for future in waiting)
    assert not running.done()
    gate.touch()
    executor.shutdown()
    assert running.result(0) == str(gate)
    assert marks(folder) == {"begun": 1}


def test_what_waits_behind_a_long_call_goes_to_a_worker_that_is_free(
    local: LocalCluster, tmp_path: Path
) -> None:
    """Calls are sent ahead; nobody may wait for an hour because of where they were sent."""
    gate = tmp_path / "gate"
    with local.executor(2) as executor:
        list(executor.map(called.add, range(4)))
        calls = [executor.submit(called.wait_for, str(gate))]
        calls += [executor.submit(called.add, n) for n in range(40)]
        assert [future.result(SOON_S) for future in calls[1:]] == list(range(40))
        assert not calls[0].done()
        gate.touch()
        calls[0].result(SOON_S)


def test_workers_without_calls_end_and_others_come(local: LocalCluster) -> None:
    """An executor that is kept open must not keep cores from others."""
    with local.executor(2, idle=0.2) as executor:
        first = executor.submit(called.place).result(SOON_S)
        job = local.client().job(executor.job_id)
        assert job.wait(SOON_S)["state"] == "succeeded"
        assert executor.submit(called.place).result(SOON_S) != first


def test_an_executor_without_any_relay_says_how_to_start_one(tmp_path: Path) -> None:
    """It would wait for ever, and look as if the calls took long."""
    with Cluster(tmp_path) as cluster, pytest.raises(NotFound) as found:
        Executor(client=cluster.client())
    assert "start one: hpc relay " in str(found.value.hint)


def test_each_worker_has_gpus_of_its_own(tmp_path: Path) -> None:
    """And runs only where its labels are; a relay serves calls where nothing else is said."""
    with Cluster(tmp_path) as cluster:
        offers = ["--gpus", "3,5", "--cpus", "4", "--label", "zone=b"]
        cluster.start("relay", "--node-id", "n1", *offers)
        cluster.start("relay", "--node-id", "n2", "--cpus", "4", "--gpus", "none")
        client = cluster.client()
        until(lambda: sum(node["state"] == "up" for node in client.nodes()) == 2)
        with Executor(client=client, gpus=1, require={"zone": "b"}) as executor:
            seen = list(executor.map(called.gpus, range(8)))
        assert set(seen) <= {("n1", "3"), ("n1", "5")}
        assert len(client.info(executor.job_id)["attempts"]) <= 2


def test_workers_find_the_hub_where_their_relay_does(tmp_path: Path) -> None:
    """The access file may say a name that only the Hub's own machine knows."""
    with Cluster(tmp_path) as cluster:
        access = cluster.home / "access.json"
        told = json.loads(access.read_text())
        access.write_text(json.dumps(told | {"url": "http://127.0.0.1:9"}))
        url = f"http://localhost:{cluster.port}"
        cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "1", "--hub-url", url)
        with Executor(1, client=Client(url, token=told["token"])) as executor:
            assert executor.submit(called.add, 4).result(SOON_S) == 4


def test_every_call_ends_and_none_runs_that_was_cancelled(
    local: LocalCluster, tmp_path: Path
) -> None:
    """Crashes, cancels from two threads and stolen calls at once: a call may be lost nowhere."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    calls: dict[str, Future[Any]] = {}
    crashes: list[Future[Any]] = []
    with local.executor(4) as executor:
        for _ in range(12):
            some: list[Future[Any]] = []
            for _ in range(chance.randrange(1, 200)):
                name = f"m{len(calls)}"
                how = chance.random()
                if how < 0.02:
                    crash = executor.submit(called.end_by, chance.choice(["exit", "kill"]))
                    crashes.append(crash)
                    some.append(crash)
                fn = called.mark_slowly if how < 0.2 else called.mark
                calls[name] = executor.submit(fn, str(tmp_path), name)
                some.append(calls[name])
            halves = some[::2], some[1::2]
            victims = [chance.sample(half, len(half) // 8) for half in halves]
            threads = [
                threading.Thread(target=lambda few=few: [future.cancel() for future in few])
                for few in victims
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SOON_S)
            assert not wait(some, timeout=SOON_S).not_done
    assert all(
        future.cancelled() or isinstance(future.exception(), BrokenWorker) for future in crashes
    )
    ran = {name: 1 for name, future in calls.items() if not future.cancelled()}
    assert marks(tmp_path) == ran
    assert all(calls[name].result() == name for name in ran)


# What is killed


def test_a_killed_relay_leaves_no_worker_and_a_new_one_goes_on(tmp_path: Path) -> None:
    """Interpreters that nobody has any more would hold memory and cores for ever."""
    gate = tmp_path / "gate"
    with Cluster(tmp_path) as cluster:
        relay = cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "1")
        with Executor(1, client=cluster.client()) as executor:
            pids = executor.submit(called.place).result(SOON_S)
            stuck = executor.submit(called.begin_and_wait_for, str(tmp_path), str(gate))
            until((tmp_path / "begun").exists)
            relay.kill()
            until(lambda: all(map(is_gone, pids)))
            cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "1")
            assert isinstance(stuck.exception(SOON_S), BrokenWorker)
            assert executor.submit(called.add, 20, 3).result(SOON_S) == 23


def test_what_waits_behind_a_long_call_outlives_its_worker(tmp_path: Path) -> None:
    """It had not begun: the one that ran fails, in words, and the others run once, elsewhere."""
    gate = tmp_path / "gate"
    folder = tmp_path / "marks"
    folder.mkdir()
    with Cluster(tmp_path) as cluster:
        relay = cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "1")
        with Executor(1, client=cluster.client()) as executor:
            stuck = executor.submit(called.begin_and_wait_for, str(tmp_path), str(gate))
            others = [executor.submit(called.mark, str(folder), f"m{n}") for n in range(20)]
            until((tmp_path / "begun").exists)
            until(lambda: recalled(cluster.client(), executor) == 20)
            relay.kill()
            cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "1")
            error = stuck.exception(SOON_S)
            assert isinstance(error, BrokenWorker)
            assert error.message == (
                "The call's worker on node `n1` ended while it may have run: "
                "its relay was started again without it"
            )
            done = [future.result(SOON_S) for future in others]
    assert marks(folder) == dict.fromkeys(done, 1)


def recalled(client: Client, executor: Executor) -> int:
    """How many calls its workers have given back."""
    events = client.events(job=executor.job_id)
    return sum(len(event["payload"]["spec"].get("recalled", ())) for event in events)


def test_an_executor_that_no_node_has_room_for_says_so(local: LocalCluster) -> None:
    """Once, by the Hub's reasons: it would look as if the calls took long."""
    with local.executor(1, cpu=64) as executor:
        with pytest.warns(RuntimeWarning, match="needs 64 cpus, the largest relay has 4") as told:
            future = executor.submit(called.add, 1)
            with pytest.raises(FutureTimedOut):
                future.result(7.0)
        assert [str(each.message).count(executor.job_id) for each in told] == [1]
        future.cancel()


def test_a_killed_hub_loses_no_call_and_repeats_none(tmp_path: Path) -> None:
    """Calls and results are in its log, and both ends take up where they were."""
    folder = tmp_path / "marks"
    folder.mkdir()
    count = 300
    with Cluster(tmp_path) as cluster:
        cluster.start("relay", "--ns", "calls", "--node-id", "n1", "--cpus", "2")
        with Executor(2, client=cluster.client()) as executor:
            names = [f"m{n}" for n in range(count)]
            results = executor.map(called.mark_slowly, [str(folder)] * count, names)
            until(lambda: len(list(folder.iterdir())) > count // 10)
            assert cluster.hub is not None
            cluster.hub.kill()
            cluster.start_hub()
            assert list(results) == names
    assert marks(folder) == dict.fromkeys(names, 1)


def test_a_program_that_ends_has_its_calls_run_first(local: LocalCluster, tmp_path: Path) -> None:
    """As with any executor of the standard library; and after that none is taken."""
    program = (
        "import atexit, sys, called\n"
        "from hpc import Client, Executor\n"
        "def late():\n"
        "    try:\n"
        "        executor.submit(called.add, 1)\n"
        "    except RuntimeError as error:\n"
        "        print('refused:', error)\n"
        "atexit.register(late)\n"
        "executor = Executor(2, client=Client(home=sys.argv[1]))\n"
        "for n in range(20):\n"
        "    executor.submit(called.mark_slowly, sys.argv[2], f'm{n}')\n"
        "executor.shutdown(wait=False)\n"
    )
    command = [sys.executable, "-c", program, local.home, tmp_path]
    environ = {**os.environ, "PYTHONPATH": str(Path(called.__file__).parent)}
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "refused: Executor takes no calls any more" in ran.stdout
    assert marks(tmp_path) == {f"m{n}": 1 for n in range(20)}


def test_a_local_cluster_stays_until_the_calls_of_its_program_are_over(tmp_path: Path) -> None:
    """A script that forgets to wait loses nothing, and ends."""
    program = (
        "import sys, called\n"
        "from hpc import LocalCluster\n"
        "cluster = LocalCluster(cpus=1, monitor=False)\n"
        "executor = cluster.executor()\n"
        "for n in range(20):\n"
        "    executor.submit(called.mark_slowly, sys.argv[1], f'm{n}')\n"
        "print(cluster.home)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(called.__file__).parent)}
    command = [sys.executable, "-c", program, tmp_path]
    ran = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=SOON_S
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert marks(tmp_path) == {f"m{n}": 1 for n in range(20)}
    assert not Path(ran.stdout.strip()).exists()


def test_a_closed_cluster_fails_the_calls_that_it_takes_with_it(tmp_path: Path) -> None:
    """Whoever waits for them must not wait for a Hub that never comes back."""
    with LocalCluster(cpus=1, monitor=False) as cluster:
        executor = cluster.executor()
        future = executor.submit(called.begin_and_wait_for, str(tmp_path), str(tmp_path / "gate"))
        until((tmp_path / "begun").exists)
    with pytest.raises(BrokenWorker, match="was closed"):
        future.result(0)
    cluster.close()


def test_a_local_cluster_ends_with_its_program_even_if_that_is_killed() -> None:
    """A notebook's kernel that is killed must leave neither processes nor files."""
    program = (
        "import sys, time\n"
        "from hpc import LocalCluster\n"
        "cluster = LocalCluster(cpus=1)\n"
        "pid = cluster.executor(1).submit(__import__('os').getpid).result(60)\n"
        "print(cluster.home, pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        home, pid = started.stdout.readline().split()
        below = psutil.Process(started.pid).children(recursive=True)
        assert len(below) >= 5  # guard, hub, relay, its supervisor, monitor
        started.kill()
    pids = [int(pid), *(process.pid for process in below)]
    until(lambda: all(map(is_gone, pids)))
    until(lambda: not Path(home).parent.exists())


# as_completed


def test_jobs_and_futures_come_as_they_end(
    local: LocalCluster, executor: Executor, tmp_path: Path
) -> None:
    """Whoever waits for several things of two kinds should need one loop."""
    gate = tmp_path / "gate"
    with local.client() as client:
        slow = client.submit(f"until test -e {gate}; do sleep 0.05; done", memory="16M")
        quick = client.submit(["true"], memory="16M")
        future = executor.submit(called.add, 1, 2)
        ended = as_completed([slow, quick, future, quick], timeout=SOON_S)
        assert {next(ended), next(ended)} == {quick, future}
        gate.touch()
        assert list(ended) == [slow]
        assert list(as_completed([slow, quick])) in ([slow, quick], [quick, slow])


def test_waiting_ends_in_time_and_changes_nothing(local: LocalCluster) -> None:
    """It is a TimeoutError, as that of the standard library is, and one of ours."""
    with local.client() as client:
        job = client.submit(["sleep", "60"], memory="16M")
        for kind in (TimeoutError, TimedOut):
            with pytest.raises(kind, match=r"1 \(of 1\) jobs and futures"):
                list(as_completed([job], timeout=0.05))
        job.cancel()
        assert list(as_completed([job], timeout=SOON_S)) == [job]


def test_a_job_that_was_retried_ends_a_second_time(local: LocalCluster, tmp_path: Path) -> None:
    """Its phase is that of a finished job all the while; what tells is its further round."""
    flag, gate = tmp_path / "flag", tmp_path / "gate"
    command = f"test -e {flag} || exit 3; until test -e {gate}; do sleep 0.05; done"
    with local.client() as client:
        job = client.submit(command, memory="16M", tasks="0-2")
        assert list(as_completed([job], timeout=SOON_S)) == [job]
        assert job.info()["state"] == "failed"
        flag.touch()
        job.retry()
        ended = as_completed([job, same := client.job(job.id)], timeout=SOON_S)
        until(lambda: job.info()["state"] == "running")
        gate.touch()
        assert set(ended) == {job, same}
        assert job.info()["state"] == "succeeded"
