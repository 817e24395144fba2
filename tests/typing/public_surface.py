"""A program that uses every public name; mypy checks it, nothing runs it.

A name that is missing here fails a test, a signature that moves fails mypy: what is public changes
on purpose, with a line here and one in the changelog.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import pytest

import hpc
from hpc import BrokenWorker, Client, Executor, Graph, Job, LocalCluster, as_completed, errors
from hpc.domain import FieldSpec, GeneratorSpec, Grant, NamespaceSpec, NodeOffer, Work
from hpc.protocols import (
    EventLog,
    Handler,
    LogHead,
    LogInspector,
    LogReader,
    LogRow,
    LogTools,
    Namespace,
    SnapshotHead,
)
from hpc.testing.event_log import (
    EventLogContract,
    OpenLog,
    head_of,
    make_row,
    make_rows,
    stored,
)
from hpc.testing.laws import LAWS, LawBroken, NamespaceLaws, check_namespace
from hpc.testing.netns import Network, missing
from hpc.testing.processes import Cluster, Process, until
from hpc.testing.small_hub import SmallHub

version: str = hpc.__version__


def write(client: Client) -> None:
    """What a program tells a Hub."""
    words = client.submit(["./sim", "--steps", "100"])
    everything = client.submit(
        "./sim | tee log",
        cpu=2,
        memory="4G",
        gpus=1,
        resources={"fpgas": 2},
        require={"zone": "b"},
        nodes=["n1", "n2"],
        exclude=["n3"],
        exclusive=False,
        max_per_node=4,
        min_time="30m",
        key="sim-4",
        name="a label",
        priority=3,
        tasks="0-99",
        env={"OMP_NUM_THREADS": "2"},
        cwd=Path("/scratch"),
        time_limit="1h30m",
        stdin="/scratch/in",
        stdout="out-%a",
        stderr="err-%a",
        grace=10.0,
        on_cut_off="stop",
    )
    other = client.submit_spec(
        "hello",
        {"who": "world"},
        kind="Greet",
        key="g",
        name=None,
        priority=0,
        tasks=None,
        entries=None,
    )
    listed = client.submit(["gzip", "{}"], entries=["a.txt", "b.txt"], expand=True)
    assert_type(listed, Job)
    assert_type(words, Job)
    assert_type(everything, Job)
    assert_type(other, Job)

    with client.graph(key="k") as graph:
        first = graph.submit(["./prepare"], key="prepare", name="a label", priority=3, cpu=2)
        graph.submit(
            "./fit {}",
            entries=["a"],
            expand=True,
            env={"X": "1"},
            cwd=Path("/scratch"),
            after=[first],
            after_any=["other"],
            after_fail=["prepare"],
            after_task=True,
            hold=True,
        )
        graph.submit("./fit", tasks="0-99")
    assert_type(graph, Graph)
    assert_type(first, Job)
    assert_type(graph.key, str)
    assert_type(graph.jobs, dict[str, Job])

    event = {"kind": "Greeted", "payload": {"ctx": {"ns_id": "hello"}, "spec": {"who": "world"}}}
    assert_type(client.ingest([event]), dict[str, Any])
    assert_type(client.ingest([event], batch_id="b-1"), dict[str, Any])
    assert_type(client.control({"type": "RegisterNamespace"}), dict[str, Any])
    assert_type(client.cancel("sim-4", tasks="3-7", reason="too slow"), dict[str, Any])


def read(client: Client) -> None:
    """What a program asks a Hub."""
    job = client.job("sim-4")
    assert_type(job.id, str)
    assert_type(job.info(), dict[str, Any])
    assert_type(job.wait(), dict[str, Any])
    assert_type(job.wait(timeout_s=5), dict[str, Any])
    assert_type(job.tasks(), Iterator[dict[str, Any]])
    assert_type(job.tasks(state="failed"), Iterator[dict[str, Any]])
    assert_type(job.log(), Iterator[bytes])
    assert_type(job.log(3, stream="stderr", follow=True), Iterator[bytes])
    job.cancel()
    job.cancel(tasks="3", reason="not needed")
    job.hold(tasks="3", reason="not yet")
    job.release(tasks="3", reason="now")
    job.prioritise(5)
    job.prioritise(7, tasks="3-7")
    job.retry(tasks="3", reason="it was killed", memory="4G")
    why: dict[str, Any] = job.why()
    print(why["nodes"])
    job.forget(reason="nobody asks for it any more")
    assert_type(client.request("HoldJob", "sim-4", tasks="3"), dict[str, Any])
    later = client.submit("true", after=[job, "fit"], after_any=["a"], after_fail=["b"], hold=True)
    assert_type(later, Job)

    assert_type(client.info("sim-4"), dict[str, Any])
    assert_type(client.wait("sim-4", timeout=60), dict[str, Any])
    assert_type(client.infos(["sim-4", "sim-5"]), dict[str, dict[str, Any]])
    assert_type(client.why("sim-4"), dict[str, Any])
    assert_type(client.wait("sim-4", timeout_s=1.0), dict[str, Any])
    assert_type(client.jobs(state="running", order="desc"), Iterator[dict[str, Any]])
    tasks = client.tasks("sim-4", state="failed", after=9, limit=100)
    assert_type(tasks, Iterator[dict[str, Any]])
    assert_type(client.nodes(), Iterator[dict[str, Any]])
    assert_type(client.figures(), dict[str, Any])
    assert_type(client.dashboard_url(), str)
    assert_type(client.url, str)
    assert_type(client.events(17, follow=True, job="sim-4"), Iterator[dict[str, Any]])
    coming = client.again(patience_s=5.0).follow(17, job="sim-4")
    for event in coming:
        assert_type(event, dict[str, Any])
        coming.close()
    assert_type(coming.cursor, int)
    assert_type(client.conflicts("batch"), Iterator[dict[str, Any]])
    assert_type(client.read("/nodes", [("limit", 10)]), dict[str, Any])
    page = client.pull("monitor", 17, table="nodes", limit=100, wait_s=30, hub="h")
    assert_type(page, dict[str, Any])
    with client.log("sim-4", 0, stream="stdout", follow=False) as pieces:
        for piece in pieces:
            assert_type(piece, bytes)


def call(client: Client) -> None:
    """What a program calls on workers."""
    everything = Executor(
        8,
        client=client,
        cpu=2,
        memory="4G",
        env={"OMP_NUM_THREADS": "2"},
        cwd=Path("/scratch"),
        python="/env/bin/python",
        initializer=print,
        initargs=("ready",),
        idle=300.0,
        name="a label",
    )
    assert_type(everything.job_id, str)
    with Executor() as executor:
        future = executor.submit(pow, 2.0, 8.0)
        assert_type(executor.submit(len, "x").result(5.0), int)
        assert_type(executor.map(len, ["a", "b"], timeout=5.0, chunksize=2), Iterator[int])
        job = client.job("sim-4")
        for ended in as_completed([job, future], timeout=60.0):
            print(ended)
        for one in as_completed([job]):
            assert_type(one, Job)
            assert_type(one.client, Client)
        try:
            future.result()
        except BrokenWorker as error:
            print(error.message, error.hint)
    everything.give_up("not needed any more")
    everything.shutdown(wait=False, cancel_futures=True)


def local() -> None:
    """A cluster for a while."""
    with LocalCluster(cpus=4, memory="8G", lease=5.0, monitor=False) as cluster:
        assert_type(cluster.client(), Client)
        assert_type(cluster.executor(2, idle=10.0), Executor)
        assert_type(cluster.home, Path)
    LocalCluster().close()


def connect(home: os.PathLike[str]) -> None:
    """Ways to find a Hub."""
    with Client() as client:
        assert_type(client, Client)
    Client("http://127.0.0.1:8080", token="t", timeout_s=5, patience_s=0).close()
    Client("https://hub:8080", token="t", tls_sha256="ab" * 32).close()
    Client(home=home).close()
    assert_type(Client(at=17).at, int | None)


def handle(client: Client) -> int:
    """Every error has a class, fields and an exit code."""
    try:
        client.submit("true")
    except errors.Refused as error:
        assert_type(error.errors, list[dict[str, Any]])
    except errors.Conflict as error:
        assert_type(error.problem, dict[str, Any])
    except (errors.NoHub, errors.NotFound, errors.NotAllowed, errors.TimedOut):
        raise
    except (errors.StorageFull, errors.StorageKnown, errors.StorageLocked, errors.StorageForeign):
        raise
    except (errors.StorageDamaged, errors.StorageError):
        raise
    except errors.UsageError as error:
        raise errors.HpcError(error.message, code="mine", field="x", hint="y") from error
    except errors.HpcError as error:
        shown: tuple[str, str, str | None, str | None] = (
            error.message,
            error.code,
            error.field,
            error.hint,
        )
        print(*shown)
        return error.exit_code
    return 0


class Sim:
    """A namespace, as an entry point of `hpc.namespaces` loads it."""

    namespace = NamespaceSpec(
        ns_id="sim",
        revision=2,
        preemptible=False,
        handler_type="mine",
        resources={"cpus": "$spec.cpu"},
        acts_as={"Start": "SubmitJob"},
        by={"Start": "submit"},
        open=["Start"],
        schema={
            "Start": [
                FieldSpec(key="cpu", expected_type="Int", min=1, max=8, default=1),
                FieldSpec(key="solver", expected_type="String", one_of=["euler", "rk4"]),
                FieldSpec(key="args", expected_type="List", required=True, format="argv"),
            ]
        },
    )
    generators: list[GeneratorSpec] = [  # noqa: RUF012 - the shape of Namespace
        GeneratorSpec(
            gid="sim",
            namespaces=["sim"],
            rules=[{"on": "Start", "table": "t", "key": "$kind", "join": {"n": {"count": 1}}}],
        )
    ]


class MyHandler:
    """A handler, as an entry point of `hpc.handlers` loads it."""

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what to execute."""
        if "solver" not in grant.spec:
            raise errors.Refused(f"Job `{grant.job_id}` names no solver", field="spec.solver")
        return Work(
            job_id=grant.job_id,
            ns_id=grant.ns_id,
            attempt=grant.attempt,
            epoch=offer.epoch,
            tasks=grant.tasks,
            kind="process",
            argv=["solve", *grant.spec["args"]],
            cpus=grant.resources["cpus"],
        )


