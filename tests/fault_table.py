"""Writes docs/faults.md: what can go wrong, what hpc does then, and the tests that show it.

    python tests/fault_table.py > docs/faults.md
    python tests/fault_table.py --results [OUTPUT OF cargo test ...]
    python tests/fault_table.py --ended [OUTPUT OF cargo test ...] > docs/faults.md

A test says by its name which faults it is about: `test_fault_08_09_...`, `fault_20_and_26_...`,
`test_fault_38_to_44_...`. `tests/unit/test_docs.py` holds the page to the tests that exist.
`--results` tells how they ended when they were last run here: those of Python from what
`tests/conftest.py` noted, those of Rust from what is given. `--ended` puts that into the page's
last column, which stays as it is until the next time; tests that came since are counted as newer.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fault_rows import FAULTS, ONE_MACHINE

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "faults.md"
NOTED = ROOT / "target" / "faults.json"
"""Written by `conftest.py`: outcomes of the tests of Python, by file and name."""

DEFINED = re.compile(r"^ *(?:async )?(?:pub )?(?:def|fn) ((?:test_)?fault_\d\d_\w+)", re.MULTILINE)

HEAD = """# Faults

What can go wrong, what happens then, and the tests that make it happen. Each test carries the
numbers of its faults in its name, and this page is generated from the names by
`tests/fault_table.py`. Where one machine cannot show all of a fault, its row says what is missing.
What follows from all of it: [guarantees.md](guarantees.md). `hpc selftest --faults` tries the core
of it on your machine. The last column is how all of them ended on {when}, as root on one machine:
a test counts once, whatever its parameters; *newer* ones came since.

| # | what goes wrong | what happens | tests | ended |
|---|---|---|---|---|
"""


def numbers_of(name: str) -> list[int]:
    """The faults that a name carries: `fault_38_to_44_and_61_x` is 38 to 44, and 61."""
    found: list[int] = []
    is_range = False
    for word in name.removeprefix("test_").split("_")[1:]:
        if re.fullmatch(r"\d\d", word):
            found += range(found[-1] + 1, int(word) + 1) if is_range else [int(word)]
        elif word not in ("and", "to"):
            break
        is_range = word == "to"
    return found


def tests() -> Iterator[tuple[str, str]]:
    """File and name of every test of a fault."""
    files = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "rust").rglob("*.rs")]
    for path in sorted(files):
        if "target" not in path.parts:
            for name in DEFINED.findall(path.read_text("utf-8")):
                yield path.relative_to(ROOT).as_posix(), name


def by_fault() -> dict[int, list[tuple[str, str]]]:
    """The tests of each fault, none where there is none."""
    found: dict[int, list[tuple[str, str]]] = {number: [] for number in FAULTS}
    for file, name in tests():
        for number in numbers_of(name):
            found[number].append((file, name))
    return found


def kept() -> tuple[str, dict[int, str]]:
    """The day of the last run that the page tells of, and how the tests of each fault ended."""
    text = PAGE.read_text("utf-8")
    (when,) = re.findall(r"ended on (\d{4}-\d\d-\d\d)", text)
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    return when, {int(number): re.sub(r"(, )?\d+ newer", "", ended) for number, ended in rows}


def page(when: str, ended: Mapping[int, str]) -> str:
    """The page as it should be."""
    rows = []
    for number, named in by_fault().items():
        what, then = FAULTS[number]
        shown = ", ".join(f"`{file}::{name}`" for file, name in named)
        missing = ONE_MACHINE.get(number)
        if missing:
            shown = f"{shown}. *Not shown:* {missing}" if shown else f"*Not shown:* {missing}"
        known = ended.get(number, "")
        newer = len(named) - sum(map(int, re.findall(r"\d+", known)))
        told = ", ".join([*([known] if known else []), *([f"{newer} newer"] if newer > 0 else [])])
        rows.append(f"| {number} | {what} | {then} | {shown} | {told} |\n")
    return HEAD.format(when=when) + "".join(rows)


def endings(cargo_outputs: Sequence[str]) -> dict[int, str]:
    """For each fault how many of its tests ended how; those that did not run are told."""
    noted: dict[str, str] = json.loads(NOTED.read_text()) if NOTED.exists() else {}
    in_rust = {
        name.rpartition("::")[2]: {"ok": "passed", "FAILED": "failed"}.get(outcome, outcome)
        for output in cargo_outputs
        for name, outcome in re.findall(r"^test (\S+) \.\.\. (\w+)", output, re.MULTILINE)
    }
    found = {}
    for number, named in by_fault().items():
        ended = Counter(noted.get(f"{f}::{n}") or in_rust.get(n, "not run") for f, n in named)
        found[number] = ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.items()))
    return found


def results(cargo_outputs: Sequence[str]) -> Iterator[str]:
    """The same as lines; of a fault without a test the reason."""
    for number, shown in endings(cargo_outputs).items():
        yield f"{number:2}  {shown or 'no test: ' + ONE_MACHINE.get(number, 'and no reason')}"


if __name__ == "__main__":
    told = [Path(name).read_text("utf-8") for name in sys.argv[2:]]
    match sys.argv[1:2]:
        case ["--results"]:
            print("\n".join(results(told)))
        case ["--ended"]:
            sys.stdout.write(page(datetime.now(UTC).date().isoformat(), endings(told)))
        case _:
            sys.stdout.write(page(*kept()))
