"""Defaults: the tables of the user's settings, as what flags are that were not typed.

A table has the name of a command, and its keys are that command's flags. So what may stand there,
and of which type, is what the command tree says; it is checked against the commands that are built,
and `hpc config show` builds all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from typer.core import TyperCommand, TyperGroup, TyperOption

from hpc import settings
from hpc.errors import UsageError
from hpc.nearest import did_you_mean

ALSO_OF: Final = {"run": "submit", "map": "submit"}
"""Whose table holds for a command, too, as far as it has such flags; its own goes before."""

ONCE: Final = frozenset({"help", "batch-id", "key", "print-unit"})
"""Flags that mean one command and no other."""


class Defaults(NamedTuple):
    """What the settings say of one command.

    Attributes:
        of_parser: As the parser takes it.
        places: By flag, without its dashes, where it stands in the file.
        is_json: `json` is among them, and true.
    """

    of_parser: dict[str, Any]
    places: dict[str, str]
    is_json: bool = False

    def explain(self, error: UsageError, words: Sequence[str]) -> None:
        """Have an error say so whose value was not typed and stands in the file."""
        flag = (error.field or "").replace("_", "-")
        typed = any(word.partition("=")[0] == f"--{flag}" for word in words)
        if flag in self.places and not typed:
            error.message += f"\n  as `{self.places[flag]}` of {settings.path()} says"


class Setting(NamedTuple):
    """One flag that stands in the file.

    Attributes:
        place: Such as `submit.memory`.
        parameter: Of the parser.
        value: As the parser takes it.
    """

    place: str
    parameter: TyperOption
    value: Any


def of(command: TyperGroup, noun: str | None, verb: str | None, known: Sequence[str]) -> Defaults:
    """Return what the settings say of the command that was typed.

    Args:
        command: The command tree, as far as it is built.
        noun: The first word that was typed.
        verb: The second one.
        known: All nouns.

    Raises:
        UsageError: The file cannot be read, or says what makes no sense.
    """
    tables = tables_of(known)
    typed = [path for path in ((noun,), (noun, verb)) if tables and path in leaves(command)]
    if not typed:
        return Defaults({}, {})
    path = tuple(map(str, typed[0]))
    found = list(of_leaf(tables, path, leaves(command)[path]))
    values: dict[str, Any] = {str(each.parameter.name): each.value for each in found}
    places = {each.place.rpartition(".")[2]: each.place for each in found}
    is_json = bool(values.get("as_json"))
    for word in reversed(path):
        values = {word: values}
    return Defaults(values, places, is_json)


def tables_of(known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the tables of the settings by noun.

    Raises:
        UsageError: One has another name.
    """
    tables = {key: value for key, value in settings.read().items() if isinstance(value, dict)}
    for name in tables:
        if name not in known:
            hint = did_you_mean(name, [*known, *settings.KEYS])
            raise settings.unknown(settings.path(), name, hint or "a table is named by a command")
    return tables


def leaves(command: TyperGroup) -> dict[tuple[str | None, ...], TyperCommand]:
    """Return the commands that have flags by their words, as far as the tree is built."""
    found: dict[tuple[str | None, ...], TyperCommand] = {}
    for noun, leaf in command.commands.items():
        if isinstance(leaf, TyperGroup):
            found |= {(noun, verb): cast("TyperCommand", of) for verb, of in leaf.commands.items()}
        else:
            found[noun,] = cast("TyperCommand", leaf)
    return found


def of_leaf(
    tables: Mapping[str, dict[str, Any]], path: tuple[str, ...], leaf: TyperCommand
) -> Iterator[Setting]:
    """Yield what stands in the file for one command; what goes before comes last."""
    if (other := ALSO_OF.get(path[0])) is not None:
        yield from _settings(other, tables.get(other, {}), leaf, is_own=False)
    table: Any = tables.get(path[0], {})
    for verb in path[1:]:
        table = table.get(verb, {})
    name = ".".join(path)
    if not isinstance(table, dict):
        raise settings.wrong(settings.path(), name, "a table", table)
    yield from _settings(name, table, leaf, is_own=True)


def _settings(
    name: str, table: dict[str, Any], leaf: TyperCommand, *, is_own: bool
) -> Iterator[Setting]:
    flags = flags_of(leaf)
    for key, value in table.items():
        flag = key.replace("_", "-")
        place = f"{name}.{flag}"
        if flag in flags:
            yield Setting(place, flags[flag], _typed(flags[flag], place, value))
        elif is_own:
            words = name.replace(".", " ")
            hint = did_you_mean(flag, flags) or f"its keys are the flags of `hpc {words}`"
            raise settings.unknown(settings.path(), f"{name}.{key}", hint)


def flags_of(leaf: TyperCommand) -> dict[str, TyperOption]:
    """Return the flags of a command that may stand in the file, without their dashes."""
    options = [each for each in leaf.params if isinstance(each, TyperOption)]
    flags = {flag[2:]: each for each in options for flag in each.opts if flag.startswith("--")}
    return {flag: each for flag, each in flags.items() if flag not in ONCE}


def _typed(parameter: TyperOption, place: str, value: Any) -> Any:  # noqa: ANN401 - as TOML has it
    if parameter.multiple:
        if isinstance(value, dict):  # of K=V
            return [f"{name}={_text(f'{place}.{name}', of)}" for name, of in value.items()]
        if isinstance(value, list):
            return [_text(place, each) for each in value]
        raise settings.wrong(settings.path(), place, "a list", value)
    kind = bool if parameter.is_flag else int if "int" in parameter.type.name else str
    if kind is str:
        return _text(place, value)
    if type(value) is not kind:  # true is no number
        raise settings.wrong(settings.path(), place, settings.TYPES[kind], value)
    return value


def _text(place: str, value: object) -> str:
    """Return a text; a number stands for one, such as of MiB."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise settings.wrong(settings.path(), place, "a text", value)
    return str(value)
