"""The Hub's process: from an opened log and a transport to a Hub that serves, and back.

    listen ▸ recover ▸ register ▸ ready ▸ serve ▸ answer what is held ▸ close

It listens first, so that a Hub that recovers a long log can be seen to be alive. The token is made
at the first start and kept in the access file; what stays in memory is its SHA-256. Storage,
transport and namespaces are handed in; none is imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import hashlib
import resource
import secrets
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

import uvloop

from hpc.clock import SystemClock
from hpc.config import (
    Access,
    HubConfig,
    answers_elsewhere,
    is_written,
    read_access,
    write_access,
)
from hpc.errors import HpcError, StorageDamaged, UsageError
from hpc.hub.callbacks import Callbacks
from hpc.hub.certificate import Identity, identity
from hpc.hub.commit import Committer
from hpc.hub.outputs import OutputStore
from hpc.hub.quarantine import Quarantine
from hpc.hub.recovery import recover
from hpc.hub.registration import register
from hpc.hub.service import Service
from hpc.hub.side import Side
from hpc.hub.space import Space
from hpc.hub.tokens import Tokens
from hpc.hub.turn import Turns
from hpc.hub.upkeep import Upkeep
from hpc.memory_privacy import keep_memory_private
from hpc.ports import Transport
from hpc.protocols import EventLog, LogRow, Namespace

TOKEN_BYTES: Final = 32

OPEN_FILES: Final = 16_384
"""Connections and the log's files; the soft limit is raised to it where the hard one allows."""

LARGE_BLOCK_BYTES: Final = 1024 * 1024
"""Blocks from which on the C library gives memory back as it is freed: more than the body of a
batch of a thousand, whose pages would be asked for anew each time. It begins with less and raises
it by itself without a bound, after which tables that are gone stay as holes."""

M_MMAP_THRESHOLD: Final = -3
"""The parameter's number for glibc's `mallopt`."""

GC_THRESHOLDS: Final = (50_000, 50, 100)
"""Python's collector looks rarely: requests leave hardly any cycles behind."""


def run_hub(
    config: HubConfig, *, log: EventLog, transport: Transport, namespaces: Sequence[Namespace]
) -> None:
    """Run a Hub until SIGTERM or SIGINT; the log is closed when this returns.

    Args:
        config: Settings.
        log: An opened log, used by nobody else.
        transport: How requests come in.
        namespaces: Registered before the Hub says that it is ready.

    Raises:
        UsageError: The address cannot be bound, or there is something wrong with the certificate.
        NotAllowed: Others can read the access file, or the certificate's key.
        StorageError: The log is damaged, or failed while the Hub ran.
    """
    keep_memory_private()
    with contextlib.closing(log):
        if config.set_aside_damaged:
            # What damaged batches said was told to readers, and is not what this Hub goes on from.
            log.begin_lineage()
        shown = identity(config)
        token = _token(config)
        digest = hashlib.sha256(token.encode()).digest()
        tokens = Tokens(digest, _registrations(log))
        callbacks = Callbacks(config.allow_callbacks)
        process = _Process(config, log, tokens, callbacks, namespaces, shown)
        uvloop.run(process.run(transport, token))