plugins: tuple[Namespace, Handler] = (Sim(), MyHandler())


class TestMyLog(EventLogContract):
    """The contract suite of logs, over a log of one's own."""

    @pytest.fixture
    def open_log(self) -> OpenLog:
        """Return a function that opens the same log each time."""
        raise NotImplementedError


def logs(log: EventLog) -> None:
    """What the suite's helpers make."""
    row = make_row(log.head(), count=3, batch_id="b", job_ids=["j"])
    assert_type(row, LogRow)
    assert_type(head_of([row]), LogHead)
    assert_type(make_rows(log.head(), [1, 2]), list[LogRow])
    assert_type(stored([row]), list[LogRow])
    reader = log.reader()
    assert_type(reader, LogReader)
    assert_type(reader.read(1, 100), list[LogRow])
    assert_type(reader.floor(), int)
    assert_type(reader.snapshots(), list[SnapshotHead])
    assert_type(reader.read_snapshot(1), bytes)
    reader.close()


def log_tools(tools: LogTools, data: Path) -> None:
    """What `hpc log` does with a storage."""
    inspector = tools.reader(data)
    assert_type(inspector, LogInspector)
    assert_type(inspector.integrity(), list[str])
    assert_type(tools.export(data, data / "copy"), LogHead)


def cluster(folder: Path) -> None:
    """Real processes for a test of one's own."""
    with Cluster(folder) as here:
        assert_type(here.start_hub(), Process)
        relay = here.relay("n1", cpus=2)
        assert_type(here.client(), Client)
        assert_type(until(lambda: relay.pid, timeout_s=5.0), int)
        relay.kill()
        assert_type(here.start("relay", "--ns", "batch").terminate(), int)
    assert_type(missing(), str | None)
    with Network() as network, network.entered("hub"):
        assert_type(network.within("relay"), list[str])
        Cluster(folder, network=network, hub=("--tls", "auto"))
        network.mute("hub")
        network.heal()


def prove(module: Namespace, beside: NamespaceSpec) -> None:
    """What a package that brings a namespace tests it with."""

    class TestMine(NamespaceLaws):
        module = Modules.mine
        beside = (Modules.other,)
        max_examples = 200

    TestMine().check("M2")
    check_namespace(module)
    try:
        check_namespace(
            module, laws=LAWS, max_examples=10, beside=[beside], open_hub=SmallHub, shrink=False
        )
    except LawBroken as broken:
        print(broken.law, broken.detail, broken.cell, broken.rules, broken.events)
    hub = SmallHub()
    hub.register(module.namespace)
    assert_type(hub.offer("b1", [], dry_run=True).status, int)
    assert_type(hub.head, int)


class Modules:
    """Stand-ins for what other packages bring."""

    mine: Namespace
    other: NamespaceSpec
