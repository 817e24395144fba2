"""docs/errors.md against the sources: every code stands there, with its statuses and exit codes."""

from __future__ import annotations

import ast
import importlib
import pickle
import re
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from hpc.errors import HpcError
from hpc.transport.openapi_refusals import REFUSALS
from hpc.transport.refusals import error_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "hpc"
ROW = re.compile(r"^\| `(\w+)` \| ([\d, ]*) ?\| ([\d, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)

Numbers = set[int]


def numbers(text: str) -> Numbers:
    return {int(number) for number in re.findall(r"\d+", text)}


def files() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "testing" not in path.parts:
            yield path, ast.parse(path.read_text("utf-8"))


def classes() -> dict[str, type[HpcError]]:
    """Every class of errors by name, wherever it is defined."""
    for path, tree in files():
        if any(isinstance(node, ast.ClassDef) for node in tree.body) and "default_code" in ast.dump(
            tree
        ):
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            importlib.import_module(name)
    found: dict[str, type[HpcError]] = {}
    left = [HpcError]
    while left:
        left += (one := left.pop()).__subclasses__()
        if one.__module__.startswith("hpc."):
            found[one.__name__] = one
    return found


def in_sources() -> tuple[dict[str, Numbers], dict[str, Numbers]]:
    """Statuses and exit codes by code."""
    statuses: dict[str, Numbers] = defaultdict(set)
    exits: dict[str, Numbers] = defaultdict(set)
    for status, refusal in REFUSALS.items():
        for code in refusal.codes:
            statuses[code].add(status)
            exits[code].add(error_of(status, b"{}").exit_code)
    known = classes()
    for one in known.values():
        exits[one.default_code].add(one.exit_code)
    for _, tree in files():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = [word.value for word in node.keywords if word.arg == "code"]
                for value in given if node.func.id in known else ():
                    if isinstance(value, ast.Constant) and value.value is not None:
                        exits[value.value].add(known[node.func.id].exit_code)
    return statuses, exits


def test_every_code_stands_in_the_page_with_its_status_and_exit_code() -> None:
    """Programs decide by codes, and a page that lacks one is believed to have them all."""
    page = (ROOT / "docs" / "errors.md").read_text("utf-8").partition("## Codes")[2]
    rows = {code: (numbers(of), numbers(ends)) for code, of, ends, _, _ in ROW.findall(page)}
    statuses, exits = in_sources()
    assert len(exits) > 50
    assert rows == {code: (statuses[code], exits[code]) for code in exits}
    assert list(rows) == sorted(rows), "who looks for one expects the alphabet"


def test_a_traceback_tells_what_to_do_next() -> None:
    """The last word holds, and notes of others stay."""
    error = HpcError("it broke", hint="mend it")
    error.add_note("of somebody else")
    error.hint = "mend it well"
    told = traceback.format_exception_only(pickle.loads(pickle.dumps(error)))
    assert told[-2:] == ["of somebody else\n", "hint: mend it well\n"]
    error.hint = None
    assert traceback.format_exception_only(error)[-1] == "of somebody else\n"
    assert traceback.format_exception_only(HpcError("it broke")) == [
        "hpc.errors.HpcError: it broke\n"
    ]
