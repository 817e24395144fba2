"""Memory and time as people write them."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.errors import UsageError
from hpc.units import parse_duration, parse_memory, parse_moment, show_duration, show_memory


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("512", 512), ("512M", 512), ("512MB", 512), ("512MiB", 512), ("4G", 4096), ("4g", 4096),
        ("1.5G", 1536), ("2T", 2 << 20), ("100K", 1), ("1025K", 2), (" 8 G ", 8192),
    ],
)  # fmt: skip
def test_memory_is_mib_unless_it_says_otherwise(text: str, mib: int) -> None:
    """A bare number is MiB, K M G T are binary, and nothing is rounded down to less."""
    assert parse_memory(text) == mib


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "4X", "4 4", "1e3", "nan", "9" * 30, "M"])
def test_what_is_no_memory_is_refused_with_the_field(text: str) -> None:
    """A slip must not become a job with another limit."""
    with pytest.raises(UsageError) as refused:
        parse_memory(text, field="memory")
    assert refused.value.field == "memory"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25),
        ("2d", 172_800), ("1H30M", 5400), ("0", 0),
    ],
)  # fmt: skip
def test_a_time_is_seconds_unless_it_says_otherwise(text: str, seconds: float) -> None:
    """A bare number is seconds, as everywhere in hpc."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "x", "1h 30m", "-5", "1:30", "5 s", "1e3s", "inf", "m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Ten minutes must not silently become ten seconds."""
    with pytest.raises(UsageError) as refused:
        parse_duration(text)
    assert ("1h30m15s" in str(refused.value.hint)) == (":" in text)
    assert "a bare number is seconds; " in str(refused.value.hint)


def test_a_moment_is_so_long_ago_or_a_time_of_day() -> None:
    """As `hpc job list --since` takes it; a day is as good as an hour."""
    assert parse_moment("2h", field="since", now_ms=10_000_000) == 2_800_000
    assert parse_moment("1970-01-02T00:00:01Z", field="since", now_ms=0) == 86_401_000
    local = datetime(2026, 11, 27).astimezone().timestamp() * 1000
    assert parse_moment("2026-11-27", field="since", now_ms=0) == local
    for text in ("yesterday", "27-11-2026", "2026-13-01", "1:30"):
        with pytest.raises(UsageError, match="such as"):
            parse_moment(text, field="since", now_ms=0)


@given(st.integers(1, 1 << 40))
def test_memory_is_read_as_it_is_shown(mib: int) -> None:
    """What the command line prints can be typed again, up to the one digit that it shows."""
    shown = show_memory(mib << 20).replace(" ", "")
    assert parse_memory(shown) == pytest.approx(mib, rel=0.05, abs=1)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.25, "250 ms"), (1, "1 s"), (1.5, "1.5 s"), (60, "1 min"),
        (5400, "1 h 30 min"), (90_061, "1 d 1 h"),
    ],
)  # fmt: skip
def test_a_time_is_shown_in_two_parts_at_most(seconds: float, shown: str) -> None:
    """Times are read by people."""
    assert show_duration(seconds) == shown
