"""Settings of the three processes, made once at the edge and never changed.

Flags and environment become one frozen struct; inside, nobody reads `os.environ`. Each field has a
unit, a bound and a default that is safe on a laptop. Where things lie:

| path                          | holds                                                       |
|-------------------------------|-------------------------------------------------------------|
| `$HPC_HOME/access.json`       | URL and token, mode 0600 (`hpc.access`)                     |
| `$HPC_HOME/hub/`              | `log.sqlite3`, `lock`, `hub.json`, `outputs/`; or `--data`  |
| `$HPC_HOME/hub-data.json`     | which folders `--data` has named, and whose they are        |
| `$HPC_HOME/relays/<node-id>/` | epoch, outbox, outputs of one relay                         |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from hpc.access import (
    Access,
    answers_elsewhere,
    check_url,
    home,
    is_loopback,
    is_written,
    read_access,
    write_access,
    write_private,
)
from hpc.errors import UsageError
from hpc.limits import (
    HOOK_TIMEOUT_S_DEFAULT,
    KEEP_OUTPUT_S_DEFAULT,
    OUTPUT_BYTES_DEFAULT,
    OUTPUT_QUOTA_BYTES_DEFAULT,
    checked_bytes,
)
from hpc.networks import Network
from hpc.resources import Stock, check_labels, check_offers, check_values
from hpc.units import DURATION_S_MAX, parse_duration, parse_memory, show_duration

__all__ = [
    "Access",
    "HubConfig",
    "MonitorConfig",
    "RelayConfig",
    "answers_elsewhere",
    "check_id",
    "home",
    "is_written",
    "parse_duration",
    "parse_memory",
    "read_access",
    "write_access",
    "write_private",
]

RECLAIM_LEASES: Final = 10.0
"""Reclaim time, in leases, where none is given."""

_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_PORT_MAX: Final = 65535


Cgroup = Literal["auto", "off", "require"]
Tls = Literal["auto", "off"]


def check_id(text: str, field: str) -> str:
    """Return an id as it is.

    Raises:
        UsageError: It is none.
    """
    if not re.fullmatch(_ID, text):
        raise UsageError(
            f"`{field}` must be an id, got {text!r}",
            field=field,
            hint="letters, digits, `.`, `_` and `-`, at most 128, the first a letter or a digit",
        )
    return text


def _between(field: str, value: float, least: float, greatest: float, unit: str) -> None:
    if not least <= value <= greatest:
        raise UsageError(
            f"`{field}` must be from {least:g} to {greatest:g}{unit}, got {value:g}", field=field
        )


def _check_retention(keep_output_s: float, output_quota_bytes: int) -> None:
    _between("keep-output", keep_output_s, 1, 100 * 366 * 86_400, " s")
    _between("output-quota", output_quota_bytes, 1 << 20, 1 << 60, " bytes")


def _check_hook(field: str, script: str | None) -> None:
    if script is not None and (not script.strip() or "\0" in script):
        raise UsageError(f"`{field}` must be a command for the shell, got {script!r}", field=field)


MIN_FREE_BYTES_DEFAULT: Final = 64 << 20
"""Below it a Hub takes what ends something, and nothing else."""


class HubConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one Hub.

    Attributes:
        home: `$HPC_HOME`, where the access file is written.
        data: The log's folder, on a local file system.
        port: 0 picks a free one.
        lease_s: How long a relay may be silent before its node counts as unreachable.
        reclaim_s: How long its `finish` tasks stay its own after that; None is 10 leases.
        keep_jobs_s: How long jobs are kept that have ended; None is for ever.
        snapshot_events: After so many events a snapshot is due, so that the next start is quick.
        compact_s: How often the log is looked through for what is past its retention.
        keep_output_s: How long the output of tasks is kept.
        output_quota_bytes: How much of it; the oldest goes first.
        min_free_bytes: While less is free on the log's disk, submits are refused.
        set_aside_damaged: Start without what damaged batches say.
        tls: Whether it makes itself a certificate and serves by it.
        tls_cert: Serve by this one, with those of CAs behind it, in PEM; instead of `tls`.
        tls_key: Its key, without a password; None is in the same file.
        allow_callbacks: Networks at which generators may have it call somebody; none by default.
        accept_from: Who else than loopback may connect; None is everybody.
    """

    home: Path
    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    lease_s: float = 30.0
    reclaim_s: float | None = None
    keep_jobs_s: float | None = None
    snapshot_events: int = 250_000
    compact_s: float = 3600.0
    keep_output_s: float = KEEP_OUTPUT_S_DEFAULT
    output_quota_bytes: int = OUTPUT_QUOTA_BYTES_DEFAULT
    min_free_bytes: int = MIN_FREE_BYTES_DEFAULT
    set_aside_damaged: bool = False
    tls: Tls = "off"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_callbacks: tuple[Network, ...] = ()
    accept_from: tuple[Network, ...] | None = None

    def __post_init__(self) -> None:
        _between("port", self.port, 0, _PORT_MAX, "")
        self._check_tls()
        _between("snapshot-events", self.snapshot_events, 1, 10**9, "")
        _between("compact-every", self.compact_s, 0.1, 366 * 86_400, " s")
        _between("min-free", self.min_free_bytes >> 20, 1, 1 << 20, " MiB")
        _check_retention(self.keep_output_s, self.output_quota_bytes)
        _between("lease", self.lease_s, 0.5, 86_400, " s")
        if self.reclaim_s is not None:
            _between("reclaim", self.reclaim_s, 0, 366 * 86_400, " s")
        if self.keep_jobs_s is not None:
            _between("keep-jobs", self.keep_jobs_s, 1, 100 * 366 * 86_400, " s")

    def _check_tls(self) -> None:
        if self.tls not in get_args(Tls):
            raise UsageError(f"`tls` must be `auto` or `off`, got {self.tls!r}", field="tls")
        if self.tls_key is not None and self.tls_cert is None:
            raise UsageError("`tls-key` is without its certificate, `tls-cert`", field="tls-cert")
        if self.tls == "auto" and self.tls_cert is not None:
            raise UsageError("`tls auto` makes a certificate, and one was given", field="tls")
        has_tls = self.tls == "auto" or self.tls_cert is not None
        if not has_tls and not is_loopback(self.host):
            raise UsageError(
                f"`--host` must be a loopback address without TLS, got {self.host!r}: the token "
                "would travel in the clear",
                field="host",
                hint=f"hpc hub --host {self.host} --tls auto   or leave `--host` out and reach the "
                "Hub through `ssh -L 8080:127.0.0.1:8080`",
            )

    @property
    def lease_ms(self) -> int:
        """The lease in milliseconds."""
        return round(self.lease_s * 1000)

    @property
    def reclaim_ms(self) -> int:
        """The reclaim time in milliseconds."""
        reclaim_s = self.lease_s * RECLAIM_LEASES if self.reclaim_s is None else self.reclaim_s
        return round(reclaim_s * 1000)

    @property
    def keep_jobs_ms(self) -> int | None:
        """How long jobs are kept that have ended, in milliseconds."""
        return None if self.keep_jobs_s is None else round(self.keep_jobs_s * 1000)


class RelayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one relay.

    Attributes:
        hub_url: None is what the access file says, read again whenever the Hub cannot be reached.
        namespaces: Ids of those whose jobs it runs, at least one.
        cpus: Cores that it offers; None is all that this process may use.
        memory_mib: Memory that it offers; None is the machine's, or the cgroup's if smaller.
        gpus: Ids of the GPUs that it offers, or how many of those that are found; None is all.
        resources: What else it offers, by name.
        labels: What jobs may require of it.
        grace_s: How long running tasks may go on after SIGTERM.
        time_limit_s: When it ends by itself, from its start; None is never.
        idle_timeout_s: It ends when nothing was leased to it for so long; None is never.
        takeover: Take the node id from another place that is alive.
        port: Where `POST /poke` is served on loopback; None is nowhere, 0 picks a free one.
        output_limit: Bytes that are kept of the output of a task that sets no limit of its own.
        cgroup: Whether memory limits are kept by cgroups: where they can be made, never, or always.
        max_processes: Most processes and threads of all its tasks together; 0 is half of what the
            machine can have.
        keep_output_s: How long the whole of a long stream stays at the relay.
        output_quota_bytes: How much of such; the oldest goes first.
        pre: Run by the shell before each task; one that fails drains the node.
        post: Run by the shell after each task.
        hook_timeout_s: Each of the two is ended after so long.
    """

    home: Path
    hub_url: str | None = None
    node_id: str
    namespaces: list[str]
    cpus: int | None = None
    memory_mib: int | None = None
    gpus: Stock | None = None
    resources: dict[str, Stock] = {}
    labels: dict[str, str] = {}
    grace_s: float = 30.0
    time_limit_s: float | None = None
    idle_timeout_s: float | None = None
    takeover: bool = False
    port: int | None = None
    output_limit: int = OUTPUT_BYTES_DEFAULT
    cgroup: Cgroup = "auto"
    max_processes: int = 0
    keep_output_s: float = KEEP_OUTPUT_S_DEFAULT
    output_quota_bytes: int = OUTPUT_QUOTA_BYTES_DEFAULT
    pre: str | None = None
    post: str | None = None
    hook_timeout_s: float = HOOK_TIMEOUT_S_DEFAULT

    def __post_init__(self) -> None:
        check_id(self.node_id, "node-id")
        if not self.namespaces:
            raise UsageError(
                "A relay must serve a namespace", field="ns", hint="hpc relay --ns batch"
            )
        for ns_id in self.namespaces:
            check_id(ns_id, "ns")
        if self.hub_url is not None:
            check_url(self.hub_url)
        if self.cpus is not None:
            _between("cpus", self.cpus, 1, 65_536, "")
        if self.memory_mib is not None:
            _between("memory", self.memory_mib, 1, 1 << 40, " MiB")
        if isinstance(self.gpus, int):
            _between("gpus", self.gpus, 1, 65_536, "")
        else:
            check_values(self.gpus or (), "`gpus`", "gpus")
        check_offers(self.resources)
        check_labels(self.labels, "label")
        _between("grace", self.grace_s, 0, 366 * 86_400, " s")
        checked_bytes(self.output_limit, field="output-limit")
        _between("max-processes", self.max_processes, 0, 1 << 30, "")
        _check_retention(self.keep_output_s, self.output_quota_bytes)
        _check_hook("pre", self.pre)
        _check_hook("post", self.post)
        _between("hook-timeout", self.hook_timeout_s, 1, 86_400, " s")
        if self.cgroup not in get_args(Cgroup):
            raise UsageError(
                f"`cgroup` must be auto, off or require, got {self.cgroup!r}", field="cgroup"
            )
        if self.time_limit_s is not None:
            _between("time-limit", self.time_limit_s, 1, DURATION_S_MAX, " s")
            if self.grace_s >= self.time_limit_s:
                raise UsageError(
                    f"`grace` ({show_duration(self.grace_s)}) must be shorter than `time-limit` "
                    f"({show_duration(self.time_limit_s)}): nothing is leased in that time",
                    field="grace",
                    hint="hpc relay --time-limit 1h --grace 30s",
                )
        if self.idle_timeout_s is not None:
            _between("idle-timeout", self.idle_timeout_s, 0.1, DURATION_S_MAX, " s")
        if self.port is not None:
            _between("port", self.port, 0, _PORT_MAX, "")


class MonitorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one monitor.

    Attributes:
        hub_url: None is what the access file says, read again whenever the Hub cannot be reached.
        interval_s: Time between two samples.
    """

    home: Path
    hub_url: str | None = None
    node_id: str
    interval_s: float = 5.0

    def __post_init__(self) -> None:
        check_id(self.node_id, "node-id")
        if self.hub_url is not None:
            check_url(self.hub_url)
        _between("interval", self.interval_s, 0.1, 86_400, " s")
