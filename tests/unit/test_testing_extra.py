"""What `hpc.testing` needs is an extra; who lacks it is told what to install."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_without_hypothesis_the_laws_say_what_to_install() -> None:
    """The contract suites need pytest alone, and go on working."""
    program = (
        "import sys\n"
        "sys.modules['hypothesis'] = None\n"
        "import hpc, hpc.testing.event_log, hpc.testing.small_hub\n"
        "try:\n"
        "    import hpc.testing.laws\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "pip install 'hpc-lattice[testing]'" in ran.stdout


def test_the_package_itself_needs_neither_pytest_nor_hypothesis() -> None:
    """Nobody's Hub should carry a test framework."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = " ".join(project["dependencies"])
    assert "hypothesis" not in needed
    assert "pytest" not in needed
    extra = project["optional-dependencies"]["testing"]
    assert {name.split(">")[0] for name in extra} == {"hypothesis", "pytest"}
