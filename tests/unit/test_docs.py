"""What the documents claim, as far as a program can check it: commands, files, routes, tests.

A page that names something which is gone is worse than none, since it is believed.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fault_table
import msgspec
import pages
import pytest
import typer
from fault_rows import FAULTS, ONE_MACHINE

from hpc.cli.tree import tree
from hpc.namespaces.batch import SUBMIT_JOB
from hpc.transport.openapi import document

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for path in itertools.chain(
        ROOT.glob("*.md"), (ROOT / "docs").glob("**/*.md"), (ROOT / "examples").glob("**/*.md")
    )
)
SHELL = ("", "console")
"""The languages of blocks with commands in them."""


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a page that are marked so."""
    for block in pages.blocks(page):
        if block.language == language:
            yield block.text


def copied_commands() -> Iterator[tuple[str, list[str]]]:
    """Command lines of ours that stand in a block, to be copied, run there by a test or not."""
    for page in PAGES:
        for line in "".join(
            block.text.replace("\\\n", "")
            for block in pages.blocks(page)
            if block.language in SHELL
        ).splitlines():
            typed = re.match(r"(?:\$ )?(?:exec |[A-Z_0-9]+=\S+ )*(hpc .*)", line)
            if typed is not None:
                yield f"{shown(page)}: {line}", first_command(typed[1])[1:]


def first_command(line: str) -> list[str]:
    """The words of a line up to where a shell begins something else; a variable is a number."""
    words = shlex.shlex(re.sub(r" \d>", " >", line), posix=True, punctuation_chars=True)
    words.whitespace_split = True
    ours = itertools.takewhile(lambda word: not word or set(word) - set("();<>|&"), words)
    return ["1" if word.startswith("$") else word for word in ours]


def mentioned_commands() -> Iterator[tuple[str, list[str]]]:
    """Commands of ours that a sentence names, often without their arguments."""
    for page in PAGES:
        for line in re.findall(r"`(hpc [^`…|]+)`", pages.FENCE.sub("", page.read_text("utf-8"))):
            yield f"{shown(page)}: {line}", first_command(line)[1:]


def parse(words: list[str]) -> None:
    """Parse a command line against the command tree, without running it."""
    command: Any = typer.main.get_command(tree(words[0]))
    context: Any = None
    name, rest = "hpc", words
    while True:
        context = command.make_context(name, list(rest), parent=context)
        subcommands = getattr(command, "commands", None)
        words = [*context._protected_args, *context.args]
        if subcommands is None or not words:
            return
        name, *rest = words
        assert name in subcommands, f"no command `{name}`"
        command = subcommands[name]


def test_the_readme_opens_with_the_two_commands() -> None:
    """The first thing a newcomer reads is what works."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()[:8]
    assert [line.split("#")[0].strip() for line in lines if "#" in line[1:]] == [
        "./demo.sh",
        "make test",
    ]
    assert os.access(ROOT / "demo.sh", os.X_OK)


def test_every_field_of_the_schema_of_batch_is_described() -> None:
    """With its type: who speaks HTTP has nothing else to go by."""
    page = (ROOT / "docs" / "http.md").read_text("utf-8")
    table = page.partition("The schema of `batch`")[2].partition("A SubmitJob for")[0]
    rows = dict(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]+) \|", table, re.MULTILINE))
    types = {name: of for names, of in rows.items() for name in re.findall(r"`(\w+)`", names)}
    for field in SUBMIT_JOB:
        of = types[field.key]
        expected = "`finish`" if field.one_of else field.expected_type  # its values say it
        assert of.startswith(expected), f"{field.key}: {of}"
        assert ("required" in of) == field.required, field.key


def test_every_variable_that_a_task_is_given_is_described() -> None:
    """And those that hpc reads; they are written down where they are set."""
    page = (ROOT / "docs" / "environment.md").read_text("utf-8")
    source = (ROOT / "rust" / "hpc-executor" / "src" / "environment.rs").read_text("utf-8")
    ours = set(re.findall(r'"(HPC_[A-Z_]+)"', source.partition("const OURS")[2].partition("];")[0]))
    ours |= {"HPC_RELAY_PLACE", "HPC_PARENT_JOB_ID", "HPC_HOME", "HPC_HUB_URL"}
    assert len(ours) > 12
    assert {name for name in ours if f"`{name}`" not in page} == set()


def test_every_make_target_in_the_pages_exists() -> None:
    """Likewise for those who want to change something."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        name
        for page in PAGES
        for block in blocks(page, "")
        for name in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE)
    }
    assert named
    assert named <= targets


