"""The Hub as a process: how it starts, what it refuses, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpc.access import Access, read_access
from hpc.client import Client
from hpc.errors import NotAllowed
from hpc.testing.processes import Cluster, until
from hpc.transport.connection import FILES_RESERVED
from hpc.transport.http_client import HttpClient

DEADLINE_S = 30.0


def hub(cluster: Cluster, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `hpc hub` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hpc", "hub", *arguments],
        env=cluster.env | env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def connection(cluster: Cluster) -> tuple[http.client.HTTPConnection, dict[str, str]]:
    access = read_access(cluster.home)
    opened = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=DEADLINE_S)
    return opened, {"Authorization": f"Bearer {access.token}"}


def test_an_end_answers_what_is_held_and_ends_what_is_followed(cluster: Cluster) -> None:
    """SIGTERM: held requests hear 503 and ask again, streams end, the exit code is 0."""
    pull, headers = connection(cluster)
    pokes, _ = connection(cluster)
    pokes.request("GET", "/pokes", headers=headers)
    stream = pokes.getresponse()
    assert stream.readline().startswith(b":")
    # A held pull gives no sign of being held: one that is answered at once shows where it stands.
    pull.request("GET", "/pull?gid=kernel&cursor=0", headers=headers)
    cursor = json.loads(pull.getresponse().read())["cursor"]
    pull.request("GET", f"/pull?gid=kernel&cursor={cursor}&wait=60", headers=headers)
    assert cluster.hub is not None
    ended: list[int] = []
    ending = threading.Thread(target=lambda: ended.append(cluster.hub.terminate()))  # type: ignore[union-attr]

    ending.start()
    answer = pull.getresponse()

    assert (answer.status, json.loads(answer.read())["code"]) == (503, "stopping")
    assert b"event" not in stream.read()
    ending.join(DEADLINE_S)
    assert ended == [0]
    pull.close()
    pokes.close()


def test_the_token_outlives_a_restart_and_is_kept_from_others(cluster: Cluster) -> None:
    """Relays and monitors that were started before go on with what they read."""
    before = read_access(cluster.home)
    assert cluster.hub is not None
    file = cluster.home / "access.json"
    assert file.stat().st_mode & 0o777 == 0o600

    cluster.hub.terminate()
    cluster.start_hub()

    assert read_access(cluster.home) == before
    arguments = Path(f"/proc/{cluster.hub.pid}/cmdline").read_bytes()
    assert before.token.encode() not in arguments
    assert before.token not in cluster.hub.log.read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org"])
def test_another_host_than_loopback_is_refused_with_the_reason(cluster: Cluster, host: str) -> None:
    """Off loopback the token would travel in the clear."""
    ended = hub(cluster, "--host", host, "--port", "0", "--data", str(cluster.folder / "other"))

    assert ended.returncode == 2
    assert "TLS" in ended.stderr and "hint:" in ended.stderr
    assert ended.stdout == ""


def test_a_taken_port_is_said(cluster: Cluster) -> None:
    """Exit 2 with a way out; the Hub that has the port is not touched."""
    data = str(cluster.folder / "other")

    ended = hub(cluster, "--port", str(cluster.port), "--data", data)

    assert ended.returncode == 2
    assert str(cluster.port) in ended.stderr and "--port 0" in ended.stderr
    assert list(cluster.client().jobs()) == []


def test_fault_12_a_second_hub_on_the_same_log_is_refused(cluster: Cluster) -> None:
    """Reliability row 12: two writers would each believe the log to be theirs."""
    ended = hub(cluster, "--port", "0")

    assert ended.returncode == 1
    assert cluster.hub is not None
    assert str(cluster.hub.pid) in ended.stderr
    assert list(cluster.client().jobs()) == []


def test_a_hub_that_takes_the_access_file_of_one_that_answers_says_so(cluster: Cluster) -> None:
    """It leads everybody here away from that one; a Hub that is back elsewhere says nothing."""
    assert cluster.hub is not None
    first = read_access(cluster.home).url
    second = cluster.start("hub", "--port", "0", "--data", str(cluster.folder / "second"))
    assert read_access(cluster.home).url in second.ready_line
    assert (
        f"the access file led to {first}, where something still answers" in second.log.read_text()
    )

    second.terminate()
    third = cluster.start("hub", "--port", "0", "--data", str(cluster.folder / "second"))
    assert "the access file led" not in third.log.read_text()


def test_an_idle_hub_does_not_wake(cluster: Cluster) -> None:
    """Design section 15, point 1: nothing sleeps to poll."""
    assert cluster.hub is not None
    tasks = Path(f"/proc/{cluster.hub.pid}/task")

    def switches() -> int:
        lines = "".join(one.read_text() for one in tasks.glob("*/status")).splitlines()
        return sum(int(x.split()[1]) for x in lines if x.startswith("voluntary_ctxt_switches"))

    def rests() -> bool:
        """Whether a whole second has passed with less than the 15 wake-ups that are allowed."""
        before = switches()
        threading.Event().wait(1.0)
        return switches() - before < 15

    assert until(rests)


def test_a_frozen_hub_costs_no_node_its_lease(cluster: Cluster) -> None:
    """A Hub that slept longer than a lease could not hear anybody; it must not blame the nodes."""
    cluster.relay("n1")
    client: Client = cluster.client()
    until(lambda: [node for node in client.nodes() if node["state"] == "up"])
    assert cluster.hub is not None

    os.kill(cluster.hub.pid, signal.SIGSTOP)
    threading.Event().wait(cluster.lease_s * 1.5)
    os.kill(cluster.hub.pid, signal.SIGCONT)
    job = client.submit("true", memory=64)

    assert job.wait(DEADLINE_S)["state"] == "succeeded"
    kinds = [event["kind"] for event in client.events()]
    assert "NodeLost" not in kinds


def test_fault_57_a_thousand_connections_are_held(cluster: Cluster) -> None:
    """At least 1,000 are promised, and the soft limit of open files is often 1,024."""
    request = b"GET /healthz HTTP/1.1\r\nHost: hub\r\n\r\n"
    opened: list[socket.socket] = []
    try:
        for _ in range(1000):
            try:
                opened.append(socket.create_connection(("127.0.0.1", cluster.port), DEADLINE_S))
            except OSError as error:
                if error.errno == 24:  # EMFILE: this process's own limit, not the Hub's
                    break
                raise
        for one in opened:
            one.sendall(request)
        assert all(one.recv(4096).startswith(b"HTTP/1.1 200 ") for one in opened)
    finally:
        for one in opened:
            one.close()


def test_health_counts_what_was_done_for_those_with_the_token(cluster: Cluster) -> None:
    """Without it the route tells nothing but ok; a commit is one turn's, whoever shares it."""
    before = cluster.http().get("/healthz", [("full", "true")]).json()
    cluster.client().submit("true", memory=16)
    after = cluster.http().get("/healthz", [("full", "true")]).json()

    assert after["commits"] == before["commits"] + 1
    assert after["cursor"] == before["cursor"] + 1
    assert cluster.http().get("/healthz").body == b"ok\n"
    stranger = HttpClient(lambda: Access(read_access(cluster.home).url, "wrong"))
    with pytest.raises(NotAllowed):
        stranger.get("/healthz", [("full", "true")])


