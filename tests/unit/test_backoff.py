"""How long is waited before a Hub that was away is asked again."""

from __future__ import annotations

from random import Random

import pytest

from hpc.transport.backoff import Backoff


@pytest.mark.parametrize("seed", range(20))
def test_a_hub_that_is_back_is_asked_soon_beside_how_long_it_was_away(seed: int) -> None:
    """Work goes on within a second of a restart, where doubling would wait as long again."""
    backoff, away_s = Backoff(Random(seed), max_s=5.0), 0.0
    for _ in range(40):
        delay_s = backoff.next_s()
        assert delay_s <= 0.1 + 0.4 * away_s
        assert delay_s <= 5.0
        away_s += delay_s
    assert delay_s >= 2.5


def test_two_relays_do_not_stay_in_step() -> None:
    """A thousand that lost their Hub in one moment must not be back in one."""
    delays = {round(Backoff(Random(seed)).next_s(), 6) for seed in range(1_000)}
    assert len(delays) > 950
