"""Tokens with real processes: made, used, revoked, kept over a restart, and found nowhere."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from commands import run, succeed

from hpc.access import Access, read_access
from hpc.client import Client
from hpc.testing.processes import Cluster, Process, until

DENIED = 7


def create(cluster: Cluster, *words: str) -> str:
    """Make a token by the command; returns its text."""
    return succeed(cluster, "token", "create", *words).stdout.strip()


def as_holder(cluster: Cluster, token: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a token of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hpc", *words],
        env={**cluster.env, "HPC_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def token_id(token: str) -> str:
    return token.split("_")[2]


def events(cluster: Cluster, by: str) -> list[dict[str, object]]:
    """The events that somebody sent, by the command."""
    found = json.loads(succeed(cluster, "events", "--by", by, "--json").stdout)["data"]
    assert isinstance(found, list)
    return found


def test_a_token_that_went_into_a_file_for_all_is_told(cluster: Cluster, tmp_path: Path) -> None:
    """A shell makes files that others can read; into one that they cannot nothing is said."""
    for mode in (0o644, 0o600):
        path = tmp_path / f"{mode:o}"
        path.touch(mode)
        path.chmod(mode)
        with path.open("w") as file:
            made = subprocess.run(
                [sys.executable, "-m", "hpc", "token", "create", "--role", "read"],
                env=cluster.env,
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=True,
            )
        assert path.read_text().startswith("hpc1_read_")
        assert ("expected mode 600, got 644" in made.stderr) is (mode == 0o644)
    refused = run(cluster, "token", "create", "--role", "read", "--expires", "0")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_the_access_files_own_token_is_another_one_once_the_file_is_deleted(
    cluster: Cluster,
) -> None:
    """And a relay that read it goes on by the new one; docs/security.md."""
    cluster.relay()
    former = read_access(cluster.home).token
    assert cluster.hub is not None
    cluster.hub.terminate(30)
    (cluster.home / "access.json").unlink()
    cluster.start_hub()
    assert read_access(cluster.home).token != former
    assert as_holder(cluster, former, "job", "list").returncode == DENIED
    assert succeed(cluster, "run", "--", "echo", "on").stdout == "on\n"


def test_fault_62_a_token_does_what_its_role_says_until_it_is_revoked(cluster: Cluster) -> None:
    """Also by a client whose connection is open, also after a restart, and the log says who."""
    text = create(cluster, "--role", "submit", "--ns", "batch", "--expires", "30d", "--label", "n")
    with Client(read_access(cluster.home).url, token=text) as holder:
        job = holder.submit(["true"])
        assert run(cluster, "token", "list").stdout.count(token_id(text)) == 1
        for words in (
            ("node", "drain", "n1"),
            ("token", "list"),
            ("token", "create", "--role", "admin"),
            ("token", "revoke", token_id(text)),
        ):
            denied = as_holder(cluster, text, *words)
            assert denied.returncode != 0, words
        assert as_holder(cluster, text, "token", "list").returncode == DENIED

        cluster.hub and cluster.hub.terminate(30)
        cluster.start_hub()
        assert holder.info(job.id)["job_id"] == job.id
        (sent,) = events(cluster, token_id(text))
        assert sent["kind"] == "SubmitJob"
        assert sent["by"] == {"token": token_id(text), "role": "submit", "from": "127.0.0.1"}
        assert "RegisterToken" in {event["kind"] for event in events(cluster, "admin")}

        succeed(cluster, "token", "revoke", token_id(text))
        denied = as_holder(cluster, text, "job", "list")
        assert denied.returncode == DENIED
        with pytest.raises(Exception, match="token"):
            holder.info(job.id)
    cluster.hub and cluster.hub.terminate(30)
    cluster.start_hub()
    assert as_holder(cluster, text, "job", "list").returncode == DENIED
    (listed,) = json.loads(succeed(cluster, "token", "list", "--json").stdout)["data"]
    assert (listed["label"], listed["is_valid"]) == ("n", False)


def test_fault_13_a_revocation_that_is_damaged_below_the_snapshot_holds(cluster: Cluster) -> None:
    """The Hub starts beside the damage, and the token opens nothing."""
    text = create(cluster, "--role", "submit")
    succeed(cluster, "token", "revoke", token_id(text))
    assert cluster.hub is not None
    cluster.hub.terminate(30)
    with contextlib.closing(sqlite3.connect(cluster.home / "hub" / "log.sqlite3")) as log, log:
        change = "UPDATE log SET body = replace(body, ?, 'another') WHERE body LIKE '%RevokeToken%'"
        assert log.execute(change, (token_id(text),)).rowcount == 1
    cluster.start_hub()
    assert as_holder(cluster, text, "job", "list").returncode == DENIED
    (listed,) = json.loads(succeed(cluster, "token", "list", "--json").stdout)["data"]
    assert not listed["is_valid"]


def test_a_relay_and_a_monitor_live_by_tokens_of_their_own(cluster: Cluster) -> None:
    """All that they send is of their role: joining, claims, reports, output, samples, leaving."""
    relay, monitor = create(cluster, "--role", "relay"), create(cluster, "--role", "monitor")
    started = _start_with(cluster, relay, "relay", "--ns", "batch", "--node-id", "n1")
    _start_with(cluster, monitor, "monitor", "--node-id", "n1", "--interval", "1s")
    done = run(cluster, "run", "--", "sh", "-c", "echo told; env")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("told")
    assert relay not in done.stdout
    assert "HPC_TOKEN" not in done.stdout
    started.terminate(30)
    until(lambda: "NodeLeft" in {event["kind"] for event in events(cluster, "relay")})
    kinds = {event["kind"] for event in events(cluster, token_id(relay))}
    assert {"NodeJoined", "JobStarted", "JobFinished"} <= kinds
    assert {event["kind"] for event in events(cluster, "monitor")} == {"HardwareStats"}
    assert "JobClaimed" in {event["kind"] for event in events(cluster, "hub")}


def test_a_relay_whose_token_was_revoked_says_so_and_goes_on_by_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    """What runs goes on; a new one in its access file is taken up without a start."""
    home = tmp_path / "relay"
    home.mkdir()
    ours = home / "access.json"

    def give(token: str) -> None:
        draft = home / "draft"
        draft.touch(0o600)
        draft.write_text(json.dumps({"url": read_access(cluster.home).url, "token": token}))
        draft.rename(ours)

    first = create(cluster, "--role", "relay")
    give(first)
    before = cluster.env
    cluster.env = {**before, "HPC_HOME": str(home)}
    relay = cluster.start("relay", "--ns", "batch", "--node-id", "n1", "--cpus", "2")
    cluster.env = before
    running = cluster.client().submit(f"while ! test -e {tmp_path}/end; do sleep 0.05; done")
    until(lambda: running.info()["state"] == "running")

    succeed(cluster, "token", "revoke", token_id(first))
    until(lambda: "does not take this relay's token" in relay.log.read_text())
    assert running.info()["state"] == "running"
    give(create(cluster, "--role", "relay"))
    until(lambda: "the Hub takes the token again" in relay.log.read_text())
    (tmp_path / "end").touch()
    assert running.wait(30)["state"] == "succeeded"
    assert cluster.client().submit("true").wait(30)["state"] == "succeeded"
    assert relay.log.read_text().count("hpc token create") == 1


def test_fault_64_a_token_is_in_no_command_line_environment_log_or_dump(
    cluster: Cluster,
) -> None:
    """Of no process that there is while a job runs; and none of those with one may dump core."""
    secrets = [read_access(cluster.home).token, create(cluster, "--role", "relay")]
    relay = _start_with(cluster, secrets[1], "relay", "--ns", "batch", "--node-id", "n1")
    with cluster.client() as client:
        client.submit(["sleep", "60"], key="long")
        until(lambda: b"sleep\x0060" in _read_all("cmdline"))
    commands = _read_all("cmdline")
    assert not [secret for secret in secrets if secret.encode() in commands]
    holder = relay.popen.pid
    others = _read_all("environ", but={holder, os.getpid()})
    assert not [secret for secret in secrets if secret.encode() in others]
    for path in cluster.folder.rglob("*"):
        if path.is_file() and path.name != "access.json":
            held = [secret for secret in secrets if secret.encode() in path.read_bytes()]
            assert not held, path
    assert cluster.hub is not None
    for process in (cluster.hub, relay):
        limits = Path(f"/proc/{process.popen.pid}/limits").read_text()
        (core,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert core.split()[4] == "0"


@pytest.mark.parametrize(("debug", "is_dumpable"), [("", 0), ("1", 1)])
def test_fault_64_a_process_with_a_token_is_closed_to_debuggers(
    debug: str, is_dumpable: int
) -> None:
    """Neither a core dump nor another process of this user reads its memory, unless asked to."""
    code = (
        "import ctypes; from hpc.memory_privacy import keep_memory_private as keep; keep();"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HPC_DEBUG_DUMPS": debug},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == is_dumpable


def test_fault_64_an_access_shows_no_token() -> None:
    """Whoever prints it, or a frame that holds it, prints no secret."""
    access = Access("http://127.0.0.1:8080", "very-secret", None)
    assert "very-secret" not in f"{access} {access!r} {[access]}"


def _start_with(cluster: Cluster, token: str, *command: str) -> Process:
    before = cluster.env
    cluster.env = {**before, "HPC_TOKEN": token}
    try:
        return cluster.start(*command)
    finally:
        cluster.env = before


def _read_all(name: str, but: Collection[int] = ()) -> bytes:
    """What all processes that there are have in one of their files."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) not in but:
            with contextlib.suppress(OSError):
                found.append((folder / name).read_bytes())
    return b"\n".join(found)
