"""Placeholders: what a task's command becomes, and that no value becomes part of a program."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc.placeholders import Sign, Template, signs_of

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
HOSTILE = st.text(st.sampled_from("a \n'\"$`\\();|&<>*?~#!{}/.-="), max_size=12)


def words(command: list[str], entry: Any, task: int = 0) -> list[str]:
    return Template(command, is_line=False).argv(entry, task)


def printed(line: str, entry: Any, task: int = 0) -> str:
    """What a line prints when the shell runs it for a task."""
    argv = Template([line], is_line=True).argv(entry, task)
    done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    return done.stdout.decode()


@pytest.mark.parametrize(
    ("path", "without", "last", "folder", "stem"),
    [
        ("a/b.txt", "a/b", "b.txt", "a", "b"),
        ("b.tar.gz", "b.tar", "b.tar.gz", ".", "b.tar"),
        ("a.d/b", "a.d/b", "b", "a.d", "b"),
        ("/b", "/b", "b", "/", "b"),
        ("/a/b/c.x", "/a/b/c", "c.x", "/a/b", "c"),
        ("b", "b", "b", ".", "b"),
        ("a/b/", "a/b/", "", "a", ""),
        ("/", "/", "", "/", ""),
        ("", "", "", ".", ""),
    ],
)
def test_parts_of_a_path_are_gnu_parallels(
    path: str, without: str, last: str, folder: str, stem: str
) -> None:
    """The table of its manual, and dirname's corners."""
    assert words(["{}", "{.}", "{/}", "{//}", "{/.}"], path) == [path, without, last, folder, stem]
    assert words(["{1.}", "{1/}", "{1//}", "{1/.}"], [path, "x"]) == [without, last, folder, stem]


def test_values_are_named_by_number() -> None:
    """`{}` is all of them, each a word, as if a shell had split them."""
    entry = ["a/b.c", "d", 7]
    assert words(["x", "{2}-{1/}", "{3}"], entry) == ["x", "d-b.c", "7"]
    assert words(["x", "{}", "<{/.}>"], entry) == ["x", "a/b.c", "d", "7", "<b", "d", "7>"]
    assert words(["{1}", "{}"], "alone") == ["alone", "alone"]
    assert words(["x", "{#}"], "a", task=4) == ["x", "5"]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (7, "7"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ({"b": 1, "a": "ü"}, '{"a":"ü","b":1}'),
    ],
)
def test_what_is_no_text_is_put_in_as_json(entry: Any, text: str) -> None:
    """As `HPC_ENTRY` has it."""
    assert words(["{}"], entry) == [text]


def test_signs_can_be_kept() -> None:
    """A backslash keeps them, and `${1}` is the shell's."""
    assert words([r"\{}", "${1}", "a{0}b", "{ }", "{x}"], "v") == [
        "{}",
        "${1}",
        "a{0}b",
        "{ }",
        "{x}",
    ]
    assert signs_of([r"\{} ${2} {3.} {}"]) == [Sign(3, "."), Sign(0, "")]
    assert printed(r"echo \{} {}", "v") == "{} v\n"


@given(st.lists(WORDS, min_size=1, max_size=4), WORDS)
def test_a_word_that_is_a_placeholder_becomes_the_value(others: list[str], value: str) -> None:
    """No sign in a value means anything."""
    plain = [word.replace("{", "(") for word in others]
    assert words([*plain, "{}"], value) == [*plain, value]


QUOTED = ["{}", '"{}"', '"$(printf %s \'\' "{}")"', '"$(printf %s {})"', "''\"\"{}", '{}""#']


@pytest.mark.parametrize("place", QUOTED)
@given(value=HOSTILE)
def test_a_line_hands_any_value_on_whole(place: str, value: str) -> None:
    """Bare, within quotes, and within a command of its own: it is data, never part of the line."""
    line = f"set -f; printf '<%s>' {place}"
    expected = value
    if "$(" in place:
        expected = value.rstrip("\n")  # the shell takes these from what a command prints
    if place.endswith("#"):
        expected += "#"
    assert printed(line, value) == f"<{expected}>"


@pytest.mark.parametrize(
    ("line", "entry", "out"),
    [
        ("printf '%s,' '{}'", "a b", "a b,"),
        ("printf '%s,' 'x{}y'", "$(id)", "x$(id)y,"),
        ("X={}; printf '%s,' \"$X\"", "a  b", "a  b,"),
        ("echo $(( {1} + (2 * {2}) ))", [3, 4], "11\n"),
        ("echo a # don't {}\necho {}", "b", "a\nb\n"),
        ("printf '%s,' {} {2}", ["a b", "c"], "a b,c,c,"),
        ("printf '%s,' \"{}\"", ["a b", "c"], "a b c,"),
        ("printf '%s,' {.}.gz {#}", "a b.txt", "a b.gz,1,"),
        ("printf '%s,' \"${1}\" {}", "v", "v,v,"),
    ],
)
def test_a_line_reads_as_it_was_meant(line: str, entry: Any, out: str) -> None:
    """Quotes of the line's own do not change what a value is."""
    assert printed(line, entry) == out


def test_an_entry_without_that_value_leaves_nothing() -> None:
    """As GNU parallel has it; the command line refuses it before it is sent."""
    assert words(["x", "{2}"], "a") == ["x", ""]
    assert printed("printf '<%s>' {2}", "a") == "<>"
