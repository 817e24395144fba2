"""`python -m bench.peers.kills`: the server of each system is killed in mid-run; what came of it.

    .venv/bin/python -m bench.peers.kills --cache ~/.cache/hpc-peers --peers ours,slurm --kills 3

Every kill is of a system of its own, just started, with 2,000 tasks of some milliseconds; after a
second the server is started again. What ran, how often and when is read from what the tasks wrote.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import QUIET_CORES, fdatasync_us, shown
from bench.peers.environments import NotThere, environment
from bench.peers.killing import DOWN_S, RUN_S_MAX, STILL_S_MAX
from bench.peers.runs import Run

KILLED = {
    "ours": "the Hub",
    "slurm": "slurmctld",
    "dask": "the scheduler",
    "parallel": "GNU parallel itself; `--resume --joblog`",
}
TASKS = 2_000
HEAD = (
    "killed",
    "tasks at the kill",
    "lost",
    "ran twice",
    "first start after the restart, s",
    "longest time without a start, s",
    "runs at the kill; cut short of all",
    "workers left",
    "noise",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, measure and print; returns the exit code: 1 if ours lost or doubled a task."""
    options = _options(arguments)
    # So that what was started is ended, as by Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print(f"{datetime.now(UTC):%d %B %Y}, disk fdatasync p50 {fdatasync_us():.0f} µs")
    print(f"{options.kills} kills, each of {options.tasks:,} tasks in a system of its own; started")
    print(f"again after {DOWN_S:g} s, given up after {STILL_S_MAX:g} s without a start or")
    print(f"{RUN_S_MAX:g} s; over {QUIET_CORES:g} cores of noise: noisy\n")
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    is_good = True
    with contextlib.ExitStack() as stack:
        cache = options.cache or Path(stack.enter_context(_temporary()))
        scratch = Path(stack.enter_context(_temporary()))
        scratch.chmod(0o755)  # tasks of Slurm write below it
        cache.mkdir(parents=True, exist_ok=True)
        for name in options.peers:
            version, answers = _kills(name, options, cache.resolve(), scratch)
            print(_row(name, version, answers), flush=True)
            is_good &= name != "ours" or all(
                (a.get("lost"), a.get("twice"), a.get("cut_short")) == (0, 0, 0) for a in answers
            )
    return 0 if is_good else 1


def _kills(
    name: str, options: argparse.Namespace, cache: Path, scratch: Path
) -> tuple[str, list[dict[str, Any]]]:
    version, answers = name, []
    try:
        there = environment(name, cache)
        for _ in range(options.kills):
            with Run(name, there, scratch) as run:
                version = run.version
                answers.append(run.ask("kill", options.tasks))
            if options.json:
                print(json.dumps({"of": name, **answers[-1]}), file=sys.stderr, flush=True)
    except NotThere as error:
        answers.append({"failed": str(error)})
    return version, answers


def _row(name: str, version: str, answers: list[dict[str, Any]]) -> str:
    what = f"{version}: {KILLED[name]}"
    if why := [a.get("failed", a.get("lacks")) for a in answers if "lost" not in a]:
        return f"| {what} | {why[0]} |" + " |" * (len(HEAD) - 2)

    def each(word: str) -> str:
        figures = [answer[word] for answer in answers]
        return "; ".join("never" if figure is None else shown(figure) for figure in figures)

    noise = max(answer["noise"] for answer in answers)
    workers = [f"{a['workers_left']} of {a['workers']}" for a in answers]
    lost = each("lost")
    if said := [answer["said"] for answer in answers if answer["lost"] and "said" in answer]:
        lost += f" ({said[0]})"
    cells = [
        what,
        each("at"),
        lost,
        each("twice"),
        each("resumed_s"),
        each("pause_s"),
        "; ".join(f"{a['running']}, {a['cut_short']}" for a in answers),
        "; ".join(workers) if answers[0]["workers"] else "it has none",
        f"{noise:.2f}" + (" noisy" if noise > QUIET_CORES else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hpc-kills-", ignore_cleanup_errors=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    def peers(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(KILLED):
            raise argparse.ArgumentTypeError(f"{sorted(unknown)}; known: {','.join(KILLED)}")
        return chosen

    parser = argparse.ArgumentParser(prog="python -m bench.peers.kills")
    parser.add_argument("--peers", type=peers, default=list(KILLED))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--cache", type=Path, help="where peers are installed; else temporary")
    parser.add_argument("--json", action="store_true", help="each kill, to stderr")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
