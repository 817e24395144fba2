"""The command tree, built as far as is needed: `hpc job list` imports job.py and no other noun.

`main` runs a command line and turns whatever happens into an exit code and a message:

| code | meaning                                    | code | meaning                           |
|------|--------------------------------------------|------|-----------------------------------|
| 0    | ok                                         | 6    | conflict                          |
| 1    | a job failed, or something unforeseen      | 7    | not allowed                       |
| 2    | usage                                      | 124  | time-out                          |
| 3    | no Hub answers                             | 125  | `hpc run`: hpc itself failed      |
| 4    | not found                                  | 130  | interrupted                       |
| 5    | refused: not well-formed                   | 141  | nobody reads its output any more  |
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from hpc._core import __version__
from hpc.cli import output
from hpc.cli.defaults import Defaults
from hpc.cli.defaults import of as defaults_of
from hpc.cli.exits import INTERRUPTED, READER_GONE, RUN_FAILED
from hpc.errors import HpcError, UsageError
from hpc.nearest import did_you_mean

NOUNS: Final = (
    "up",
    "submit",
    "run",
    "map",
    "status",
    "open",
    "top",
    "job",
    "node",
    "ns",
    "generator",
    "pull",
    "events",
    "timeline",
    "report",
    "eff",
    "explain",
    "conflicts",
    "diff",
    "at",
    "log",
    "token",
    "config",
    "hub",
    "relay",
    "monitor",
    "doctor",
    "completion",
    "selftest",
)
"""Each is a module beside this one with a function `add(app, verb)`."""

TRACEBACK: Final = "HPC_TRACEBACK"
"""The environment variable with which a mistake of ours is shown with where it was made."""

_NO_NUMBER: Final = re.compile(r"('.*') is not a valid int(?:eger)?(?: range)?\.", re.DOTALL)
_NOT_IN: Final = re.compile(r"(\S+) is not in the range (.*)\.")
"""Sentences of the parser's that say less than ours."""

_COMMANDS_ELSEWHERE: Final = {
    "cat": "job log",
    "dashboard": "open",
    "help": "--help",
    "jobs": "job list",
    "kill": "job cancel",
    "logs": "job log",
    "ls": "job list",
    "output": "job log",
    "ps": "job list",
    "queue": "job list",
    "requeue": "job retry",
    "resume": "job release",
    "sacct": "job tasks",
    "sbatch": "submit",
    "scancel": "job cancel",
    "scontrol": "job info",
    "seff": "eff",
    "server": "hub",
    "sinfo": "node list",
    "squeue": "job list",
    "srun": "run",
    "stop": "job cancel",
    "ui": "open",
    "version": "--version",
    "worker": "relay",
}
"""What Slurm, HyperQueue and shells call them; the verbs of `hpc job` need none."""

_VERBS_ELSEWHERE: Final = {
    "cat": "log",
    "delete": "cancel",
    "kill": "cancel",
    "ls": "list",
    "output": "log",
    "ps": "list",
    "requeue": "retry",
    "resume": "release",
    "rm": "cancel",
    "show": "info",
    "status": "info",
    "stop": "cancel",
}
"""Likewise of the verbs of a noun that has ours."""

_FLAGS_ELSEWHERE: Final = {
    "--chdir": "--cwd",
    "--constraint": "--require",
    "--cpus-per-task": "--cpu",
    "--dependency": "--after",
    "--depends": "--after",
    "--error": "--stderr",
    "--export": "--env",
    "--gres": "--gpus",
    "--job-name": "--name",
    "--jobs": "--array",
    "--licenses": "--resource",
    "--mem": "--memory",
    "--mem-per-cpu": "--memory",
    "--nodelist": "--node",
    "--ntasks": "--cpu",
    "--output": "--stdout",
    "--partition": "--require",
    "--time": "--time-limit",
    "--timeout": "--time-limit",
    "-C": "--require",
    "-D": "--cwd",
    "-G": "--gpus",
    "-J": "--name",
    "-L": "--resource",
    "-a": "--array",
    "-c": "--cpu",
    "-d": "--after",
    "-e": "--stderr",
    "-i": "--stdin",
    "-j": "--array",
    "-n": "--cpu",
    "-o": "--stdout",
    "-p": "--require",
    "-t": "--time-limit",
    "-w": "--node",
    "-x": "--exclude",
}
"""Likewise of flags, those that are not near by their letters."""

_NO_MPI: Final = "a task has one node; its cores are --cpu, and many tasks --array"
_NO_USERS: Final = "there are no accounts here: all runs as the user that started the relay"
_FLAGS_NOWHERE: Final = {
    "--account": _NO_USERS,
    "--nodes": _NO_MPI,
    "--wrap": "a line for the shell stands behind `--`: hpc submit -- 'sort a | uniq > b'",
    "-A": _NO_USERS,
    "-N": _NO_MPI,
}
"""Flags of Slurm's that none of ours is like: what there is instead."""

SERVERS: Final = frozenset({"up", "hub", "relay", "monitor"})


