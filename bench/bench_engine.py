"""The engine alone: bytes to joined facts, joins, and pulls. No disk, no network, one core."""

from __future__ import annotations

import gc
import json
import time
from typing import Any

import msgspec
import pytest

from hpc import _core, plugins

HUB_ID = "bench"
EVENTS_A_BATCH = 1_000
NODES = 50


def hub_with(*ns_ids: str) -> _core.Hub:
    """A Hub in memory with the namespaces registered."""
    hub = _core.Hub(hub_id=HUB_ID, lease_ms=30_000, reclaim_ms=300_000)
    hub.start(wall_ms=1, mono_ms=1)
    for module in plugins.namespaces().namespaces:
        if module.namespace.ns_id not in ns_ids:
            continue
        spec = msgspec.to_builtins(module.namespace)
        register(hub, "RegisterNamespace", "ns_id", spec)
        for generator in module.generators:
            register(hub, "RegisterGenerator", "gid", msgspec.to_builtins(generator))
    return hub


def register(hub: _core.Hub, kind: str, key: str, spec: dict[str, Any]) -> None:
    """Register one spec."""
    request = {"type": kind, key: spec.pop(key), "spec": spec}
    ask(hub, "control", "", request)


def ask(hub: _core.Hub, verb: str, query: str, body: object = None) -> Any:
    """One turn with one request."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (reply,) = hub.step([(1, verb, query, raw, "")], wall_ms=10**12, mono_ms=1).replies
    _, status, answer = reply
    assert status == 200, answer
    return json.loads(answer)


def samples(batch: int) -> bytes:
    """A batch of monitor samples over `NODES` nodes."""
    events = [
        {
            "kind": "HardwareStats",
            "at": batch * EVENTS_A_BATCH + i,
            "payload": {
                "ctx": {"ns_id": "monitor", "node_id": f"n{i % NODES}"},
                "spec": {"cpu_usage": "12.5%", "mem_used_kb": i, "mem_total_kb": 10**6},
            },
        }
        for i in range(EVENTS_A_BATCH)
    ]
    return json.dumps({"id": f"b{batch}", "events": events}).encode()


def submits(batch: int) -> bytes:
    """A batch of jobs of one task each."""
    events = [
        {
            "kind": "SubmitJob",
            "payload": {
                "ctx": {"ns_id": "batch", "job_id": f"j{batch}-{i}"},
                "spec": {"command": "true", "cpu": 1, "memory": 1},
            },
        }
        for i in range(EVENTS_A_BATCH)
    ]
    return json.dumps({"id": f"b{batch}", "events": events}).encode()


@pytest.mark.parametrize(("ns_id", "make"), [("monitor", samples), ("batch", submits)])
def bench_ingest(benchmark: Any, ns_id: str, make: Any) -> None:
    """JSON bytes to log rows and joined facts, 1,000 events per call."""
    batches = iter(range(10**9))

    def setup() -> tuple[tuple[_core.Hub, list[bytes]], dict[str, Any]]:
        return (hub_with(ns_id), [make(next(batches)) for _ in range(20)]), {}

    def run(hub: _core.Hub, bodies: list[bytes]) -> int:
        for body in bodies:
            turn = hub.step([(1, "ingest", "", body, "")], wall_ms=10**12, mono_ms=1)
            assert turn.replies[0][1] == 200
        return hub.last_seq

    seq = benchmark.pedantic(run, setup=setup, rounds=5)
    assert seq >= 20 * EVENTS_A_BATCH
    benchmark.extra_info["events_per_s"] = 20 * EVENTS_A_BATCH / benchmark.stats["min"]


@pytest.mark.parametrize("events", [2_000, 200_000])
def bench_pull_of_one_change(benchmark: Any, events: int) -> None:
    """A pull of one changed row costs the same at any length of the log."""
    hub = hub_with("monitor")
    for batch in range(events // EVENTS_A_BATCH):
        ask(hub, "ingest", "", samples(batch))
    cursor = hub.last_seq
    one = {
        "kind": "HardwareStats",
        "payload": {
            "ctx": {"ns_id": "monitor", "node_id": "n1"},
            "spec": {"cpu_usage": "1%", "mem_used_kb": 1, "mem_total_kb": 1},
        },
    }
    ask(hub, "ingest", "", {"events": [one]})

    page = benchmark(ask, hub, "pull", f"gid=monitor&cursor={cursor}", b"")

    assert list(page["facts"]["nodes"]) == ["n1"]
    assert page["cursor"] == cursor + 1


def bench_beside_pure_python(benchmark: Any, report: Any) -> None:
    """JSON bytes to joined facts here, and the same joins in plain Python from decoded events.

    Python's collector is frozen and off, so that no gain is only its.
    """
    bodies = [samples(batch) for batch in range(50)]
    hub = hub_with("monitor")

    def run() -> float:
        began = time.thread_time()
        for body in bodies:
            ask(hub, "ingest", "", body)
        return time.thread_time() - began

    ours = benchmark.pedantic(run, rounds=1)
    decoded = [json.loads(body)["events"] for body in bodies]
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        began = time.thread_time()
        rows = join_in_python(decoded)
        python = time.thread_time() - began
    finally:
        gc.enable()
        gc.unfreeze()
    pulled = ask(hub, "pull", "gid=monitor&cursor=0", b"")["facts"]["nodes"]
    assert {key: row["peak"] for key, row in rows.items()} == {
        key: row["peak_mem_used_kb"] for key, row in pulled.items()
    }
    events = 50 * EVENTS_A_BATCH
    report(
        ours_ns=1e9 * ours / events,
        python_ns=1e9 * python / events,
        note="ours decodes, checks, de-duplicates and encodes for the log; Python only joins",
    )


def join_in_python(batches: list[list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The generator `monitor` of three of its columns, with the last-changed seq of each cell."""
    rows: dict[str, dict[str, Any]] = {}
    changes: list[tuple[int, str]] = []
    seq = 0
    for events in batches:
        for event in events:
            seq += 1
            ctx, spec = event["payload"]["ctx"], event["payload"]["spec"]
            node, at = ctx["node_id"], event["at"]
            row = rows.get(node)
            if row is None:
                row = rows[node] = {"cpu": None, "peak": None, "reports": 0, "changed": {}}
            said = (at, node, spec["cpu_usage"])
            if row["cpu"] is None or said > row["cpu"]:
                row["cpu"] = said
                row["changed"]["cpu"] = seq
            if row["peak"] is None or spec["mem_used_kb"] > row["peak"]:
                row["peak"] = spec["mem_used_kb"]
                row["changed"]["peak"] = seq
            row["reports"] += 1
            row["changed"]["reports"] = seq
            changes.append((seq, node))
    return rows
