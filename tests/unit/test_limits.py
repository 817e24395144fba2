"""Limits as they are typed, sent and read: one form for each, and a sentence for what is none."""

from __future__ import annotations

import os
import signal

import pytest

from hpc import limits
from hpc.cli.submit import own_umask
from hpc.errors import UsageError
from hpc.submission import batch_spec


@pytest.mark.parametrize(
    ("typed", "sent", "number"),
    [
        ("USR1@60", "USR1@60", signal.SIGUSR1),
        ("SIGUSR1@1m", "USR1@60", signal.SIGUSR1),
        ("usr2@0.5", "USR2@0.5", signal.SIGUSR2),
        ("10@60", "USR1@60", signal.SIGUSR1),
        ("CLD@1", "CHLD@1", signal.SIGCHLD),
        ("40@2h", "40@7200", 40),
        ("040@2h", "40@7200", 40),
    ],
)
def test_a_warning_is_sent_in_one_form(typed: str, sent: str, number: int) -> None:
    """The same job by the same key is the same, however the signal was spelled."""
    read = limits.parse_warn_signal(typed)
    assert (read.text, read.signal) == (sent, number)
    assert limits.parse_warn_signal(sent) == read


@pytest.mark.parametrize("typed", ["USR1", "@60", "KILL@9", "19@9", "0@9", "65@9", "USR1@x", "X@1"])
def test_what_is_no_warning_is_refused_by_its_field(typed: str) -> None:
    """A signal that nobody can hear would end the task before its time."""
    with pytest.raises(UsageError) as refused:
        limits.parse_warn_signal(typed)
    assert refused.value.field == "warn_signal"


def test_a_warning_needs_a_time_limit() -> None:
    """There would be nothing to warn of."""
    with pytest.raises(UsageError, match="time limit"):
        batch_spec(["true"], warn_signal="USR1@60")
    spec = batch_spec(["true"], warn_signal="SIGUSR1@1m", time_limit="1h")
    assert spec["warn_signal"] == "USR1@60"


@pytest.mark.parametrize(
    ("typed", "size"),
    [("10M", 10 << 20), ("10", 10 << 20), ("4K", 4096), ("1.5G", 3 << 29), ("0.5K", 512)],
)
def test_sizes_are_binary_and_a_bare_number_is_mib(typed: str, size: int) -> None:
    """As memory is written."""
    assert limits.parse_bytes(typed, field="output_limit") == size
    assert batch_spec(["true"], output_limit=typed)["output_limit"] == size


@pytest.mark.parametrize("typed", ["", "0", "-1", "10B", "x", "9999999T"])
def test_what_is_no_size_is_refused(typed: str) -> None:
    """Nought would end every task at its first line."""
    with pytest.raises(UsageError) as refused:
        limits.parse_bytes(typed, field="output_limit")
    assert refused.value.field == "output_limit"


def test_from_python_an_output_limit_is_bytes() -> None:
    """A number is what is sent."""
    assert batch_spec(["true"], output_limit=100)["output_limit"] == 100
    with pytest.raises(UsageError):
        batch_spec(["true"], output_limit=0)


@pytest.mark.parametrize(
    ("given", "sent"), [(0o27, "027"), ("27", "027"), ("0027", "027"), ("0o2", "002"), (0, "000")]
)
def test_a_umask_is_sent_in_three_digits(given: int | str, sent: str) -> None:
    """As the shell prints it, whatever Python makes of the number."""
    assert batch_spec(["true"], umask=given)["umask"] == sent


@pytest.mark.parametrize("given", ["", "8", "1000", "0x1", -1, 0o1000])
def test_what_is_no_umask_is_refused(given: int | str) -> None:
    """27 in decimal is another mask than 027."""
    with pytest.raises(UsageError) as refused:
        limits.umask_text(given)
    assert refused.value.field == "umask"


def test_the_command_line_reads_its_own_umask_and_leaves_it() -> None:
    """There is no reading without setting, and the shell's must not change."""
    before = os.umask(0o026)
    try:
        assert own_umask() == 0o026
        assert own_umask() == 0o026
    finally:
        os.umask(before)


def test_ulimits_are_names_and_numbers() -> None:
    """As limits.conf spells them."""
    typed = ["nofile=4096", "core=unlimited", "stack = 8388608"]
    read = limits.parse_ulimits(typed)
    assert read == {"nofile": 4096, "core": "unlimited", "stack": 8 << 20}
    assert limits.kernel_ulimits(read) == {"nofile": 4096, "core": None, "stack": 8 << 20}
    assert batch_spec(["true"], ulimits=read)["ulimits"] == read
    assert "ulimits" not in batch_spec(["true"], ulimits={})


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ("nofile", "ulimits"),
        ("rss=1", "ulimits.rss"),
        ("files=1", "ulimits.files"),
        ("nofile=many", "ulimits.nofile"),
        ("nofile=-1", "ulimits.nofile"),
        (f"nofile={1 << 63}", "ulimits.nofile"),
    ],
)
def test_what_is_no_ulimit_is_named(typed: str, field: str) -> None:
    """`rss` among them: Linux would ignore it."""
    with pytest.raises(UsageError) as refused:
        limits.parse_ulimits([typed])
    assert refused.value.field == field
