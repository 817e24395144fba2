"""`python -m hpc.testing.sim`: run seeds, say what held, and how to repeat what did not."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from hpc.testing.sim.mutants import MUTANTS
from hpc.testing.sim.world import Course, World, run_seed

SEEDS = 200
SHOWN = 10
"""Seeds that failed and are shown."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 where everything held."""
    parser = argparse.ArgumentParser(
        prog="python -m hpc.testing.sim",
        description="Run a Hub, relays and clients through storms of faults, one for each seed.",
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"how many (default: {SEEDS})")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="leave a rule out: must fail")
    chosen = parser.parse_args(arguments)
    world_class = MUTANTS[chosen.mutant] if chosen.mutant else World
    suffix = f" --mutant {chosen.mutant}" if chosen.mutant else ""
    began_s = time.perf_counter()
    courses = []
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        course = run_seed(seed, world_class)
        courses.append(course)
        if course.faults and sum(bool(one.faults) for one in courses) <= SHOWN:
            _show(course, suffix)
    print(summary(courses, time.perf_counter() - began_s))
    if not courses:
        print("nothing ran: --seeds must be at least 1", file=sys.stderr)
    return 0 if courses and not any(course.faults for course in courses) else 1


def summary(courses: Sequence[Course], took_s: float) -> str:
    """Say what was done and what held."""
    injected: Counter[str] = sum((course.injected for course in courses), Counter())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(injected.items()))
    found = violations(courses)
    lines = [
        f"{len(courses):,} seeds in {took_s:.1f} s: "
        f"{sum(course.virtual_s for course in courses) / 3600:.1f} virtual hours, "
        f"{sum(course.steps for course in courses):,} steps",
        f"faults injected: {kinds or 'none'}",
        f"{sum(course.commits for course in courses):,} commits, "
        f"{sum(course.acked for course in courses):,} batches acknowledged, "
        f"{sum(course.executions for course in courses):,} executions, "
        f"{sum(course.reruns for course in courses):,} of them further attempts",
        f"lost = {found['lost']}, "
        f"run twice unseen = {found['unseen']}, "
        f"overlaps of `stop` tasks = {found['overlap']}, "
        f"other violations = {found['other']}",
    ]
    return "\n".join(lines)


def violations(courses: Sequence[Course]) -> Counter[str]:
    """Count what did not hold: `lost`, run `unseen`, `overlap` of `stop` tasks, and `other`."""
    faults = (fault for course in courses for fault in course.faults)
    return Counter(
        next((kind for sign, kind in _SIGNS.items() if sign in fault), "other") for fault in faults
    )


_SIGNS = {
    "is lost": "lost",
    "runs unseen": "unseen",
    "was started": "unseen",
    "stop task": "overlap",
    "not in the log": "lost",
}


def _show(course: Course, suffix: str) -> None:
    print(f"seed {course.seed}:")
    for fault in course.faults[:SHOWN]:
        print(f"  {fault}")
    print(f"  repeat: python -m hpc.testing.sim --from {course.seed} --seeds 1{suffix}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
