"""The access file and the settings of the three processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpc.access import check_url
from hpc.config import (
    Access,
    HubConfig,
    MonitorConfig,
    RelayConfig,
    home,
    read_access,
    write_access,
)
from hpc.errors import NoHub, NotAllowed, UsageError

PIN = "ab" * 32
ACCESS = Access("http://127.0.0.1:8080", "secret")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine that runs the tests."""
    for name in ("HPC_HOME", "HPC_HUB_URL", "HPC_TOKEN", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_state_folder_is_named_by_three_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """HPC_HOME, then XDG's, then the user's own."""
    assert home() == Path.home() / ".local" / "state" / "hpc"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert home() == tmp_path / "hpc"
    monkeypatch.setenv("HPC_HOME", str(tmp_path / "mine"))
    assert home() == tmp_path / "mine"


def test_the_access_file_is_private_and_is_read_back(tmp_path: Path) -> None:
    """The token opens everything, so nobody else may read it."""
    write_access(tmp_path / "new", ACCESS)
    write_access(tmp_path / "new", ACCESS._replace(token="other"))
    assert (tmp_path / "new" / "access.json").stat().st_mode & 0o777 == 0o600
    assert read_access(tmp_path / "new").token == "other"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["access.json"]


def test_an_access_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A token that others have read is no secret; going on would hide that."""
    write_access(tmp_path, ACCESS)
    (tmp_path / "access.json").chmod(0o644)
    with pytest.raises(NotAllowed, match="can be read by others"):
        read_access(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1', '{"url": "ftp://x", "token": "t"}'])
def test_a_broken_access_file_is_named(tmp_path: Path, text: str) -> None:
    """The message leads to the file, not into a traceback."""
    (tmp_path / "access.json").write_text(text)
    (tmp_path / "access.json").chmod(0o600)
    with pytest.raises(UsageError):
        read_access(tmp_path)


def test_the_environment_overrides_the_access_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A flag goes before the environment, the environment before the file."""
    write_access(tmp_path, ACCESS)
    monkeypatch.setenv("HPC_TOKEN", "from-the-environment")
    assert read_access(tmp_path) == Access(ACCESS.url, "from-the-environment")
    monkeypatch.setenv("HPC_HUB_URL", "https://there:1/")
    assert read_access(tmp_path).url == "https://there:1"
    assert read_access(tmp_path, url="https://flag:2").url == "https://flag:2"


def test_without_a_file_the_environment_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container has no state folder."""
    with pytest.raises(NoHub, match="No Hub is known here"):
        read_access(tmp_path)
    monkeypatch.setenv("HPC_HUB_URL", ACCESS.url)
    assert read_access(tmp_path) == Access(ACCESS.url, "")
    monkeypatch.setenv("HPC_TOKEN", "t")
    assert read_access(tmp_path) == Access(ACCESS.url, "t")


@pytest.mark.parametrize("token", ["one\r\nX-Other: 1", "a\nb", "tök"])
def test_a_token_that_is_none_is_refused_and_not_shown(
    token: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It becomes a header. What a file has left around it is taken away."""
    monkeypatch.setenv("HPC_HUB_URL", ACCESS.url)
    monkeypatch.setenv("HPC_TOKEN", "t\n")
    assert read_access(tmp_path).token == "t"
    monkeypatch.setenv("HPC_TOKEN", token)
    with pytest.raises(UsageError, match="the token must be one line") as caught:
        read_access(tmp_path)
    assert token not in str(caught.value)


def test_a_file_written_by_hand_needs_no_pin(tmp_path: Path) -> None:
    """On loopback there is no certificate to pin."""
    path = tmp_path / "access.json"
    path.write_text(json.dumps({"url": "http://127.0.0.1:1/", "token": "t"}))
    path.chmod(0o600)
    assert read_access(tmp_path) == Access("http://127.0.0.1:1", "t", None)


def test_a_pin_goes_with_the_certificate_by_whatever_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One Hub is reached under several names and through tunnels; its certificate is one."""
    write_access(tmp_path, Access("https://there:1", "t", PIN))
    assert read_access(tmp_path).tls_sha256 == PIN
    assert read_access(tmp_path, url="https://127.0.0.1:2").tls_sha256 == PIN
    assert read_access(tmp_path, url="HTTPS://127.0.0.1:2").url == "https://127.0.0.1:2"
    assert read_access(tmp_path, url="http://127.0.0.1:2").tls_sha256 is None
    monkeypatch.setenv("HPC_TLS_SHA256", "CD:" * 31 + "CD")
    assert read_access(tmp_path).tls_sha256 == "cd" * 32
    monkeypatch.setenv("HPC_HUB_URL", "https://other:1")
    monkeypatch.setenv("HPC_TOKEN", "of-another")
    assert read_access(tmp_path) == Access("https://other:1", "of-another", "cd" * 32)
    monkeypatch.delenv("HPC_TLS_SHA256")
    assert read_access(tmp_path).tls_sha256 is None, "another Hub's certificate is another one"


def test_a_pin_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half of one would never match, and an empty file's would be no pin at all."""
    write_access(tmp_path, Access("https://there:1", "t", "abc"))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        read_access(tmp_path)
    write_access(tmp_path, Access("https://there:1", "t", ""))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        read_access(tmp_path)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://127.9.0.9", "http://localhost:1", "http://[::1]:1"]
)
def test_plain_http_is_for_loopback(url: str) -> None:
    """There nobody listens but this machine."""
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://there:1",
        "http://10.0.0.1:1",
        "http://127.0.0.1.example.org:1",
        "http://127.0.0.1@example.org:1",
        "http://[::]:1",
        "http://0.0.0.0:1",
    ],
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    """The token would travel in the clear."""
    with pytest.raises(UsageError, match="in the clear"):
        check_url(url)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "127.0.0.1.nip"])
