"""The pages of `docs/concepts/`: what stands there is run, and must print what stands there.

A page is read from top to bottom, against a Hub of its own. Of its fenced blocks, `json` after a
line that ends with a file's name is that file, `console` is commands with what they print, and
`python` is a program, whose output is the `text` block after it. Ids and times may differ, and so
may places in the log, since a Hub registers what is installed beside it before anything else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hpc.testing.processes import Cluster

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "concepts").glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT_S = 60


class Block(NamedTuple):
    """A fenced block, and the text between it and the one before."""

    language: str
    text: str
    before: str


def blocks(page: Path) -> Iterator[Block]:
    text, end = page.read_text("utf-8"), 0
    for found in FENCE.finditer(text):
        yield Block(found[1], found[2], text[end : found.start()].rstrip())
        end = found.end()


def normal(printed: str) -> str:
    """What is printed, without what differs from run to run."""
    printed = re.sub(r"[ \t]+\n", "\n", re.sub(r"(?<=\S) {2,}", "  ", printed)).strip()
    printed = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID", printed)
    printed = re.sub(r"\b[0-9a-f]{32}\b", "ID", printed)
    printed = re.sub(r"\d+  \d{4}-\d\d-\d\dT[\d:.]+Z", "SEQ  TIME", printed)
    printed = re.sub(r'(recorded as |"cursor": )\d+', r"\g<1>0", printed)
    try:
        # The columns of a row come in no order that anybody should count on.
        return json.dumps(json.loads(printed), sort_keys=True)
    except ValueError:
        return printed


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Each command of a block with what it prints."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def run(words: list[str], cluster: Cluster, folder: Path) -> str:
    """What a command prints, on either stream."""
    path = os.pathsep.join([os.fspath(Path(sys.executable).parent), os.environ.get("PATH", "")])
    ran = subprocess.run(
        words,
        cwd=folder,
        env=cluster.env | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    return ran.stdout


def test_there_is_a_page_for_each_concept() -> None:
    """Else nothing below would run."""
    assert {page.stem for page in PAGES} == {"cursors", "facts", "generators", "laws"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    """A newcomer types it in; a first example that fails is the last one that is read."""
    folder = tmp_path / "work"
    folder.mkdir()
    seen = 0
    program: str | None = None
    with Cluster(tmp_path) as cluster:
        for block in blocks(page):
            assert block.language in {"json", "console", "python", "text"}
            if block.language == "json":
                named = re.findall(r"`([\w.-]+\.json)`[^`]*$", block.before)
                assert named, f"which file is this?\n{block.text}"
                (folder / named[0]).write_text(block.text)
            elif block.language == "python":
                program = block.text
            elif block.language == "text":
                assert program is not None
                (folder / "program.py").write_text(program)
                printed = run([sys.executable, "program.py"], cluster, folder)
                assert normal(printed) == normal(block.text)
                program = None
                seen += 1
            for command, expected in commands(block.text) if block.language == "console" else ():
                printed = run(["bash", "-c", command], cluster, folder)
                assert normal(printed) == normal(expected), command
                seen += 1
    assert program is None, "a program without its output"
    assert seen > 0