def test_every_command_in_the_pages_parses() -> None:
    """Commands are copied; one that is refused for its words costs the page its reader."""
    refused = []
    copied = list(copied_commands())
    for line, words in copied:
        try:
            parse(words)
        except (typer.TyperException, AssertionError) as error:
            refused.append(f"{line}: {error}")
    assert len(copied) > 10
    assert not refused


def test_every_page_with_something_to_run_is_run() -> None:
    """By tests/system/test_pages_*.py, a folder each; the examples have tests of their own."""
    docs = ROOT / "docs"
    folders = {path.parent.relative_to(docs).as_posix() for path in docs.glob("**/*.md")}
    ran = re.compile(r'ROOT / "docs"(?: / "(\w+)")?')
    tests = [path.read_text("utf-8") for path in (ROOT / "tests" / "system").glob("test_pages_*")]
    assert folders - {found[1] or "." for text in tests if (found := ran.search(text))} == {
        "reference"
    }
    assert not pages.with_something_to_run(docs / "reference")


def test_what_is_not_run_is_marked_before_its_block() -> None:
    """Anywhere else the mark would be read by people and by nothing else."""
    for page in PAGES:
        marks = len(
            re.findall(r"^ *\*Not run by the tests:", page.read_text("utf-8"), re.MULTILINE)
        )
        assert marks == sum(block.not_run is not None for block in pages.blocks(page)), page


def test_every_command_that_a_sentence_names_exists() -> None:
    """Its options too; what is missing of its arguments the sentence need not say."""
    refused = []
    for line, words in mentioned_commands():
        try:
            parse(words)
        except typer.TyperException as error:
            if "Missing" not in str(error):
                refused.append(f"{line}: {error}")
        except AssertionError as error:
            refused.append(f"{line}: {error}")
    assert not refused


def test_every_link_between_pages_leads_somewhere() -> None:
    """Also to the headings and anchors within a page."""
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
            if target.startswith(("http://", "https://")):
                continue
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            is_there = file.exists()
            if not is_there or (anchor and f'id="{anchor}"' not in file.read_text("utf-8")):
                broken.append(f"{shown(page)}: {target}")
    assert not broken


