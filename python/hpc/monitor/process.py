"""The monitor's process: a sampler and a reporter over one connection, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
import string
import sys

import uvloop

from hpc import plugins
from hpc.clock import SystemClock
from hpc.config import MonitorConfig, read_access
from hpc.errors import HpcError, NoHub
from hpc.memory_privacy import keep_memory_private
from hpc.monitor.reporter import Reporter
from hpc.monitor.sampler import Sampler
from hpc.terminal import clean
from hpc.transport.http_async import AccessSource, Lane, Problem
from hpc.transport.register import register

_LETTERS = string.ascii_lowercase + string.digits


def run_monitor(config: MonitorConfig) -> int:
    """Report this node's figures until SIGTERM or SIGINT; returns the exit code.

    Raises:
        HpcError: The Hub refuses this monitor, and never took a sample from it.
    """
    keep_memory_private()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config))
    return 0


async def _run(config: MonitorConfig) -> None:
    source = AccessSource(lambda: read_access(config.home, url=config.hub_url))
    lane, clock = Lane(source), SystemClock()
    with contextlib.suppress(NoHub):  # none yet: it is waited for
        source.get()

    async def register_monitor() -> Problem | None:
        try:
            return await register(lane, plugins.namespace("monitor"))
        except NoHub:
            raise
        except HpcError as error:
            return Problem(detail=error.message, hint=error.hint)

    def say(line: str) -> None:
        print(f"monitor {config.node_id}: {clean(line)}", file=sys.stderr, flush=True)

    def announce() -> None:
        every = f"{config.interval_s:g} s"
        url = source.get().url
        print(f"monitor {config.node_id} reporting to {url} every {every}", flush=True)

    reporter = Reporter(
        rpc=lane,
        node_id=config.node_id,
        interval_s=config.interval_s,
        sample=Sampler(clock, config.home).sample,
        origin=lambda: "".join(secrets.choice(_LETTERS) for _ in range(26)),
        register=register_monitor,
        clock=clock,
        random=random.SystemRandom(),
        on_recorded=announce,
        say=say,
    )
    await _until_signal(reporter)
    lane.close()


async def _until_signal(reporter: Reporter) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    reporting = asyncio.create_task(reporter.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({reporting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if reporting.done():
        reporting.result()
    reporting.cancel()
    await asyncio.gather(reporting, stopping, return_exceptions=True)
