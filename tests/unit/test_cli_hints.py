"""Every hint that begins with `hpc` can be typed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from hpc.cli.tree import NOUNS, tree
from hpc.testing.small_hub import SmallHub

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted((ROOT / "python").rglob("*.py"))
RUST = sorted((ROOT / "rust").glob("*/src/**/*.rs"))

COMMAND = re.compile(r"(?:^|[`:(] ?|   |by )(hpc [a-z][^`\n]*)")
PROSE = re.compile(r"   |…|\.\.\.|, | and | or |; | finds | is ")


def words_of(text: str) -> list[str]:
    """The words of a command in a message, up to where prose goes on."""
    return shlex.split(PROSE.split(text)[0].rstrip(" .\\)"))[1:]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of the strings in a file's code; what an f-string fills in is `7`."""
    if path.suffix == ".rs":
        code = path.read_text("utf-8").partition("#[cfg(test)]")[0]
        for number, line in enumerate(code.splitlines(), 1):
            if not line.lstrip().startswith("//"):
                found = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
                yield from ((number, re.sub(r"\{[^}]*\}", "7", text)) for text in found)
        return
    tree_of_code = ast.parse(path.read_text("utf-8"))
    # Those of modules, classes and functions, and those of a name behind its assignment.
    docstrings = {id(node.value) for node in ast.walk(tree_of_code) if isinstance(node, ast.Expr)}
    inner: set[int] = set()
    for node in ast.walk(tree_of_code):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in node.values}
            parts = (str(p.value) if isinstance(p, ast.Constant) else "7" for p in node.values)
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and id(node) not in docstrings | inner:
            yield node.lineno, str(node.value)


def hints() -> Iterator[tuple[str, str]]:
    """Where each command in a message stands, and the command."""
    for path in [*PYTHON, *RUST]:
        for number, text in texts(path):
            for match in COMMAND.finditer(text):
                yield f"{path.relative_to(ROOT)}:{number}", match[1]


def test_hints_are_found() -> None:
    """The test below must not pass because it looks at nothing."""
    found = [" ".join(words_of(hint)) for _, hint in hints()]
    assert {"hub", "job list", "submit -- python fit.py", "job cancel 7"} <= set(found)


@pytest.mark.parametrize(("where", "hint"), list(hints()))
def test_a_hint_parses_against_the_command_tree(where: str, hint: str) -> None:
    """Following a hint must never end in a usage error."""
    words = words_of(hint)
    command = typer.main.get_command(tree())
    context = command.make_context("hpc", list(words), resilient_parsing=True)
    for depth in range(2):
        names = getattr(command, "commands", None)
        if names is None or depth >= len(words):
            break
        assert words[depth] in names, f"{where}: `{hint}` is no command"
        command = names[words[depth]]
        rest = words[depth + 1 :]
    if getattr(command, "commands", None) is None:
        with command.make_context(context.info_name, rest, parent=context):
            pass


def test_no_message_speaks_of_routes() -> None:
    """Who types commands is told commands; a program finds the routes in the documentation."""
    of_programs = {"python/hpc/cli/relay.py"}  # says what `--port` serves to them
    told = [
        f"{path.relative_to(ROOT)}:{number}: {text}"
        for path in [*PYTHON, *RUST]
        for number, text in texts(path)
        if re.search(r"\b(GET|POST|PUT|DELETE) /", text)
        and path.relative_to(ROOT).as_posix() not in of_programs
    ]
    assert not told


@pytest.mark.parametrize("noun", NOUNS)
def test_every_command_has_help(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` works everywhere and describes every option."""
    command = typer.main.get_command(tree(noun)).commands[noun]  # type: ignore[attr-defined]
    for each in [command, *getattr(command, "commands", {}).values()]:
        assert each.help or each.callback.__doc__
        for parameter in each.params:
            assert getattr(parameter, "help", None), f"{each.name} {parameter.name}"


@pytest.mark.parametrize(
    ("verb", "query"),
    [("tasks", "job_id=j&after=-1"), ("jobs", "order=up"), ("jobs", "%ff"), ("pull", "")],
)
def test_the_refusal_of_a_read_does_not_speak_of_recording(verb: str, query: str) -> None:
    """Nothing was to be recorded."""
    status, told = SmallHub().reply(verb, query)
    assert (status, told["hint"]) == (400, "correct the request and ask again")


def test_the_refusal_of_a_write_says_that_nothing_was_recorded() -> None:
    """Who sent a batch must know what became of it."""
    status, told = SmallHub().reply("ingest", "", {"id": "b1"})
    assert 400 <= status < 500
    assert told["hint"].startswith("nothing was recorded")
