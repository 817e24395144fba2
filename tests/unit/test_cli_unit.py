"""`hpc relay --print-unit`, `hpc hub --print-unit`: a unit does what was typed, no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.cli import tree, unit

GOLDEN = """\
# Save it as ~/.config/systemd/user/hpc-relay.service; then: systemctl --user enable --now hpc-relay
# For it to run while you are not logged in: loginctl enable-linger
[Unit]
Description=hpc relay

[Service]
Type=exec
Environment={quote}HPC_HOME={home}{quote}
ExecStart={python} -m hpc relay --node-id=n1 --cpus=4 --label=zone=b --label=gpu=a100 --grace=1m \
--takeover "--pre=mkdir -p \\"/scratch/$$HPC_JOB_ID\\" && date +%%s"
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 5 6 7
KillMode=mixed
TimeoutStopSec=88
Delegate=yes
OOMPolicy=continue

[Install]
WantedBy=default.target
"""

RELAY = [
    "relay", "--cpus", "4", "--pre", 'mkdir -p "/scratch/$HPC_JOB_ID" && date +%s',
    "--label", "zone=b", "--label", "gpu=a100", "--takeover", "--grace", "1m", "--node-id", "n1",
]  # fmt: skip
HUB = ["hub", "--lease", "10s", "--data", "below/here"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HPC_TOKEN", "HPC_HUB_URL", "HPC_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HPC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert tree.main([*words, "--print-unit"]) == 0
    return capsys.readouterr().out


def test_a_unit_of_a_relay_has_what_was_typed_and_no_more(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What systemd would replace is escaped; nothing was started and no file was made."""
    expected = GOLDEN.format(home=home, python=Path(sys.executable).absolute(), quote="")
    assert printed(RELAY, capsys) == expected
    assert not home.exists()


def test_a_unit_of_a_hub_has_its_folder_by_a_whole_path(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A unit starts in another folder than the shell that it was printed in."""
    text = printed(HUB, capsys)
    words = f"hub --lease=10s --data={home.parent}/below/here\n"
    assert words in text
    assert "\nKillMode=mixed\n" in text
    assert not (home.parent / "below").exists()


def test_no_token_stands_in_a_unit(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units are read by many; where the Hub is comes along, and who relied on the token is told."""
    monkeypatch.setenv("HPC_TOKEN", "hpc1_secret")
    monkeypatch.setenv("HPC_HUB_URL", "http://127.0.0.1:9")
    assert tree.main(["relay", "--print-unit"]) == 0
    shown = capsys.readouterr()
    assert "hpc1_secret" not in shown.out + shown.err
    assert "Environment=HPC_HUB_URL=http://127.0.0.1:9\n" in shown.out
    assert "HPC_TOKEN" in shown.err
    assert str(home) in shown.err


def test_what_would_be_refused_makes_no_unit(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake is told when it is typed, not by a service that does not start."""
    assert tree.main(["relay", "--time-limit", "10s", "--grace", "1m", "--print-unit"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("words", [RELAY, HUB], ids=["relay", "hub"])
def test_systemd_takes_the_unit(
    home: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own check finds nothing."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    file = tmp_path / f"hpc-{words[0]}.service"
    file.write_text(printed(words, capsys))
    checked = subprocess.run(
        [analyze, "--user", "verify", str(file)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in checked.stderr.splitlines() if file.name in line]
    assert not complaints, checked.stderr


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("a", "a"),
        ("", '""'),
        ("a b", '"a b"'),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ('"', '"\\""'),
        ("\\", '"\\\\"'),
        ("a\nb", '"a\\nb"'),
    ],
)
def test_words_of_a_command_are_quoted_as_systemd_reads_them(word: str, shown: str) -> None:
    """Neither a variable nor a specifier of systemd is replaced in them."""
    assert unit.quoted(word, is_command=True) == shown
