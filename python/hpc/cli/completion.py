"""`hpc completion`: a script for a shell, made of the command tree; ids come from the Hub.

The script knows every command and flag by itself, so that a TAB starts no program for them. For
ids it runs `hpc completion --of jobs`, which asks the Hub once, and prints nothing where none
answers: a TAB says no error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any, Final, NamedTuple

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl
from hpc.client import Client
from hpc.errors import HpcError, UsageError
from hpc.states import STATES

IDS_MAX: Final = 200
"""Of the newest jobs; a shell shows no more, and a prefix finds the others."""

KINDS: Final = {"JOB": "jobs", "NODE": "nodes", "NS": "namespaces", "GENERATOR": "generators"}
"""What a metavar stands for; so does one with dots behind it."""

ASK: Final = "completion --of"
"""What a script runs for ids, but for the kind of them."""

STATE_FLAG: Final = "--state"
NODE_FLAGS: Final = frozenset({"--node", "--exclude"})


class Place(NamedTuple):
    """A command, or a group of them.

    Attributes:
        path: Its words, such as `job info`; empty for `hpc` itself.
        words: Its subcommands.
        flags: Its flags.
        of: What its argument names, of `KINDS`; empty where it names nothing of ours.
        values: Of flags, what their value names, which may be `states` too.
    """

    path: str
    words: list[str]
    flags: list[str]
    of: str
    values: dict[str, str]


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("completion")(completion)


def completion(
    shell: Annotated[
        str | None,
        typer.Argument(metavar="bash|zsh|fish", help="Whose script.", show_default=False),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="KIND", help=f"Print ids of {', '.join(KINDS.values())}."),
    ] = None,
    hub_url: HubUrl = None,
) -> None:
    """Print a script that completes commands, flags and ids: source <(hpc completion bash)."""
    if of is not None:
        if of not in LOOK_UPS:
            raise UsageError(f"`--of` must be one of {', '.join(LOOK_UPS)}, got {of!r}", field="of")
        with contextlib.suppress(HpcError), Client(hub_url, patience_s=0.0) as hub:
            output.put("\n".join(list(LOOK_UPS[of](hub))))
        return
    if shell not in SCRIPTS:
        got = "nothing" if shell is None else repr(shell)
        raise UsageError(
            f"The shell must be one of {', '.join(SCRIPTS)}, got {got}",
            field="shell",
            hint="bash: source <(hpc completion bash)   fish: hpc completion fish | source",
        )
    output.put(SCRIPTS[shell](list(places())))


def places() -> Iterator[Place]:
    """Yield every command, those above others first."""
    from hpc.cli.tree import tree  # noqa: PLC0415 - which imports this module

    yield from _places("", typer.main.get_command(tree()))


def _places(path: str, command: Any) -> Iterator[Place]:  # noqa: ANN401 - typer's own click
    below: dict[str, Any] = getattr(command, "commands", {})
    flags, of = ["--help"], ""
    values: dict[str, str] = {}
    for param in command.params:
        kind = KINDS.get(str(param.metavar or "").removesuffix("..."), "")
        named = [flag for flag in param.opts if flag.startswith("-")]
        if not named:
            of = of or kind
            continue
        flags += [flag for flag in named if flag not in flags]
        kind = "nodes" if NODE_FLAGS.intersection(named) else kind
        kind = "states" if STATE_FLAG in named else kind
        values |= dict.fromkeys(named, kind) if kind else {}
    yield Place(path, list(below), sorted(flags), of, values)
    for name, one in below.items():
        yield from _places(f"{path} {name}".strip(), one)


def _jobs(hub: Client) -> Iterator[str]:
    yield from ("last", "all", *STATES)
    names: dict[str, None] = {}
    for job in islice(hub.jobs(order="desc", limit=IDS_MAX), IDS_MAX):
        names[str(job["job_id"])] = None
        if job.get("name"):
            names[str(job["name"])] = None
    yield from names


def _nodes(hub: Client) -> Iterator[str]:
    return (str(node["node_id"]) for node in hub.nodes())


def _namespaces(hub: Client) -> Iterator[str]:
    return (str(ns["ns_id"]) for ns in hub.read("/namespaces")["data"])


def _generators(hub: Client) -> Iterator[str]:
    yield "kernel"
    yield from (str(one["gid"]) for one in hub.read("/namespaces")["generators"])


LOOK_UPS: Final[dict[str, Callable[[Client], Iterator[str]]]] = {
    "jobs": _jobs,
    "nodes": _nodes,
    "namespaces": _namespaces,
    "generators": _generators,
}


def _asked(of: str) -> str:
    if of == "states":
        return " ".join(STATES)
    return f"$(hpc {ASK} {of} 2>/dev/null)" if of else ""


def _cases(found: list[Place]) -> str:
    """Return the branches by command, as bash and zsh both read them."""
    lines = []
    for place in found:
        words = " ".join(place.words) or _asked(place.of)
        values = " ".join(
            f'{flag}) words="{_asked(of)}";;' for flag, of in sorted(place.values.items())
        )
        lines.append(
            f'    "{place.path}") flags="{" ".join(place.flags)}"\n'
            f'      case "$before" in {values} *) words="{words}";; esac;;'
        )
    return "\n".join(lines)


def _known(found: list[Place]) -> str:
    return "|".join(f'"{place.path}"' for place in found if place.path)


def _posix(found: list[Place], *, typed: str, last: str, each: str, give: str, end: str) -> str:
    """Return the function `_hpc` of bash and zsh, which differ in their arrays alone."""
    return f"""_hpc() {{
  local current={typed} before={last} way="" words="" flags="" word
  for word in {each}; do
    [[ $word == -- ]] && return  # what runs is not ours
    case "${{way:+$way }}$word" in {_known(found)}) way="${{way:+$way }}$word";; esac
  done
  case "$way" in
{_cases(found)}
  esac
  [[ $current == -* ]] && words="$flags"
  {give}
}}
{end}"""


def _bash(found: list[Place]) -> str:
    return _posix(
        found,
        typed='"${COMP_WORDS[COMP_CWORD]}"',
        last='"${COMP_WORDS[COMP_CWORD-1]}"',
        each='"${COMP_WORDS[@]:1:COMP_CWORD-1}"',
        give='COMPREPLY=($(compgen -W "$words" -- "$current"))',
        end="complete -o default -F _hpc hpc",
    )


def _zsh(found: list[Place]) -> str:
    script = _posix(
        found,
        typed='"${argv[$#argv]}"',
        last='"${argv[$#argv-1]}"',
        each='"${(@)argv[2,-2]}"',
        give="[[ -n $words ]] && compadd -- ${=words} || _files",
        end='_hpc_typed() { _hpc "${words[@][1,CURRENT]}" }\ncompdef _hpc_typed hpc',
    )
    return f"#compdef hpc\n{script}"


def _fish(found: list[Place]) -> str:
    lines = [
        "function __hpc_way",
        "  set -l way",
        "  for word in (commandline -opc)[2..-1]",
        "    test $word = --; and return 1",
        "    switch (string join -- ' ' $way $word)",
        f"      case {' '.join(repr(place.path) for place in found if place.path)}",
        "        set -a way $word",
        "    end",
        "  end",
        "  string join -- ' ' $way",
        "end",
        "function __hpc_is; test (__hpc_way | string collect -a) = $argv[1]; end",
    ]
    for place in found:
        here = f"complete -c hpc -n '__hpc_is \"{place.path}\"'"
        for flag in place.flags:
            of = place.values.get(flag, "")
            value = f" -x -a '{_asked(of).removeprefix('$')}'" if of else ""
            word = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"{here} {word}{value}")
        if place.words:
            lines.append(f"{here} -f -a '{' '.join(place.words)}'")
        elif place.of:
            lines.append(f"{here} -f -a '(hpc {ASK} {place.of} 2>/dev/null)'")
    return "\n".join(lines)


SCRIPTS: Final[dict[str, Callable[[list[Place]], str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
