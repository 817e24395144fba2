"""`python -m hpc.testing.disk`: power cuts and faults for as many seeds as you have time for."""

from __future__ import annotations

import argparse
import errno
import sys

from hpc.testing.disk.runner import Counts, cut_power, fail_everywhere


def main(arguments: list[str] | None = None) -> int:
    """Run, print what was found; 0 where something was tried and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m hpc.testing.disk", description=__doc__)
    parser.add_argument("--seeds", type=int, default=12, help="how many histories")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--faults", type=int, default=1, help="with so many of them also faults")
    given = parser.parse_args(arguments)
    seeds = range(given.first, given.first + given.seeds)
    fewer = seeds[: given.faults]
    is_good = [
        _told("power cuts", cut_power(seeds)),
        _told("power cuts, torn at any byte", cut_power(fewer, torn_bytes=1)),
        _told("disk full", fail_everywhere(fewer, errno.ENOSPC, for_=3)),
        _told("disk full for good", fail_everywhere(fewer, errno.ENOSPC, for_=0)),
        _told("disk broken", fail_everywhere(fewer, errno.EIO)),
    ]
    lying = cut_power(fewer, is_lying=True)
    # What is lost on it no program can hold; what it must not be is taken for something else.
    is_good.append(_told("power cuts, disk lies", lying, is_good=lying.states > 0 == lying.wrong))
    return 0 if all(is_good) else 1


def _told(what: str, counts: Counts, *, is_good: bool | None = None) -> bool:
    is_good = counts.is_good if is_good is None else is_good
    print(
        f"{what}: {counts.points} points, {counts.states} states, "
        f"{counts.acknowledged} acknowledged; {counts.lost} lost, {counts.damaged} damaged, "
        f"{counts.wrong} wrong",
        flush=True,
    )
    if not is_good:
        print(f"{what}: {counts.first or 'nothing was tried'}", file=sys.stderr, flush=True)
    return is_good


if __name__ == "__main__":
    sys.exit(main())
