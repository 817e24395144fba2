"""TLS between real processes: who is trusted, who is not, and that a token waits for the answer."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import DAY, NOW, Files, made

from hpc import Executor
from hpc.access import Access, read_access
from hpc.errors import NoHub
from hpc.testing.netns import Network, missing
from hpc.testing.processes import Cluster, until
from hpc.transport.connection import FILES_RESERVED, HEAD_S
from hpc.transport.http_async import AccessSource, Lane
from hpc.transport.http_client import HttpClient, Unanswered

ELSEWHERE = "127.0.0.2"
PIN = "ab" * 32
DEADLINE_S = 30.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub with a certificate of its own making, on another address than the usual one."""
    with Cluster(tmp_path / "cluster", hub=("--host", ELSEWHERE, "--tls", "auto")) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate by a CA that the system does not know."""
    return made(tmp_path)


def hpc(cluster: Cluster, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours to its end."""
    return subprocess.run(
        [sys.executable, "-m", "hpc", *words],
        env=cluster.env | env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def ask(access: Access) -> None:
    """Ask for what needs a token, as a command does."""
    with contextlib.closing(HttpClient(lambda: access, timeout_s=DEADLINE_S)) as http:
        http.get("/jobs")


def ask_as_relay(access: Access) -> None:
    """Ask for what needs a token, as relays and monitors do."""

    async def asked() -> None:
        lane = Lane(AccessSource(lambda: access))
        try:
            reply = await lane.get("/jobs", deadline_s=DEADLINE_S)
            assert reply.status == 200
        finally:
            lane.close()

    asyncio.run(asked())


Ask = Callable[[Access], None]
both = pytest.mark.parametrize("ask", [ask, ask_as_relay])


class Recorder:
    """A TLS server that is no Hub: keeps what it is told."""

    def __init__(self, files: Files) -> None:
        self.heard = b""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.cert, files.key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Recorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(DEADLINE_S)
        self._socket.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        plain, _ = self._socket.accept()
        # A client that does not trust the certificate may break the handshake off.
        with plain, contextlib.suppress(OSError):
            plain.settimeout(DEADLINE_S)
            with self._context.wrap_socket(plain, server_side=True) as secured:
                self.heard = secured.recv(4096)


def test_jobs_calls_and_streams_go_over_tls(cluster: Cluster, tmp_path: Path) -> None:
    """Commands, relays, workers and readers find URL and pin in the access file alone."""
    cluster.relay()
    cluster.start("relay", "--ns", "calls", "--node-id", "n2", "--cpus", "1")
    client = cluster.client()
    mark = tmp_path / "mark"

    job = client.submit(f"echo begun; cat > {mark}; echo over", stdin="/etc/hostname")
    followed = hpc(cluster, "job", "log", "--follow", job.id)

    assert followed.stdout == "begun\nover\n"
    assert job.wait(30)["state"] == "succeeded"
    assert mark.read_bytes() == Path("/etc/hostname").read_bytes()
    assert hpc(cluster, "run", "--", sys.executable, "-m", "hpc", "job", "list").returncode == 0
    with Executor(1, client=client) as executor:
        assert executor.submit(pow, 2, 10).result(60) == 1024


def test_a_large_batch_and_a_large_answer_go_over_tls(cluster: Cluster) -> None:
    """Both are many TLS records, and more than one packet of the event loop's."""
    entries = [f"{number:0100d}" for number in range(20_000)]
    client = cluster.client()

    job = client.submit("true {}", entries=entries, hold=True)

    assert [task["entry"] for task in job.tasks()] == entries


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_relay_serves_a_hub_of_another_machine(tmp_path: Path) -> None:
    """The Hub listens at an address that is not loopback, and all crosses a wire."""
    with Network() as network, network.entered("hub"):
        for side, address in (("hub", "10.77.0.1/24"), ("relay", "10.77.0.2/24")):
            words = [*network.within(side), "ip", "addr", "add", address, "dev", "wire"]  # type: ignore[arg-type]
            subprocess.run(words, check=True)
        options = ("--host", "10.77.0.1", "--tls", "auto")
        with Cluster(tmp_path, network=network, hub=options) as cluster:
            assert read_access(cluster.home).url == f"https://10.77.0.1:{cluster.port}"
            cluster.relay()
            mark = tmp_path / "mark"

            job = cluster.client().submit(f"echo there > {mark}")

            assert job.wait(30)["state"] == "succeeded"
            assert mark.read_text() == "there\n"


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_hub_may_accept_some_networks_alone(tmp_path: Path) -> None:
    """Whoever dials from elsewhere meets a closed connection, and is counted."""
    with Network() as network, network.entered("hub"):
        for address in ("10.77.0.1/24", "10.77.0.4/24"):
            words = [*network.within("hub"), "ip", "addr", "add", address, "dev", "wire"]
            subprocess.run(words, check=True)
        options = ("--host", "10.77.0.1", "--tls", "auto", "--accept-from", "10.77.0.0/30")
        with Cluster(tmp_path, network=network, hub=options) as cluster:
            here = ("10.77.0.1", cluster.port)
            with socket.create_connection(here, HEAD_S / 2, ("10.77.0.4", 0)) as sock:
                assert sock.recv(1) == b""

            with contextlib.closing(cluster.http()) as http:
                assert http.get("/healthz?full=true").json()["turned_away"] == 1


def test_the_certificate_is_made_once_and_kept_from_others(cluster: Cluster) -> None:
    """Relays that were started before a restart go on with the pin that they have."""
    before = read_access(cluster.home)
    made_file = cluster.home / "hub" / "tls.pem"
    assert made_file.stat().st_mode & 0o777 == 0o600
    assert cluster.hub is not None
    assert f"SHA-256 of the certificate: {before.tls_sha256}" in cluster.hub.log.read_text()

    cluster.hub.terminate()
    cluster.start_hub()

    assert read_access(cluster.home) == before
    ask(before)
    # Other programs trust it as a CA's, by the name through which a tunnel is reached.
    context = ssl.create_default_context(cafile=made_file)
    with (
        socket.create_connection((ELSEWHERE, cluster.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.version() == "TLSv1.3"


def test_who_runs_follows_the_hub_to_a_new_certificate(cluster: Cluster) -> None:
    """The access file is read again by whoever finds another one: nobody has to be restarted."""
    cluster.relay()
    client = cluster.client()
    assert client.submit("true").wait(30)["state"] == "succeeded"
    before = read_access(cluster.home)
    assert cluster.hub is not None
    cluster.hub.terminate()
    (cluster.home / "hub" / "tls.pem").unlink()

    cluster.start_hub()

    assert read_access(cluster.home).tls_sha256 != before.tls_sha256
    assert client.submit("true").wait(30)["state"] == "succeeded"
    with pytest.raises(NoHub, match="certificate is another one"):
        ask(before)
    looked_at = hpc(cluster, "doctor", HPC_TLS_SHA256=str(before.tls_sha256))
    assert "certificate is another one" in looked_at.stdout
    assert "access file of the Hub anew" in looked_at.stdout


@both
def test_a_wrong_pin_is_told_and_the_token_stays(files: Files, ask: Ask) -> None:
    """Somebody between is told nothing: the token opens everything."""
    raises = pytest.raises(NoHub, match="certificate is another one")
    with Recorder(files) as recorder, raises as raised:
        ask(Access(recorder.url, "the-token", PIN))
    assert not isinstance(raised.value, Unanswered)
    assert PIN in str(raised.value) and raised.value.hint is not None
    assert recorder.heard == b""


@both
def test_a_certificate_that_no_ca_vouches_for_is_told_nothing(files: Files, ask: Ask) -> None:
    """Without a pin the system's CAs decide, as for any server."""
    raises = pytest.raises(NoHub, match="certificate does not hold")
    with Recorder(files) as recorder, raises as raised:
        ask(Access(recorder.url, "the-token"))
    assert raised.value.hint is not None and "HPC_TLS_SHA256" in raised.value.hint
    assert recorder.heard == b""


@both
def test_the_recorder_hears_whoever_trusts_it(files: Files, ask: Ask) -> None:
    """The two tests above say nothing unless it hears at all."""
    der = ssl.PEM_cert_to_DER_cert(files.cert.read_text())
    with Recorder(files) as recorder, pytest.raises(NoHub):
        ask(Access(recorder.url, "the-token", hashlib.sha256(der).hexdigest()))
    assert b"Authorization: Bearer the-token" in recorder.heard


def test_a_plain_client_is_told_of_tls(cluster: Cluster) -> None:
    """What it sends is not HTTP to the Hub, which cannot answer; the hint has the reason."""
    access = read_access(cluster.home)
    with pytest.raises(Unanswered) as raised:
        ask(Access(access.url.replace("https", "http"), access.token))
    assert raised.value.hint is not None and "https://" in raised.value.hint
    ask(access)


@both
def test_a_plain_hub_is_told_nothing_by_a_client_of_tls(tmp_path: Path, ask: Ask) -> None:
    """Otherwise whoever can take the port gets the token in the clear."""
    with Cluster(tmp_path / "plain") as cluster:
        access = read_access(cluster.home)
        with pytest.raises(NoHub, match="speaks no TLS") as raised:
            ask(Access(access.url.replace("http", "https"), access.token, PIN))
        assert not isinstance(raised.value, Unanswered)


@both
def test_who_is_turned_away_hears_what_may_be_the_reason(ask: Ask) -> None:
    """A Hub that does not accept an address ends its connection without a byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def turn_away() -> None:
            plain, _ = server.accept()
            with plain:
                plain.recv(1 << 16)  # or the kernel would reset it, and not end it

        turning = threading.Thread(target=turn_away)
        turning.start()
        with pytest.raises(NoHub, match="before it showed a certificate") as raised:
            ask(Access(f"https://127.0.0.1:{server.getsockname()[1]}", "the-token", PIN))
        turning.join(DEADLINE_S)
    assert "--accept-from" in (raised.value.hint or "")


def handshake(port: int, version: ssl.TLSVersion) -> str | None:
    """Agree on just this version, by a client that would take anything."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    address = (ELSEWHERE, port)
    with (
        socket.create_connection(address, DEADLINE_S) as plain,
        context.wrap_socket(plain) as secured,
    ):
        return secured.version()


def test_tls_1_1_is_refused(cluster: Cluster) -> None:
    """It and what was before it are broken; 1.2 is for old clients, 1.3 for ours."""
    with pytest.raises(OSError, match=r"EOF|reset|protocol"):
        handshake(cluster.port, ssl.TLSVersion.TLSv1_1)
    assert handshake(cluster.port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert handshake(cluster.port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


def test_a_certificate_of_one_s_own_is_checked_by_ca_and_name(tmp_path: Path, files: Files) -> None:
    """Whoever has the CA needs no pin; whoever has the access file needs no CA."""
    own = ("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    with Cluster(tmp_path / "cluster", hub=own) as cluster:
        access = read_access(cluster.home)
        env = {"HPC_HUB_URL": f"https://localhost:{cluster.port}", "HPC_TOKEN": access.token}
        ca = {"SSL_CERT_FILE": str(files.ca)}

        assert hpc(cluster, "job", "list").returncode == 0, "pinned"
        assert hpc(cluster, "job", "list", **env, **ca).returncode == 0, "by its CA"
        unknown = hpc(cluster, "job", "list", **env)
        assert unknown.returncode == 3 and "does not hold" in unknown.stderr
        env["HPC_HUB_URL"] = access.url
        other_name = hpc(cluster, "job", "list", **env, **ca)
        assert other_name.returncode == 3 and "mismatch" in other_name.stderr


def test_a_certificate_that_has_ended_is_told_at_both_ends(tmp_path: Path) -> None:
    """The Hub goes on for those who pin it: a night without relays would be worse."""
    files = made(tmp_path, ends=NOW - DAY)
    own = ("--tls-cert", str(files.cert), "--tls-key", str(files.key))
    with Cluster(tmp_path / "cluster", hub=own) as cluster:
        assert cluster.hub is not None
        assert "the certificate ended at" in cluster.hub.log.read_text()
        token = read_access(cluster.home).token
        url = f"https://localhost:{cluster.port}"
        env = {"HPC_HUB_URL": url, "HPC_TOKEN": token, "SSL_CERT_FILE": str(files.ca)}

        by_ca = hpc(cluster, "job", "list", **env)

        assert by_ca.returncode == 3 and "expired" in by_ca.stderr
        assert hpc(cluster, "job", "list").returncode == 0, "pinned"


@pytest.mark.parametrize("broken", ["cert", "key", "other", "open", "alone"])
def test_what_is_wrong_with_a_certificate_is_said(
    tmp_path: Path, files: Files, broken: str
) -> None:
    """The message names the file; nothing listens, and no log is begun."""
    said = {
        "cert": "must hold a certificate in PEM",
        "key": "cannot be read: No such file or directory",
        "other": "must be a certificate and its key",
        "open": "can be read by others",
        "alone": "`tls-key` is without its certificate",
    }[broken]
    if broken == "cert":
        files.cert.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    elif broken == "key":
        files.key.unlink()
    elif broken == "other":
        (tmp_path / "more").mkdir()
        made(tmp_path / "more").key.replace(files.key)
    elif broken == "open":
        files.key.chmod(0o644)
    own = ["--tls-cert", str(files.cert)] if broken != "alone" else []
    ended = subprocess.run(
        [sys.executable, "-m", "hpc", "hub", "--port", "0", *own, "--tls-key", str(files.key)],
        env=os.environ | {"HPC_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode in (2, 7) and said in ended.stderr
    assert ended.stdout == ""


def test_fault_59_who_dials_and_says_nothing_takes_no_file_of_the_log(cluster: Cluster) -> None:
    """Reliability row 59: a connection counts before TLS is agreed upon; jobs go on."""
    cluster.relay()
    client = cluster.client()
    client.submit("true").wait(30)
    assert cluster.hub is not None
    few = FILES_RESERVED + 40
    resource.prlimit(cluster.hub.pid, resource.RLIMIT_NOFILE, (few, few))
    address = (ELSEWHERE, cluster.port)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(address)) for _ in range(100)]
        assert socks[-1].recv(1) == b"", "one too many is left at once"
        job = client.submit("echo here")
        assert job.wait(30)["state"] == "succeeded"
    assert b"".join(job.log()) == b"here\n", "its output was stored meanwhile"
    until(lambda: hpc(cluster, "job", "list").returncode == 0)