class _Process:
    """One run of the Hub."""

    def __init__(
        self,
        config: HubConfig,
        log: EventLog,
        tokens: Tokens,
        callbacks: Callbacks,
        namespaces: Sequence[Namespace],
        shown: Identity | None,
    ) -> None:
        self._config = config
        self._shown = shown
        self._log = log
        self._quarantine = Quarantine()
        self._tokens = tokens
        self._callbacks = callbacks
        self._service = Service(
            log.hub_id, tokens, self._quarantine, callbacks, config.accept_from, log.lineage
        )
        self._namespaces = namespaces
        self._clock = SystemClock()
        self._failed: HpcError | None = None

    async def run(self, transport: Transport, token: str) -> None:
        """Serve until told to end, then end in order."""
        _raise_open_files()
        _return_large_blocks()
        told_to_end, answered = asyncio.Event(), asyncio.Event()
        self._told_to_end = told_to_end
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        listening: asyncio.Future[str] = loop.create_future()
        serving = asyncio.ensure_future(
            transport.serve(
                self._service,
                host=self._config.host,
                port=self._config.port,
                tls=None if self._shown is None else self._shown.context,
                on_listening=listening.set_result,
                stop=answered,
            )
        )
        try:
            await _first(listening, serving)
            if listening.done():
                await self._serve(listening.result(), token, serving)
        finally:
            answered.set()
            await serving
        if self._failed is not None:
            raise self._failed

    async def _serve(self, url: str, token: str, serving: asyncio.Future[None]) -> None:
        outputs = await asyncio.to_thread(self._open_outputs)
        with contextlib.closing(outputs):
            committer = await asyncio.to_thread(self._committer, outputs)
            self._tokens.settle(committer.tokens)
            self._callbacks.settle(committer.generators)
            turns = Turns(committer, on_fatal=self._on_fatal, clock=self._clock)
            side = Side(self._log)
            try:
                self._service.begin(turns, outputs, side)
                for sentence in await register(self._service.ask, self._namespaces):
                    print(f"hub: {sentence}", file=sys.stderr)
                pin = None if self._shown is None else self._shown.sha256
                self._write_access(Access(url, token, pin))
                del token
                _settle_memory()
                if not self._told_to_end.is_set():
                    self._service.open()
                    self._tell_certificate()
                    print(f"hub ready at {url}", flush=True)
                feed = turns.feeds.subscribe(frozenset())
                poking = asyncio.ensure_future(self._callbacks.run(feed))
                looking = asyncio.ensure_future(self._quarantine.look_through(side, turns.head_seq))
                ending = asyncio.ensure_future(self._told_to_end.wait())
                await _first(ending, serving)
                ending.cancel()
                looking.cancel()
                poking.cancel()
            finally:
                await turns.close()
                await side.close()
                self._service.end()

    def _open_outputs(self) -> OutputStore:
        self._config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        return OutputStore(
            self._config.data,
            keep_ms=round(self._config.keep_output_s * 1000),
            quota_bytes=self._config.output_quota_bytes,
        )

    def _committer(self, outputs: OutputStore) -> Committer:
        config = self._config
        return Committer(
            log=self._log,
            outputs=outputs,
            build_engine=lambda: recover(
                self._log,
                lease_ms=config.lease_ms,
                reclaim_ms=config.reclaim_ms,
                keep_jobs_ms=config.keep_jobs_ms,
                clock=self._clock,
                quarantine=self._quarantine,
                set_aside=config.set_aside_damaged,
            ),
            lease_ms=config.lease_ms,
            clock=self._clock,
            space=Space(config.min_free_bytes),
            quarantine=self._quarantine,
            upkeep=Upkeep(
                self._log,
                self._clock,
                snapshot_events=config.snapshot_events,
                compact_ms=round(config.compact_s * 1000),
            ),
        )

    def _write_access(self, access: Access) -> None:
        if is_written(self._config.home, access):
            return
        if (other := answers_elsewhere(self._config.home, access)) is not None:
            print(
                f"hub: the access file led to {other}, where something still answers; from now on "
                f"it leads to {access.url}, and who has no HPC_HUB_URL follows it. Give each Hub "
                "an HPC_HOME of its own",
                file=sys.stderr,
            )
        try:
            write_access(self._config.home, access)
        except OSError as error:
            # A full disk: the Hub still serves those who know where it is.
            print(f"hub: the access file cannot be written: {error}", file=sys.stderr)

    def _tell_certificate(self) -> None:
        if self._shown is None:
            return
        print(f"hub: SHA-256 of the certificate: {self._shown.sha256}", file=sys.stderr)
        if self._shown.ends.timestamp() * 1000 < self._clock.wall_ms():
            print(
                f"hub: the certificate ended at {self._shown.ends:%Y-%m-%d %H:%M} UTC; only those "
                "who pin it go on",
                file=sys.stderr,
            )

    def _on_signal(self, number: int) -> None:
        # A second signal of the kind ends the process at once.
        asyncio.get_running_loop().remove_signal_handler(number)
        self._told_to_end.set()

    def _on_fatal(self, error: HpcError) -> None:
        self._failed = error
        self._told_to_end.set()


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _registrations(log: EventLog) -> list[LogRow]:
    """Return the log's rows of control for the tokens in them, until the engine has recovered."""
    try:
        return log.read_control()
    except StorageDamaged:
        return []  # whether the Hub can start beside that, recovery finds out, and says


def _token(config: HubConfig) -> str:
    """Return the access file's (or the environment's) token, or make the first one."""
    try:
        # The URL is what this Hub says; without one, a start before the first file would fail.
        token = read_access(config.home, url=f"http://127.0.0.1:{config.port or 1}").token
    except UsageError as error:
        print(f"hub: {error.message}; it is written anew, with a new token", file=sys.stderr)
        token = ""
    return token or secrets.token_urlsafe(TOKEN_BYTES)


def _raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _return_large_blocks() -> None:
    """Have the C library give large blocks back; another one than glibc does as it likes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)


def _settle_memory() -> None:
    """Keep the collector from looking again and again at what start-up has made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