def test_a_hub_listens_off_loopback_with_tls_only(tmp_path: Path, host: str) -> None:
    """By a certificate that it makes or one that is given, and not by both."""
    paths = {"home": tmp_path, "data": tmp_path}
    with pytest.raises(UsageError, match="loopback"):
        HubConfig(**paths, host=host)
    HubConfig(**paths, host=host, tls="auto")
    HubConfig(**paths, host=host, tls_cert=tmp_path / "cert.pem")
    with pytest.raises(UsageError, match="one was given"):
        HubConfig(**paths, host=host, tls="auto", tls_cert=tmp_path / "cert.pem")


def test_the_reclaim_time_is_ten_leases_unless_given(tmp_path: Path) -> None:
    """Zero is a choice of its own, not an absence."""
    assert HubConfig(home=tmp_path, data=tmp_path, lease_s=2).reclaim_ms == 20_000
    assert HubConfig(home=tmp_path, data=tmp_path, reclaim_s=0).reclaim_ms == 0


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda p: HubConfig(home=p, data=p, lease_s=0), "lease"),
        (lambda p: HubConfig(home=p, data=p, lease_s=float("nan")), "lease"),
        (lambda p: HubConfig(home=p, data=p, port=-1), "port"),
        (lambda p: HubConfig(home=p, data=p, tls="yes"), "tls"),
        (lambda p: HubConfig(home=p, data=p, tls_key=p), "tls-cert"),
        (lambda p: RelayConfig(home=p, node_id="a b", namespaces=["batch"]), "node-id"),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=[]), "ns"),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["../x"]), "ns"),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], cpus=0), "cpus"),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], hub_url="x"), "hub_url"),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], cgroup="v2"), "cgroup"),
        (
            lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], output_limit=0),
            "output-limit",
        ),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], time_limit_s=30), "grace"),
        (
            lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], time_limit_s=0),
            "time-limit",
        ),
        (
            lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], idle_timeout_s=0),
            "idle-timeout",
        ),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], pre=" "), "pre"),
        (lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], post="a\0b"), "post"),
        (
            lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], hook_timeout_s=0),
            "hook-timeout",
        ),
        (
            lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], keep_output_s=0),
            "keep-output",
        ),
        (
            lambda p: RelayConfig(home=p, node_id="n", namespaces=["b"], output_quota_bytes=0),
            "output-quota",
        ),
        (lambda p: MonitorConfig(home=p, node_id="n", interval_s=0), "interval"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_with_its_field(
    make: object, field: str, tmp_path: Path
) -> None:
    """A process never starts with a setting that makes no sense."""
    assert callable(make)
    with pytest.raises(UsageError) as refused:
        make(tmp_path)
    assert refused.value.field == field
