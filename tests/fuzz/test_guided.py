"""Coverage-guided: a bounded run of guided.py, the same at each time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TIMES = int(os.environ.get("HPC_FUZZ", "1"))
RUNS = 120
SECONDS = 30

pytestmark = pytest.mark.timeout(0 if TIMES > 1 else 100, method="thread")


def test_inputs_that_reach_more_break_no_property(tmp_path: Path) -> None:
    """atheris keeps what reaches new code and alters that; without HPC_FUZZ by one seed."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this machine")
    ran = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("guided.py")),
            f"-runs={RUNS * TIMES}",
            f"-max_total_time={SECONDS * TIMES}",
            *(["-seed=1"] if TIMES == 1 else []),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    properties = int(ran.stdout.split()[0])
    done = re.search(r"Done (\d+) runs", ran.stderr)
    assert done, ran.stderr[-1000:]
    assert int(done[1]) >= properties > 15
