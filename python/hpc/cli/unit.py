"""Unit: a command that stays, as a systemd user unit for exactly the flags that were typed.

It prints and never writes, starts or enables anything. No token stands in a unit: the process finds
it in the access file, as it does when it is typed.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperOption

from hpc.cli import output

PRINT_UNIT: Final = "--print-unit"

PATHS: Final = frozenset({"DIR", "FILE", "PATH"})
"""Metavars of flags whose value is a path: a unit has another working directory."""

FROM_HERE: Final = ("HPC_HUB_URL", "HPC_CONFIG")
"""Variables that a unit takes along from where it is printed."""

PLAIN: Final = re.compile(r"[A-Za-z0-9_./:=,@%$+-]+")
"""Words that systemd reads without quotes."""

NOT_AGAIN: Final = "2 5 6 7"
"""Exit codes by which no start helps: flags, a refusal, a name that another has, a token."""


def print_unit(context: typer.Context, home: Path, *, stop_s: float, more: list[str]) -> None:
    """Print the unit of the command that was typed.

    Args:
        context: Of the command; only what was typed goes into the unit.
        home: `$HPC_HOME`.
        stop_s: How long it may take to end after SIGTERM; then systemd kills it.
        more: Lines of the section `[Service]` beside those that all commands have.
    """
    verb = context.info_name or ""
    words = [str(Path(sys.executable).absolute()), "-m", "hpc", verb, *_typed(context)]
    print(text(verb, words, home, os.environ, stop_s=stop_s, more=more), end="")
    if "HPC_TOKEN" in os.environ:
        output.say(
            "note: HPC_TOKEN is set and not in the unit; the token must stand in the access file "
            f"under {home}"
        )


def text(
    verb: str,
    words: list[str],
    home: Path,
    env: Mapping[str, str],
    *,
    stop_s: float,
    more: list[str],
) -> str:
    """Return a unit; `words` is the command, its program by a whole path."""
    name = f"hpc-{verb}"
    variables = {"HPC_HOME": str(home.absolute())}
    variables |= {key: env[key] for key in FROM_HERE if env.get(key)}
    return "\n".join(
        [
            f"# Save it as ~/.config/systemd/user/{name}.service; "
            f"then: systemctl --user enable --now {name}",
            "# For it to run while you are not logged in: loginctl enable-linger",
            "[Unit]",
            f"Description=hpc {verb}",
            "",
            "[Service]",
            "Type=exec",
            *(f"Environment={quoted(f'{key}={value}')}" for key, value in variables.items()),
            f"ExecStart={' '.join(quoted(word, is_command=True) for word in words)}",
            "Restart=on-failure",
            "RestartSec=5",
            f"RestartPreventExitStatus={NOT_AGAIN}",
            # SIGTERM goes to the process alone, which knows what to do with what it runs.
            "KillMode=mixed",
            f"TimeoutStopSec={round(stop_s)}",
            *more,
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def quoted(word: str, *, is_command: bool = False) -> str:
    """Return a word as systemd reads it: `%` and, in a command, `$` would be replaced."""
    word = word.replace("%", "%%")
    if is_command:
        word = word.replace("$", "$$")
    if PLAIN.fullmatch(word):
        return word
    for char, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\t", "\\t")):
        word = word.replace(char, escape)
    return f'"{word}"'


def _typed(context: typer.Context) -> Iterator[str]:
    """Yield the flags that were typed, in the order of the help, each as `--name=value`."""
    for param in context.command.params:
        name = param.name or ""
        if not isinstance(param, TyperOption) or PRINT_UNIT in param.opts:
            continue
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE":
            continue
        if param.is_flag:
            yield param.opts[0]
            continue
        value = context.params[name]
        for each in value if isinstance(value, (list, tuple)) else [value]:
            yield f"{param.opts[0]}={_absolute(each) if param.metavar in PATHS else each}"


def _absolute(value: Any) -> str:  # noqa: ANN401 - a word of a path
    return str(Path(value).expanduser().absolute())
