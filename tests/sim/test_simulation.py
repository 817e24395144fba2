"""Seeds of the simulation: what must hold in every storm, and that it is seen where it does not.

`python -m hpc.testing.sim` runs more of them; docs/simulation.md says what is simulated.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpc.testing.sim import faults, mutants
from hpc.testing.sim.__main__ import main, summary
from hpc.testing.sim.mutants import MUTANTS
from hpc.testing.sim.network import GOOD, Odds
from hpc.testing.sim.world import World, run_seed

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 200

CAUGHT = {
    "ack-early": range(3),
    "no-dedupe": range(6),
    "no-fence": range(6),
    "polled-fence": range(48, 54),
    "lease-from-reply": range(44, 50),
    "no-grace": range(6),
    "forgets-at-send": range(3),
    "one-claim-number": range(3),
    "one-origin": range(3),
    "ended-not-held": range(3),
    "late-starts": range(8),
    "children-survive": range(4),
    "told-later": range(3),
}
"""Of each mutant, seeds of which one shows it."""


def storm(*kinds: faults.Kind, odds: Odds = GOOD) -> type[World]:
    """A world in which only this happens."""
    fields = {"kinds": dict.fromkeys(kinds, 1), "odds": odds}
    return type("OneStorm", (World,), fields)


def hold(world_class: type[World], *injected: str, seeds: int = 12) -> None:
    """Everything holds in such worlds, and the faults were really there."""
    courses = [run_seed(seed, world_class) for seed in range(seeds)]
    assert [(course.seed, course.faults) for course in courses if course.faults] == []
    for kind in injected:
        assert sum(course.injected[kind] for course in courses) >= seeds / 2, kind
    assert sum(course.executions for course in courses) > seeds


@pytest.mark.timeout(600)
def test_everything_holds_in_two_hundred_storms() -> None:
    """All faults at once: nothing acknowledged is lost, nothing runs unseen, all of it ends."""
    courses = [run_seed(seed) for seed in range(SEEDS)]
    assert [(course.seed, course.faults) for course in courses if course.faults] == []
    assert sum(course.acked for course in courses) > 20 * SEEDS
    assert sum(course.reruns for course in courses) > SEEDS
    injected = {kind for course in courses for kind in course.injected}
    wanted = {kind.__name__ for kind in faults.KINDS} | {"drop", "lose_reply", "repeat", "slow"}
    assert wanted <= injected


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_rule_that_is_left_out_is_seen(name: str) -> None:
    """A check that no mutant fails checks nothing."""
    assert any(run_seed(seed, MUTANTS[name]).faults for seed in CAUGHT[name])


def test_each_rule_of_the_protocol_is_broken_somewhere() -> None:
    """Those of the Hub by switches of the engine, those of relays and clients here."""
    engine = ROOT / "rust" / "hpc-core" / "tests" / "protocol" / "mutants.rs"
    broken = re.findall(r"Rule::R(\d+)", engine.read_text("utf-8"))
    broken += re.findall(r"\bR(\d+)\b", Path(mutants.__file__).read_text("utf-8"))
    assert {int(number) for number in broken} == set(range(1, 31))


def test_a_seed_is_the_same_course_each_time() -> None:
    """Else what it shows could not be looked at."""
    first, second = run_seed(7), run_seed(7)
    assert first.steps > 1000
    assert first == second


def test_fault_01_02_03_a_hub_that_is_killed_in_or_after_an_append() -> None:
    """What was not acknowledged may be there or not; what was is, once."""
    hold(storm(faults.hub_kill_in_append), "hub_kill_in_append", "hub_kill_after_commit")


def test_fault_05_24_a_hub_that_is_killed_while_readers_and_tasks_are_there() -> None:
    """A reader goes on at its cursor, and no relay loses its tasks."""
    hold(storm(faults.hub_kill), "hub_kill")


def test_fault_08_a_disk_that_is_full_for_a_while() -> None:
    """Refused, tried again by whoever was refused, and taken when there is space."""
    hold(storm(faults.disk_full), "disk_full")


def test_fault_19_20_a_relay_that_is_killed_or_loses_power() -> None:
    """R11: whatever of its outbox is left, no number is told with two contents."""
    hold(storm(faults.relay_kill, faults.power_cut), "relay_kill", "power_cut", seeds=20)


def test_fault_22_a_relay_that_stands_still_for_longer_than_its_lease() -> None:
    """Its reports are late evidence; nothing of it starts behind its fence."""
    hold(storm(faults.relay_freeze), "relay_freeze")


def test_fault_23_27_28_29_a_relay_that_is_cut_off() -> None:
    """In one direction or both, for less than a lease or more: `stop` tasks never overlap."""
    hold(storm(faults.cut), "cut", seeds=20)


def test_fault_25_26_a_second_relay_and_a_copied_machine() -> None:
    """R23: one of them is the node, the other waits or ends."""
    hold(storm(faults.copy, faults.relay_kill), "copy")


def test_fault_32_33_34_a_network_that_loses_and_repeats() -> None:
    """Each batch is recorded once, however often it comes, and each attempt starts once."""
    bad = Odds(drop=0.15, lose_reply=0.15, repeat=0.3, slow=0.2)
    hold(storm(faults.relay_clock, odds=bad), "drop", "lose_reply", "repeat", "slow")


def test_fault_46_47_clocks_that_are_set() -> None:
    """What waits is measured by clocks that nobody sets: a Hub set back delays no retry."""
    hold(storm(faults.hub_clock, faults.relay_clock), "hub_clock", "relay_clock", seeds=20)


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    """It succeeds where all held, fails where something did not, and where nothing ran."""
    assert main(["--seeds", "2"]) == 0
    assert "lost = 0, run twice unseen = 0" in capsys.readouterr().out
    assert main(["--from", "2", "--seeds", "1", "--mutant", "no-fence"]) == 1
    shown = capsys.readouterr().out
    assert "repeat: python -m hpc.testing.sim --from 2 --seeds 1 --mutant no-fence" in shown
    assert main(["--seeds", "0"]) == 1
    assert "lost = 0" in summary([], 0.0)