def tree(noun: str | None = None, verb: str | None = None) -> typer.Typer:
    """Return the commands of a noun, or all of them where it is None or names nothing.

    Args:
        noun: The first word.
        verb: The second one; of a noun that has it, nothing else is built.
    """
    app = typer.Typer(
        name="hpc",
        help=(
            "A lattice-based, distributed job system for high-performance computing.\n\n"
            "Begin with `hpc up`, and in another terminal: hpc run -- hostname"
        ),
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        suggest_commands=False,  # `_usage` does
        invoke_without_command=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in (noun,) if noun in NOUNS else NOUNS:
        importlib.import_module(f"hpc.cli.{name}").add(app, verb)
    return app


def built(words: Sequence[str]) -> tuple[TyperGroup, Defaults]:
    """Return the command tree as far as words need it, and what the user's settings say of them.

    Raises:
        UsageError: The settings make no sense.
    """
    noun, verb = (*words[:2], None, None)[:2]
    command = cast("TyperGroup", typer.main.get_command(tree(noun, verb)))
    return command, defaults_of(command, noun, verb, NOUNS)


def main(words: Sequence[str]) -> int:
    """Run a command line without the program's name; returns the exit code."""
    words = list(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    noun = words[0] if words else None
    defaults = Defaults({}, {})
    own_words = words[: words.index("--")] if "--" in words else words
    as_json = "--json" in own_words
    try:
        command, defaults = built(words)
        as_json = as_json or defaults.is_json
        if not gc.isenabled():  # since the start of the program
            gc.freeze()
            gc.enable()
        result = command.main(
            args=words,
            prog_name="hpc",
            standalone_mode=False,
            default_map=defaults.of_parser,
        )
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return READER_GONE
    except SystemExit as end:
        # The parser's own way out where nobody reads what is printed.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        return READER_GONE
    except Exception as error:
        if isinstance(error, typer.TyperException):
            error = _usage(error, words)
        if isinstance(error, UsageError):
            defaults.explain(error, own_words)
        code = output.fail(_told(error), as_json=as_json)
    else:
        return result if isinstance(result, int) else 0
    return RUN_FAILED if noun == "run" else code


def _told(error: Exception) -> HpcError:
    """Return what is said of whatever ended a command."""
    if isinstance(error, HpcError):
        return error
    if isinstance(error, UnicodeEncodeError):
        # A word that was typed: how Python has bytes that are no UTF-8.
        near = error.object[max(error.start - 20, 0) : error.end + 20]
        return UsageError(f"Words must be UTF-8, got {near!r}")
    if isinstance(error, OSError):
        # A disk that is full, a folder that is gone: of the system, and no mistake of ours.
        where = f": {error.filename}" if error.filename else ""
        return HpcError(f"{error.strerror or error}{where}")
    if os.environ.get(TRACEBACK):
        raise error
    # Unforeseen: whoever typed the command cannot mend it.
    return HpcError(
        f"A mistake of hpc itself: {type(error).__name__}: {error}",
        code="internal",
        hint=f"please report it, with what {TRACEBACK}=1 in the environment shows of the same",
    )


def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"hpc {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
    else:
        return
    raise typer.Exit


def _usage(error: typer.TyperException, words: Sequence[str]) -> UsageError:
    """Return what is said of words that do not parse, and which were meant, maybe."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else _path(words)
    parameter = getattr(error, "param", None)
    field = parameter.name if parameter is not None else None
    near = None
    if (option := getattr(error, "option_name", None)) is not None and context is not None:
        message = f"`{path}` has no option `{option}`"
        flags = [flag for each in context.command.params for flag in each.opts]
        known = _FLAGS_ELSEWHERE.get(option)
        if known in flags:
            near = f"did you mean `{known}`?"
        elif option in _FLAGS_NOWHERE and "--cpu" in flags:
            near = _FLAGS_NOWHERE[option]
        else:
            near = did_you_mean(option, [flag for flag in flags if flag.startswith("--")])
    elif match := re.fullmatch(r"No such command '(.*)'", message, re.DOTALL):
        message = f"`{path}` has no command `{match[1]}`"
        near = _command_meant(path, match[1], getattr(context, "command", None))
    elif parameter is not None and (match := _NO_NUMBER.fullmatch(error.message)):
        message = f"`{_shown(parameter)}` must be a whole number, got {match[1]}"
    elif parameter is not None and (match := _NOT_IN.fullmatch(error.message)):
        message = f"`{_shown(parameter)}` must be in the range {match[2]}, got {match[1]}"
    return UsageError(message, field=field, hint=near or f"{path} --help")


def _path(words: Sequence[str]) -> str:
    """Return the command that words begin with, for an error that does not know."""
    path, commands = ["hpc"], getattr(typer.main.get_command(tree(*words[:1])), "commands", {})
    for word in words[:2]:
        if word not in commands:
            break
        path.append(word)
        commands = getattr(commands[word], "commands", {})
    return " ".join(path)


def _command_meant(path: str, word: str, group: Any) -> str | None:  # noqa: ANN401 - see `_shown`
    """Return which command may have been meant by a word that names none below this group."""
    commands = getattr(group, "commands", {})
    if _VERBS_ELSEWHERE.get(word) in commands and path != "hpc":
        return f"did you mean `{path} {_VERBS_ELSEWHERE[word]}`?"
    if path == "hpc job" and word in ("submit", "run"):
        return f"did you mean `hpc {word}`?"
    if path == "hpc":
        of_jobs = getattr(commands.get("job"), "commands", ())
        known = f"job {word}" if word in of_jobs else _COMMANDS_ELSEWHERE.get(word)
        if known is not None:
            return f"did you mean `hpc {known}`?"
    near = did_you_mean(word, commands, f"{path} ")
    if near is None and path == "hpc log":
        return "the output of a job is another matter: hpc job log 7"
    return near


def _shown(parameter: Any) -> str:  # noqa: ANN401 - the parser's own
    """Return a flag, or an argument by what the help calls it."""
    flag = str(parameter.opts[0])
    return flag if flag.startswith("-") else str(parameter.metavar or flag)


def run() -> None:
    """Be the program `hpc`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    code = main(sys.argv[1:])
    if sys.argv[1:2] and sys.argv[1] in SERVERS:
        sys.exit(code)
    # Taking the interpreter down would add 10 ms to every command and free what ends with it.
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or READER_GONE
    except OSError as error:
        code = code or 1
        print(f"error: {error.strerror}: stdout", file=sys.stderr)
    os._exit(code)
