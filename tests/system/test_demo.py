"""`./demo.sh`, the first thing that a newcomer types."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def built() -> None:
    """The demo builds what is not built; in the middle of an edit that is not for a test to do."""
    if subprocess.run(["make", "-q", "build"], cwd=ROOT, check=False).returncode:
        pytest.skip("the package is not built from these sources: make build")


def demo(tmp_path: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it with temporary folders of its own."""
    return subprocess.run(
        [ROOT / "demo.sh", *words],
        env={**os.environ, "TMPDIR": str(tmp_path), **env},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_demo_runs_a_real_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """What it shows came out of a process on a relay, byte for byte."""
    text = """it's "$HOME" and `more` \\ of it"""
    ran = demo(tmp_path, HPC_DEMO_TEXT=text, HPC_HUB_URL="http://127.0.0.1:1")
    assert ran.returncode == 0, ran.stderr
    assert f"     | {text}\n" in ran.stdout
    assert re.search(r"state +succeeded", ran.stdout)
    assert "exit code 0" in ran.stdout
    assert re.search(r"memory used +\d", ran.stdout)
    assert ran.stdout.splitlines()[1].startswith(" 1/4 "), "nothing of the build"
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_the_readme_shows_what_the_demo_prints(tmp_path: Path) -> None:
    """Word for word, but for what is another machine's."""
    blocks = pages.blocks(ROOT / "README.md")
    consoles = [block.text for block in blocks if block.language == "console"]
    shown = dict(pages.commands("".join(consoles)))["./demo.sh"]
    printed = demo(tmp_path).stdout
    assert pages.is_as_shown(printed, shown), printed


def test_the_demo_can_be_kept_and_stopped_by_its_own_words(tmp_path: Path) -> None:
    """`--keep` leaves a Hub that the shown commands reach and end."""
    ran = demo(tmp_path, "--keep")
    assert ran.returncode == 0, ran.stderr
    export, use = (line.strip() for line in ran.stdout.split("Use it:\n")[1].splitlines()[:2])
    stop = ran.stdout.split("Stop it:\n")[1].strip()
    try:
        used = subprocess.run(
            ["bash", "-ec", f"{export}; {use}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        stopped = subprocess.run(["bash", "-ec", stop], timeout=60, check=False)
    assert used.returncode == 0, used.stderr
    assert used.stdout.strip() == os.uname().nodename
    assert stopped.returncode == 0


def test_a_build_that_fails_is_shown(tmp_path: Path) -> None:
    """All that it said, and nothing is left behind."""
    there = tmp_path / "project"
    there.mkdir()
    shutil.copy(ROOT / "demo.sh", there)
    (there / "Makefile").write_text("build:\n\t@echo no compiler here\n\t@exit 3\n")
    folder = tmp_path / "tmp"
    folder.mkdir()
    ran = subprocess.run(
        [there / "demo.sh"],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("no compiler here\n")
    assert "demo: the package could not be built" in ran.stderr
    assert list(folder.iterdir()) == []
