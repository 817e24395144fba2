"""`hpc selftest --faults`: kills, power cuts and simulated storms here, and what they cost."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from hpc.cli import output
from hpc.cli.options import Json
from hpc.errors import UsageError

if TYPE_CHECKING:
    from hpc.testing.selftest import Tier

SEEDS = 120
"""About a minute on a small machine."""


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("selftest")(selftest)


def selftest(
    faults: Annotated[
        bool, typer.Option("--faults", help="Kill, cut and break; the tiers.")
    ] = False,
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Storms to simulate; the rest goes by it.")
    ] = SEEDS,
    mutant: Annotated[
        str | None,
        typer.Option("--mutant", hidden=True, help="Break a rule in the simulation; it must fail."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Try on this machine what hpc promises: exit code 0 if nothing was lost, doubled or left.

    Takes about a minute, in a temporary folder and on ports of its own; a Hub that runs here is
    not touched.
    """
    from hpc.testing import selftest as tiers  # noqa: PLC0415 - `hpc --help` has no use for it
    from hpc.testing.sim.mutants import MUTANTS  # noqa: PLC0415

    if not faults:
        raise UsageError("What is to be tried? Expected --faults", hint="hpc selftest --faults")
    if mutant is not None and mutant not in MUTANTS:
        known = ", ".join(sorted(MUTANTS))
        raise UsageError(f"--mutant: expected one of {known}, got {mutant!r}", field="mutant")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)  # so that what was started is ended
    ran = tiers.run(seeds, mutant=mutant, say=lambda text: output.say(f"selftest: {text}"))
    wrong = tiers.complaints(ran)
    if as_json:
        data = {
            "ok": not wrong,
            "tiers": [{name: getattr(tier, name) for name in COLUMNS} for tier in ran],
            "wrong": wrong,
            "not_run": tiers.not_run(),
        }
        output.put_json("selftest", data, cursor=0)
    else:
        _show(ran, wrong, tiers.not_run())
    return 1 if wrong else 0


COLUMNS = {
    "name": "TIER",
    "kills": "KILLS",
    "power_cuts": "POWER CUTS",
    "seeds": "SEEDS",
    "virtual_hours": "VIRTUAL HOURS",
    "acknowledged": "ACKNOWLEDGED",
    "lost": "LOST",
    "run_twice_unseen": "RUN TWICE UNSEEN",
    "orphans": "ORPHANS",
    "other": "OTHER",
    "seconds": "SECONDS",
}
"""Fields of a tier, and the heads that they stand under."""


def _show(ran: Sequence[Tier], wrong: Sequence[str], not_run: Sequence[str]) -> None:
    rows = [[getattr(tier, name) for name in COLUMNS] for tier in ran]
    total = [round(sum(column), 1) for column in zip(*(row[1:] for row in rows), strict=True)]
    output.put_table(list(COLUMNS.values()), [*rows, ["all", *total]])
    for sentence in not_run:
        output.put(f"not tried: {sentence}")
    for sentence in wrong:
        output.say(f"error: {sentence}")
    output.put("something does not hold" if wrong else "nothing lost, doubled or left behind")


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
