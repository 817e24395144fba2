"""Flags that are written once are flags of each command that takes them."""

from __future__ import annotations

from typing import cast

import pytest
from canned_hub import CannedHub, sent
from typer.core import TyperGroup
from typer.main import get_command

from hpc.cli.flags import Asks, Bounds, flagged
from hpc.cli.tree import main, tree


@pytest.mark.parametrize(
    ("noun", "groups"),
    [("submit", (Asks, Bounds)), ("run", (Asks, Bounds)), ("map", (Asks,))],
)
def test_a_command_has_every_flag_of_the_groups_that_it_takes(
    noun: str, groups: tuple[type[Asks | Bounds], ...]
) -> None:
    """With the same defaults: what is asked for does not depend on which command asks."""
    command = cast("TyperGroup", get_command(tree(noun))).commands[noun]
    found = {parameter.name: parameter for parameter in command.params}
    for group in groups:
        for name, default in group._field_defaults.items():
            assert found[name].default == default, name


@pytest.mark.parametrize("words", [["submit"], ["run"], ["map"]])
def test_what_was_typed_arrives(hub: CannedHub, words: list[str]) -> None:
    """Through every command, as the same spec."""
    values = [":::", "a"] if words == ["map"] else []
    main([*words, "--name=n", "--cpu=2", "--memory=1G", "--env=A=1", "--", "true", *values])
    payload = sent(hub)
    assert payload["ctx"]["name"] == "n"
    spec = payload["spec"]
    assert (spec["cpu"], spec["memory"], spec["env"]["A"]) == (2, 1024, "1")


def test_the_function_itself_gets_groups() -> None:
    """Whatever they are called, and beside parameters of its own."""

    def command(what: Asks, own: int = 3) -> int:
        return what.cpu + own

    assert flagged(command)(**Asks(cpu=4)._asdict(), own=1) == 5
