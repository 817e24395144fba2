"""What is near to a word that was typed."""

from __future__ import annotations

import pytest

from hpc.nearest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("jbo", ["job"]),
        ("STAUS", ["status"]),
        ("lab-01", ["Lab-1"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_a_slip_is_near_and_another_word_is_not(word: str, near: list[str]) -> None:
    """A question after something else than was meant costs more than none."""
    assert nearest(word, ["job", "hub", "status", "Lab-1"]) == near


def test_three_at_most_are_asked_after_the_nearest_first() -> None:
    """Of more nobody reads the last."""
    known = ["statement", "state", "status", "stationary", "other"]
    asked = did_you_mean("stat", known, "--")
    assert asked == "did you mean `--state`, `--status` or `--statement`?"
    assert did_you_mean("othr", known) == "did you mean `other`?"
    assert did_you_mean("zzz", known) is None