def test_every_file_that_the_architecture_names_exists() -> None:
    """The way of an event is told by file names; a name that has moved leads astray."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    names = {name.rstrip("/") for name in re.findall(r"`([\w./-]+(?:\.py|\.rs|/))`", text)}
    core = ROOT / "rust" / "hpc-core" / "src"
    folders = [ROOT, ROOT / "python" / "hpc", ROOT / "rust", core, core / "logic", core / "domain"]
    folders.append(ROOT / "rust" / "hpc-executor" / "src")
    assert len(names) > 40
    gone = [name for name in names if not any((folder / name).exists() for folder in folders)]
    assert not gone


LAWS = [
    *(f"L{n}" for n in range(1, 9)),
    *(f"M{n}" for n in range(1, 4)),
    *(f"E{n}" for n in range(1, 10)),
    *("D2", "D4", "C1"),
]


def test_each_law_has_its_number_and_its_test() -> None:
    """The laws are promised by number, so by number each must lead to what holds it."""
    text = (ROOT / "docs" / "laws.md").read_text("utf-8")
    rows = re.findall(r"^\| ([LMEDC]\d) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [number for number, *_ in rows] == LAWS
    named = {number: re.findall(r"`[\w./-]+::\w+`", tests) for number, *_, tests in rows}
    assert all(named.values())


@pytest.mark.parametrize("page", ["laws.md", "guarantees.md", "faults.md"])
def test_every_test_that_the_laws_name_exists(page: str) -> None:
    """A law without its test is an opinion."""
    named = re.findall(r"`([\w./-]+)::(\w+)`", (ROOT / "docs" / page).read_text("utf-8"))
    assert len(named) > 30
    missing = []
    for file, name in named:
        path = ROOT / file
        source = path.read_text("utf-8") if path.exists() else ""
        if not re.search(rf"\b(?:fn|def) {name}\b", source):
            missing.append(f"{file}::{name}")
    assert not missing


def test_each_guarantee_has_its_limit_and_its_tests() -> None:
    """What is promised without saying where it ends is believed beyond it."""
    text = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
    rows = re.findall(r"^\| (G\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert [number for number, *_ in rows] == [f"G{n}" for n in range(1, 11)]
    for _, holds, limit, tests in rows:
        assert holds.startswith("**")
        assert len(limit) > 10
        assert len(re.findall(r"`[\w./-]+::\w+`", tests)) > 1


def test_the_page_of_faults_names_the_tests_that_there_are() -> None:
    """It is generated: after a change to the tests of faults, `make faults`."""
    when, ended = fault_table.kept()
    assert fault_table.PAGE.read_text("utf-8") == fault_table.page(when, ended)


def test_the_page_of_faults_tells_how_the_tests_ended() -> None:
    """Of every fault some were run, and passed; a page that tells of a failure is not kept."""
    _, ended = fault_table.kept()
    assert list(ended) == list(FAULTS)
    assert [number for number, told in ended.items() if "passed" not in told] == []
    assert [number for number, told in ended.items() if "failed" in told] == []


def test_each_fault_has_a_test_or_a_reason() -> None:
    """Of 64; a test in its name may carry one, two, or a range of them."""
    assert list(FAULTS) == list(range(1, 65))
    named = fault_table.by_fault()
    assert [n for n in FAULTS if not named[n] and n not in ONE_MACHINE] == []
    assert fault_table.numbers_of("test_fault_08_09_a_disk_of_48") == [8, 9]
    assert fault_table.numbers_of("fault_20_and_26_x") == [20, 26]
    assert fault_table.numbers_of("test_fault_38_to_41_and_61_y") == [38, 39, 40, 41, 61]


def test_how_tests_of_faults_ended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was skipped, or did not run, is not taken for a test that passed."""
    (file, name), *others = fault_table.by_fault()[16]
    assert not others
    noted = tmp_path / "faults.json"
    monkeypatch.setattr(fault_table, "NOTED", noted)
    cargo = ["test traces::fault_33_a_repeat_gets_the_first_receipt ... ok\n"]
    told = list(fault_table.results(cargo))
    assert told[15] == "16  1 not run"
    assert "1 passed" in told[32]
    noted.write_text(json.dumps({f"{file}::{name}": "skipped"}))
    assert list(fault_table.results([]))[15] == "16  1 skipped"


def test_every_route_is_told_and_none_that_is_not_there() -> None:
    """The page and the OpenAPI document speak of the same routes."""
    headings = re.findall(
        r"^### `(DELETE|GET|POST) (\S+)`$",
        (ROOT / "docs" / "http.md").read_text("utf-8"),
        re.MULTILINE,
    )
    routes = {
        (method.upper(), path)
        for path, methods in msgspec.json.decode(document())["paths"].items()
        for method in methods
    }
    assert set(headings) == routes


def test_json_in_the_pages_is_json() -> None:
    """An example is copied into a program before it is read."""
    texts = [text for page in PAGES for text in blocks(page, "json")]
    assert texts
    for text in texts:
        msgspec.json.decode(text)


def test_python_in_the_pages_compiles() -> None:
    """Likewise."""
    for page in PAGES:
        for text in blocks(page, "python"):
            lines = text.splitlines()
            indent = len(lines[0]) - len(lines[0].lstrip())
            compile("\n".join(line[indent:] for line in lines), shown(page), "exec")


def test_no_page_tells_on_which_machine_it_was_written() -> None:
    """Output is pasted into pages, and paths come with it."""
    telling = re.compile(r"(?<![\w.])/(root|work|home|Users)/")
    assert not [shown(page) for page in PAGES if telling.search(page.read_text("utf-8"))]
