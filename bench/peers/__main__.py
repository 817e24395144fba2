"""`python -m bench.peers`: ours and theirs in turns, and one table.

    .venv/bin/python -m bench.peers --cache ~/.cache/hpc-peers --peers xargs,ray --repeats 3

Each peer is up alone, beside ours, and both do each work in turns, so that what the machine does
meanwhile meets both. A peer that cannot be installed or started has a row that says why.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import QUIET_CORES, fdatasync_us, shown
from bench.peers.environments import PEERS, NotThere, environment
from bench.peers.runs import Run
from bench.peers.works import ANSWER_S_MAX, INSTALL_S_MAX, START_S_MAX, WORKS

LIMITS = (
    f"limits: {INSTALL_S_MAX:g} s to install a peer, {START_S_MAX:g} s to start it, "
    f"{ANSWER_S_MAX:g} s for one measurement"
)
BESIDE = {"own_ms_each": "CPU ms each", "bytes_each": "B each", "mib": "MiB", "p99": "p99"}


class Side(NamedTuple):
    """What one of the two did of a work, all repeats.

    Attributes:
        answers: Of its driver.
    """

    answers: list[dict[str, Any]]

    @property
    def why_not(self) -> str | None:
        """Why there is no figure, if so."""
        for answer in self.answers:
            for word in ("lacks", "failed"):
                if word in answer:
                    return f"{word}: {answer[word]}"
        return None

    def median(self, name: str = "figure") -> float:
        """Return the median of a figure."""
        return statistics.median(answer[name] for answer in self.answers)

    def text(self) -> str:
        """Return the figures in words."""
        if (why := self.why_not) is not None:
            return why
        if not self.answers:
            return "not asked"
        figures = [answer["figure"] for answer in self.answers]
        text = f"{shown(self.median())} [{shown(min(figures))}..{shown(max(figures))}]"
        more = [
            f"{shown(self.median(name))} {word}"
            for name, word in BESIDE.items()
            if name in self.answers[0]
        ]
        return ", ".join([text, *more])

    def noise(self) -> float:
        """Return the most cores that others took in one of the repeats."""
        return max((answer.get("noise", 0.0) for answer in self.answers), default=0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    options = _options(arguments)
    # So that what was started is ended, as by Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print(f"{datetime.now(UTC):%d %B %Y}, disk fdatasync p50 {fdatasync_us():.0f} µs; {LIMITS}")
    print("median [least..most] of", options.repeats, "repeats, ours and theirs in turns")
    print(f"noise: cores that others took, the most of any repeat; over {QUIET_CORES:g}: noisy\n")
    print("| work | peer | theirs | ours | ours beside theirs | noise |\n|---|---|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        cache = options.cache or Path(stack.enter_context(_temporary()))
        scratch = Path(stack.enter_context(_temporary()))
        cache.mkdir(parents=True, exist_ok=True)
        for name in options.peers:
            for row in _rows(name, options, cache.resolve(), scratch):
                print(row, flush=True)
    print(f"\ndisk fdatasync p50 {fdatasync_us():.0f} µs at the end")
    return 0


def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hpc-peers-", ignore_cleanup_errors=True)


def _rows(name: str, options: argparse.Namespace, cache: Path, scratch: Path) -> Iterator[str]:
    try:
        with (
            Run(name, environment(name, cache), scratch) as theirs,
            Run("ours", environment("ours", cache), scratch) as ours,
        ):
            for work in options.work:
                yield _row(work, theirs, ours, options)
    except NotThere as error:
        yield f"| all | {name} | {error} | | | |"


def _row(work: str, theirs: Run, ours: Run, options: argparse.Namespace) -> str:
    size = WORKS[work].size if work == "idle" else options.size or WORKS[work].size
    them, us = Side([]), Side([])
    for repeat in range(options.repeats):
        turns = [(theirs, them), (ours, us)]
        for run, side in turns if repeat % 2 == 0 else reversed(turns):
            answer = run.ask(work, size)
            side.answers.append(answer)
            if options.json:
                said = {"work": work, "of": run.name, "beside": theirs.name, **answer}
                print(json.dumps(said), file=sys.stderr, flush=True)
            if "figure" not in answer:
                break
        if them.why_not or us.why_not:
            break
    if them.why_not is None and us.why_not is None:
        beside = f"{shown(us.median() / max(them.median(), 1e-9))} x"
        if not WORKS[work].more_is_better:
            beside += " (less is better)"
    else:
        beside = ""
    noise = max(them.noise(), us.noise())
    marked = f"{noise:.2f}" + (" noisy" if noise > QUIET_CORES else "")
    unit = WORKS[work].unit
    return (
        f"| {work}, {unit} | {theirs.version} | {them.text()} | {us.text()} | {beside} | {marked} |"
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    def words(known: Sequence[str]) -> Any:
        def read(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(f"{sorted(unknown)}; known: {','.join(known)}")
            return chosen

        return read

    works = "; ".join(f"{name}: {work.what} ({work.size:,})" for name, work in WORKS.items())
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=f"Works: {works}.")
    parser.add_argument("--peers", type=words(list(PEERS)), default=list(PEERS))
    parser.add_argument("--work", type=words(list(WORKS)), default=list(WORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, help="instead of each work's own; not of idle")
    parser.add_argument("--cache", type=Path, help="where peers are installed; else temporary")
    parser.add_argument("--json", action="store_true", help="each answer, to stderr")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
