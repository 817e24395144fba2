"""Over HTTP, durable: a 200 comes after the commit. And reads, and the start of a Hub."""

from __future__ import annotations

import json
import select
import socket
import statistics
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from bench_engine import EVENTS_A_BATCH, samples

from hpc import _core
from hpc.access import read_access
from hpc.testing.processes import Cluster

BATCHES = 200
CONNECTIONS = 4
SINGLES = 20_000
SINGLE_CONNECTIONS = 64
PULLS = 2_000
LOG_EVENTS = 1_000_000
LENGTH = b"content-length:"
TYPES = {"json": "application/json", "msgpack": "application/msgpack"}


@pytest.mark.parametrize("form", ["json", "msgpack"])
def bench_durable_ingest(benchmark: Any, cluster: Cluster, report: Any, form: str) -> None:
    """Batches of 1,000 events, each acknowledged after its fsync, by a few connections at once."""
    bodies = [samples(batch) for batch in range(BATCHES)]
    if form == "msgpack":
        bodies = [_core.msgpack_of_json(body) for body in bodies]

    def run() -> float:
        lanes = [
            threading.Thread(target=post, args=(cluster, bodies[lane::CONNECTIONS], form))
            for lane in range(CONNECTIONS)
        ]
        began = time.perf_counter()
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        return time.perf_counter() - began

    took = benchmark.pedantic(run, rounds=1)

    counted = recorded(cluster)
    assert counted == BATCHES * EVENTS_A_BATCH
    report(events_per_s=counted / took, batches=BATCHES, connections=CONNECTIONS)


def post(cluster: Cluster, bodies: Iterable[bytes], form: str = "json") -> None:
    """Send bodies one after the other."""
    http = cluster.http()
    for body in bodies:
        assert http.request("POST", "/ingest", body, content_type=TYPES[form]).status == 200


def recorded(cluster: Cluster) -> int:
    """How many samples the Hub knows."""
    pulled = cluster.client().pull("monitor")
    return sum(row["reports"] for row in pulled["facts"]["nodes"].values())


def bench_single_events(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """One event a request, 64 connections, each waiting for its 200 before it sends the next."""
    access = read_access(cluster.home)
    host = urlsplit(access.url)
    requests = [single(access.token, host.netloc, n) for n in range(SINGLES)]

    def run() -> float:
        began = time.perf_counter()
        answered = drive(requests, (host.hostname or "", host.port or 0), SINGLE_CONNECTIONS)
        assert answered == SINGLES
        return time.perf_counter() - began

    took = benchmark.pedantic(run, rounds=1)

    assert recorded(cluster) == SINGLES
    report(events_per_s=SINGLES / took, connections=SINGLE_CONNECTIONS)


def single(token: str, netloc: str, n: int) -> bytes:
    """A request with one sample."""
    event = {
        "kind": "HardwareStats",
        "payload": {
            "ctx": {"ns_id": "monitor", "node_id": f"n{n % 50}"},
            "spec": {"cpu_usage": "1%", "mem_used_kb": n, "mem_total_kb": 10**6},
        },
    }
    body = json.dumps({"events": [event]})
    head = (
        f"POST /ingest HTTP/1.1\r\nHost: {netloc}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def drive(requests: list[bytes], address: tuple[str, int], connections: int) -> int:
    """Keep one request open on each connection until all are answered; return how many were."""
    poll = select.epoll()
    pieces: dict[int, bytes] = {}
    left = iter(requests)
    open_sockets: dict[int, socket.socket] = {}
    answered = 0
    for _ in range(connections):
        sock = socket.create_connection(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        open_sockets[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
        sock.sendall(next(left))
    while open_sockets:
        for fd, _ in poll.poll():
            sock = open_sockets[fd]
            answer = pieces.pop(fd, b"") + sock.recv(65536)
            if not is_whole(answer):
                pieces[fd] = answer
                continue
            assert answer.startswith(b"HTTP/1.1 200"), answer
            answered += 1
            request = next(left, None)
            if request is None:
                poll.unregister(fd)
                open_sockets.pop(fd).close()
            else:
                sock.sendall(request)
    return answered


def is_whole(answer: bytes) -> bool:
    """Whether an answer has come to its end."""
    head, found, body = answer.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == LENGTH]
    return bool(found) and len(body) == lengths[0]


def bench_pull_over_http(benchmark: Any, cluster: Cluster, report: Any) -> None:
    """A pull of ten changed rows, one after the other on one connection."""
    post(cluster, [samples(batch) for batch in range(20)])
    http = cluster.http()
    cursor = cluster.client().pull("monitor")["cursor"]
    last = [json.loads(samples(1_000))["events"][i] for i in range(10)]
    http.request("POST", "/ingest", json.dumps({"events": last}).encode())
    query = [("gid", "monitor"), ("cursor", str(cursor))]

    def run() -> list[float]:
        took = []
        for _ in range(PULLS):
            began = time.perf_counter()
            answer = http.get("/pull", query)
            took.append(1e3 * (time.perf_counter() - began))
        assert len(answer.json()["facts"]["nodes"]) == 10
        return took

    took = sorted(benchmark.pedantic(run, rounds=1))
    report(p50_ms=statistics.median(took), p99_ms=took[int(0.99 * len(took))], pulls=PULLS)


def bench_start(benchmark: Any, tmp_path: Path, report: Any) -> None:
    """From the start of the process to ready: an empty log, a long one, the same by snapshot."""
    with Cluster(tmp_path / "empty", lease_s=30) as empty:
        assert empty.hub is not None
        empty.hub.terminate()
        began = time.perf_counter()
        empty.start_hub()
        empty_s = time.perf_counter() - began
    folder = tmp_path / "full"
    with Cluster(folder, lease_s=30) as full:
        assert full.hub is not None
        full.hub.terminate()
        # No snapshot is due before the last event, so that the first start has to replay them all.
        full.start_hub("--snapshot-events", str(10 * LOG_EVENTS))
        lanes = [
            threading.Thread(
                target=post, args=(full, [samples(b) for b in range(lane, 1_000, CONNECTIONS)])
            )
            for lane in range(CONNECTIONS)
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        full.hub.kill()
        began = time.perf_counter()
        full.start_hub()
        replay_s = time.perf_counter() - began
        assert recorded(full) == LOG_EVENTS
        full.hub.terminate()  # a clean stop writes a snapshot

        def run() -> float:
            began = time.perf_counter()
            full.start_hub()
            return time.perf_counter() - began

        snapshot_s = benchmark.pedantic(run, rounds=1)
        assert recorded(full) == LOG_EVENTS
        said = "".join(log.read_text() for log in folder.glob("hub-*.log"))
        assert "snapshot" in said
    report(
        empty_s=empty_s,
        replay_beyond_s=replay_s - empty_s,
        snapshot_beyond_s=snapshot_s - empty_s,
        events=LOG_EVENTS,
    )