def test_a_log_can_be_had_as_json(cluster: Cluster) -> None:
    """One object, or a line for each piece of what is followed."""
    cluster.relay()
    job = cluster.client().submit("echo out; echo err >&2", memory=16)
    job.wait(30)
    command = [sys.executable, "-m", "hpc", "job", "log", job.id, "--json"]

    def printed(*more: str) -> str:
        ran = subprocess.run(
            [*command, *more], env=cluster.env, capture_output=True, text=True, check=True
        )
        return ran.stdout

    whole = json.loads(printed())
    assert whole["schema"] == "hpc.job.log/1"
    assert whole["cursor"] > 0
    assert whole["data"] == {"job_id": job.id, "stdout": "out\n", "stderr": "err\n"}
    lines = [json.loads(line) for line in printed("--follow").splitlines()]
    assert {line["stream"]: line["data"] for line in lines} == {
        "stdout": "out\n",
        "stderr": "err\n",
    }


def test_fault_59_who_dials_cannot_take_the_files_that_the_log_needs(cluster: Cluster) -> None:
    """Reliability row 59: a hundred idle sockets on a Hub that may open few files; jobs go on."""
    cluster.relay()
    client = cluster.client()
    client.submit("true").wait(30)
    assert cluster.hub is not None
    few = FILES_RESERVED + 40
    resource.prlimit(cluster.hub.pid, resource.RLIMIT_NOFILE, (few, few))
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", cluster.port)
        socks = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        refused = socks[-1].recv(1024)
        assert refused.startswith(b"HTTP/1.1 503 ")
        job = client.submit("echo here")
        assert job.wait(30)["state"] == "succeeded"
    assert b"".join(job.log()) == b"here\n", "its output was stored meanwhile"


def test_fault_18_a_data_folder_that_is_gone_is_not_begun_anew(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Reliability row 18: a disk that is not mounted looks like a folder that never was."""
    data = tmp_path / "disk" / "hub"
    assert cluster.hub is not None
    cluster.hub.terminate()
    cluster.start_hub("--data", str(data))
    cluster.client().submit("true", hold=True)
    cluster.hub.terminate()

    data.rename(tmp_path / "away")
    for _ in range(2):
        refused = hub(cluster, "--data", str(data))
        assert refused.returncode == 1
        assert "has held Hub" in refused.stderr
        assert not data.exists()
        data.mkdir()  # the mount point, empty
        refused = hub(cluster, "--data", str(data))
        assert refused.returncode == 1
        assert list(data.iterdir()) == []
        data.rmdir()
    (tmp_path / "away").rename(data)
    cluster.start_hub("--data", str(data))
    assert [job["state"] for job in cluster.client().jobs()] == ["held"]
