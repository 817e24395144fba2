"""The page `docs/python.md`: its programs are run, and must print what stands there.

Of its fenced blocks, `python` after a line that ends with a file's name is that file, and any other
is a program, whose output is the `text` block after it. One without such a block is not run.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from test_concepts import ROOT, blocks, run

from hpc.testing.processes import Cluster

PAGE = ROOT / "docs" / "python.md"


def shown(printed: str) -> str:
    """What is printed, without addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", printed).strip()


def test_what_the_page_shows_is_what_happens(tmp_path: Path) -> None:
    """A newcomer types it in; a first example that fails is the last one that is read."""
    folder = tmp_path / "work"
    folder.mkdir()
    program = ""
    seen = 0
    with Cluster(tmp_path, lease_s=30) as cluster:
        cluster.start("relay", "--ns", "batch", "--ns", "calls", "--node-id", "n1", "--cpus", "4")
        for block in blocks(PAGE):
            named = re.findall(r"`(\w+\.py)`:$", block.before)
            if block.language == "python" and named:
                (folder / named[0]).write_text(block.text)
            elif block.language == "python":
                program = block.text
            else:
                (folder / "program.py").write_text(program)
                printed = run([sys.executable, "program.py"], cluster, folder)
                assert shown(printed) == shown(block.text)
                seen += 1
    assert seen == 6
