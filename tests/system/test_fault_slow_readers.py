"""Readers that ask for everything and take nothing: the Hub keeps none of it for them."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid

import psutil

from hpc.access import read_access
from hpc.testing.processes import Cluster

READERS = 20
JOBS = 200
JOB_BYTES = 100_000


def test_fault_58_readers_that_take_nothing_cost_the_hub_nothing(cluster: Cluster) -> None:
    """20 MB of events for 20 of them would be 400 MB; and who submits does not wait for them."""
    assert cluster.hub is not None
    hub = psutil.Process(cluster.hub.pid)
    access = read_access(cluster.home)
    asked = (
        f"GET /events?follow=true HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {access.token}\r\n"
        "\r\n"
    ).encode()
    slowest_s = 0.0
    with contextlib.ExitStack() as stack, contextlib.closing(cluster.http()) as http:
        for _ in range(READERS):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", cluster.port))
            sock.sendall(asked)
            assert sock.recv(15, socket.MSG_PEEK).startswith(b"HTTP/1.1 200")
        before = hub.memory_info().rss
        for number in range(JOBS):
            began_s = time.monotonic()
            reply = http.post("/ingest", _batch(number))
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            assert reply.status == 200, reply.body
        grown = hub.memory_info().rss - before
    assert grown < READERS * JOBS * JOB_BYTES / 4, f"{grown >> 20} MiB"
    assert slowest_s < 5.0
    assert cluster.client().nodes() is not None
    assert hub.is_running()


def _batch(number: int) -> dict[str, object]:
    spec = {
        "command": "true",
        "cpu": 1,
        "memory": 16,
        "env": {"BALLAST": f"{number:x}" * 10 + "x" * JOB_BYTES},
    }
    event = {
        "kind": "SubmitJob",
        "at": time.time_ns() // 1_000_000,
        "payload": {"ctx": {"ns_id": "batch", "job_id": f"j{number}x"}, "spec": spec},
    }
    return {"id": str(uuid.uuid4()), "events": [event]}
