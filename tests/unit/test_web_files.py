"""The dashboard's files: what is vendored is what npm has, and nothing leads away from the Hub."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from hpc.web import STATIC, files

VENDOR = STATIC / "vendor"
OURS = sorted(
    path
    for path in STATIC.rglob("*")
    if path.suffix in {".js", ".css", ".html"} and path.parent != VENDOR
)


def test_what_is_vendored_is_what_was_taken() -> None:
    """Nobody changes it here, and each has its licence."""
    sums = dict(line.split()[::-1] for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    found = {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS", "LICENCES.md"}
    assert found == set(sums)
    for name, digest in sums.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest
        assert f"`{name}`" in (VENDOR / "LICENCES.md").read_text()


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_pages_load_nothing_from_elsewhere_and_run_no_text(path: Path) -> None:
    """The policy refuses it in the browser; here it is found before."""
    text = path.read_text()
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}|@import", text) == []
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", text)
    assert not re.search(r"\son[a-z]+=\"|<style|<script>", text)


def test_every_module_that_is_imported_is_there() -> None:
    """A name that was mistyped would be a white page."""
    known = files()
    for path in OURS:
        if path.suffix != ".js":
            continue
        for name in re.findall(r'from "(\.{1,2}/[^"]+)"', path.read_text()):
            target = (path.parent / name).resolve().relative_to(STATIC.resolve())
            assert target.as_posix() in known, f"{path.name} imports {name}"
