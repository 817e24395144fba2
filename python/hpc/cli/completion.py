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
from hpc.tokens import ROLES

IDS_MAX: Final = 200
"""Of the newest jobs; a shell shows no more, and a prefix finds the others."""

FILES: Final = "files"
"""What the shell itself completes."""

KINDS: Final = {
    "JOB": "jobs",
    "NODE": "nodes",
    "NS": "namespaces",
    "GENERATOR": "generators",
    "STATE": " ".join(STATES),
    "ROLE": " ".join(ROLES),
    **dict.fromkeys(("FILE", "DIR", "D", "P", "[--] CMD ARG"), FILES),
}
"""What a metavar stands for, with dots behind it or without: ids of the Hub, words, or files."""

ASK: Final = "completion --of"
"""What a script runs for ids, but for the kind of them."""

NODE_FLAGS: Final = frozenset({"--node", "--exclude"})


class Place(NamedTuple):
    """A command, or a group of them.

    Attributes:
        path: Its words, such as `job info`; empty for `hpc` itself.
        words: Its subcommands.
        flags: Its flags.
        of: What its argument names, as `KINDS` has it; empty where nothing can be offered.
        values: Of each flag that takes a value, the same of that value.
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
        typer.Option(
            "--of", metavar="jobs|nodes|namespaces|generators", help="Print ids of these."
        ),
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
        kind = _named(str(param.metavar or ""))
        named = [flag for flag in param.opts if flag.startswith("-")]
        if not named:
            of = of or kind
            continue
        flags += [flag for flag in named if flag not in flags]
        if not param.is_flag:
            kind = "nodes" if NODE_FLAGS.intersection(named) else kind
            values |= dict.fromkeys(named, kind)
    yield Place(path, list(below), sorted(flags), of, values)
    for name, one in below.items():
        yield from _places(f"{path} {name}".strip(), one)


def _named(metavar: str) -> str:
    """Return what a metavar stands for; `auto|off` are words to choose from."""
    kind = KINDS.get(metavar.partition("...")[0], "")
    return kind or (metavar.replace("|", " ") if metavar.islower() and "|" in metavar else "")


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
    return f"$(hpc {ASK} {of} 2>/dev/null)" if of in LOOK_UPS else of


def _set(of: str) -> str:
    """Return what bash and zsh do where such a word is typed."""
    return "files=1" if of == FILES else f'words="{_asked(of)}"' if of else ":"


def _cases(found: list[Place]) -> str:
    """Return the branches by command, as bash and zsh both read them."""
    lines = []
    for place in found:
        words = _set(" ".join(place.words) or place.of)
        flags_of: dict[str, list[str]] = {}
        for flag, of in sorted(place.values.items()):
            flags_of.setdefault(of, []).append(flag)
        values = " ".join(f"{'|'.join(flags)}) {_set(of)};;" for of, flags in flags_of.items())
        lines.append(
            f'    "{place.path}") flags="{" ".join(place.flags)}"\n'
            f'      case "$before" in {values} *) {words};; esac;;'
        )
    return "\n".join(lines)


def _known(found: list[Place]) -> str:
    return "|".join(f'"{place.path}"' for place in found if place.path)


def _posix(found: list[Place], *, typed: str, each: str, give: str, end: str) -> str:
    """Return the function `_hpc` of bash and zsh, which differ in what is typed and offered."""
    return f"""_hpc() {{
  local current before way="" words="" flags="" files="" word
{typed}
  for word in {each}; do
    [[ $word == -- ]] && way=-- files=1 && break  # what runs is not ours
    case "${{way:+$way }}$word" in {_known(found)}) way="${{way:+$way }}$word";; esac
  done
  case "$way" in
{_cases(found)}
  esac
  [[ $current == -* ]] && words="$flags" files=""
{give}
}}
{end}"""


def _bash(found: list[Place]) -> str:
    return _posix(
        found,
        # bash takes `--state=f` for three words.
        typed="""  current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
  [[ $before == = ]] && before="${COMP_WORDS[COMP_CWORD-2]}"
  [[ $current == = ]] && current=""
""".rstrip(),
        each='"${COMP_WORDS[@]:1:COMP_CWORD-1}"',
        give="""  [[ -n $files ]] || compopt +o default 2>/dev/null
  COMPREPLY=($(compgen -W "$words" -- "$current"))""",
        end="complete -o default -F _hpc hpc",
    )


def _zsh(found: list[Place]) -> str:
    script = _posix(
        found,
        typed="""  current="${argv[$#argv]}" before="${argv[$#argv-1]}"
  [[ $current == --*=* ]] && before="${current%%=*}" current="${current#*=}" && compset -P '*='""",
        each='"${(@)argv[2,-2]}"',
        give="""  if [[ -n $files ]]; then _files; else compadd -- ${=words}; fi""",
        end='_hpc_typed() { _hpc "${words[@][1,CURRENT]}" }\ncompdef _hpc_typed hpc',
    )
    return f"#compdef hpc\n{script}"


def _fish(found: list[Place]) -> str:
    lines = [
        "function __hpc_way",
        "  set -l way",
        "  for word in (commandline -opc)[2..-1]",
        "    if test $word = --; echo 'not ours'; return; end",
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
            value = _fish_value("-r -F", "-x", place.values[flag]) if flag in place.values else ""
            word = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            lines.append(f"{here} {word}{value}")
        own = " ".join(place.words) or place.of
        lines.append(f"{here}{_fish_value('-F', '-f', own)}")
    return "\n".join(lines)


def _fish_value(files: str, other: str, of: str) -> str:
    """Return what fish offers for a word, by its signs for files and for anything else."""
    if of == FILES:
        return f" {files}"
    return f" {other} -a '{_asked(of).removeprefix('$')}'" if of else f" {other}"


SCRIPTS: Final[dict[str, Callable[[list[Place]], str]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
