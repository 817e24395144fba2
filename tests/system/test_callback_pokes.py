"""Callbacks of a real Hub: they arrive, at a relay's `--port` too, and cost nobody anything."""

from __future__ import annotations

import http.server
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from hpc.testing.processes import Cluster, until

NAMES = ("usage", "relay", "dead", "slow")
RULE = {"on": "SubmitJob", "table": "t", "key": "$kind", "join": {"n": {"count": 1}}}
DEADLINE_S = 30.0


class Told(http.server.BaseHTTPRequestHandler):
    """Notes what is posted; below `/slow` it answers nobody before the test is over."""

    posted: queue.Queue[tuple[dict[str, str], bytes]]
    is_over: threading.Event

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/slow":
            self.is_over.wait(DEADLINE_S)
            return
        self.posted.put((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def told() -> Iterator[tuple[int, queue.Queue[tuple[dict[str, str], bytes]]]]:
    """A real server, its port and what it was told."""
    state = {"posted": queue.Queue[Any](), "is_over": threading.Event()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("_Told", (Told,), state))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], state["posted"]  # type: ignore[misc]
    finally:
        state["is_over"].set()  # type: ignore[union-attr]
        server.shutdown()
        thread.join()
        server.server_close()


def figures(cluster: Cluster) -> dict[str, Any]:
    with closing(cluster.http()) as http:
        found: dict[str, Any] = http.get("/healthz?full=true").json()
        return dict(found["callbacks"])


def poke_port(cluster: Cluster) -> str:
    said = until(lambda: "/poke" in cluster.processes[-1].log.read_text() and cluster)
    line = next(x for x in said.processes[-1].log.read_text().splitlines() if "/poke" in x)
    return line.rsplit(":", 1)[1].removesuffix("/poke")


def test_fault_58_61_callbacks_arrive_and_hold_nobody_up(tmp_path: Path) -> None:
    """One is there, one is a relay, one is dead and one does not answer: jobs run as ever."""
    options = ("--allow-callbacks", "127.0.0.0/8")
    with told() as (port, posted), Cluster(tmp_path, hub=options) as cluster:
        cluster.relay("n1", "--port", "0")
        client = cluster.client()
        urls = (
            f"http://127.0.0.1:{port}/poke",
            f"http://127.0.0.1:{poke_port(cluster)}/poke",
            "http://127.0.0.1:1/",
            f"http://127.0.0.1:{port}/slow",
        )
        for gid, url in zip(NAMES, urls, strict=True):
            spec = {"namespaces": ["batch"], "rules": [RULE], "callback_url": url}
            client.control({"type": "RegisterGenerator", "gid": gid, "spec": spec})

        job = client.submit("true")

        assert job.wait(DEADLINE_S)["state"] == "succeeded"
        headers, body = posted.get(timeout=DEADLINE_S)
        poke = json.loads(body)
        assert poke["gid"] == "usage"
        assert set(poke) == {"gid", "cursor"}
        assert client.pull("usage")["cursor"] >= poke["cursor"] > 0
        assert "Authorization" not in headers
        known = until(lambda: len((found := figures(cluster))["failing"]) >= 2 and found)
        assert known["told"] >= 2
        assert set(known["failing"]) == {"dead", "slow"}

        # A start without the flag calls nobody, and says of whom.
        assert cluster.hub is not None
        cluster.hub.terminate()
        cluster.hub_options = ()
        cluster.start_hub()
        assert cluster.client().submit("true").wait(DEADLINE_S)["state"] == "succeeded"
        known = figures(cluster)
        assert (known["subscribers"], known["told"], known["failed"]) == (0, 0, 0)
        assert set(known["failing"]) == set(NAMES)
        assert posted.empty()
