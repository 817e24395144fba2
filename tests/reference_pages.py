"""Writes docs/reference/ from the code: commands, routes, public Python, kinds of events.

    python tests/reference_pages.py

`tests/unit/test_reference.py` holds the pages to the code: nothing there is written by hand.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

import hpc
from hpc import errors
from hpc._core import kernel_kinds
from hpc.cli import tree as command_line
from hpc.domain import FieldSpec
from hpc.namespaces.batch import BATCH
from hpc.namespaces.calls import CALLS
from hpc.namespaces.monitor import MONITOR
from hpc.tokens import ROLES
from hpc.transport.authorisation import ROUTES
from hpc.transport.openapi import document

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
CORE = ROOT / "rust" / "hpc-core" / "src"

BY = "\n\nGenerated from the code by `make reference`; a test fails where it is not so any more.\n"


def cell(text: object) -> str:
    """A text as it may stand in a table."""
    return re.sub(r"\s+", " ", str(text)).strip().replace("|", "\\|")


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    """A table under a head such as `flag | is`."""
    lines = [f"| {head} |", "|---" * (head.count("|") + 1) + "|"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


# Commands.


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each command that does something, by its words."""
    below = getattr(command, "commands", None)
    if not below:
        yield name, command
        return
    for word, inner in below.items():
        yield from leaves(inner, f"{name} {word}")


def command_rows(command: Any) -> Iterator[tuple[str, str, str]]:
    """Its arguments and flags: how each is typed, what it is without, what it does."""
    for param in command.params:
        is_flag = getattr(param, "is_flag", False)
        if param.param_type_name == "argument":
            typed = param.metavar or param.name.upper()
        else:
            kind = getattr(param.type, "name", "text").split()[0]
            what = "" if is_flag else " " + (param.metavar or WORDS.get(kind, kind)).upper()
            typed = ", ".join(sorted(param.opts, key=lambda o: not o.startswith("--"))) + what
            if is_flag and param.secondary_opts:
                typed += " / " + ", ".join(param.secondary_opts)
        unset = is_flag or param.default is None or param.multiple
        default = "" if unset else f"`{param.default}`"
        if param.required:
            default = "required"
        yield f"`{typed}`", default, getattr(param, "help", None) or ""


WORDS: Final = {"str": "text", "int": "n", "integer": "n", "float": "x"}


def cli_page() -> str:
    """docs/reference/cli.md."""
    codes = re.findall(r"\| (\d+) +\| ([^|]+?) +(?=\|)", command_line.__doc__ or "")
    rows = sorted(codes, key=lambda row: int(row[0]))
    parts = [
        "# Commands" + BY,
        "Every command takes `--help`, or `-h`. Durations are seconds, or `90s`, `10m`, `1h30m`;"
        " memory is MiB, or `512M`, `4G`.\n",
        "## Exit codes\n",
        table("code | meaning", rows),
        "`hpc run` exits with the command's own code, or 128 and the signal that ended it.\n",
    ]
    for name, command in leaves(typer.main.get_command(command_line.tree()), "hpc"):
        help_text = inspect.cleandoc(command.help or "").replace("\b\n", "")
        parts += [f"## `{name}`\n", help_text + "\n"]
        if params := [row for row in command_rows(command) if "--help" not in row[0]]:
            parts.append(table("argument or flag | without it | is", params))
    return "\n".join(parts)


# Routes.


def route_rows() -> Iterator[tuple[str, str, str, str]]:
    """Each route: what it is, what its query takes, and whose tokens open it."""
    for path, methods in msgspec.json.decode(document())["paths"].items():
        for method, route in methods.items():
            named = [p["name"] for p in route.get("parameters", []) if p.get("in") == "query"]
            rule = ROUTES[path]
            roles = "all" if rule.roles == set(ROLES) else ", ".join(sorted(rule.roles))
            yield (
                f"`{method.upper()} {path}`",
                route["summary"],
                " ".join(f"`{name}`" for name in named),
                "no token" if rule.is_open else roles,
            )


def http_page() -> str:
    """docs/reference/http.md."""
    return (
        "# Routes" + BY + "\n[http.md](../http.md) shows each by example;"
        " `GET /schema/openapi.json` answers the whole document.\n\n"
        + table("route | is | query | roles", route_rows())
    )


# Python.


def first_paragraph(of: object) -> str:
    """What its docstring begins with."""
    return cell((inspect.getdoc(of) or "").partition("\n\n")[0])


class Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def signature(of: Callable[..., object]) -> str:
    """Of a function or a class, without `self`, with annotations as they are written."""
    given = inspect.signature(of)
    kept = [
        param.replace(annotation=Bare(param.annotation))
        for name, param in given.parameters.items()
        if name != "self"
    ]
    return str(given.replace(parameters=kept, return_annotation=Bare(given.return_annotation)))


def members(kind: type) -> Iterator[tuple[str, str]]:
    """The public methods and properties of a class, with what each is."""
    for name, value in vars(kind).items():
        if name.startswith("_"):
            continue
        if inspect.isfunction(value):
            yield f"`{name}{signature(value)}`", first_paragraph(value)
        elif isinstance(value, (classmethod, staticmethod)):
            yield f"`{name}{signature(getattr(kind, name))}`", first_paragraph(value.__func__)
        elif isinstance(value, property):
            yield f"`{name}`", first_paragraph(value)


def python_page() -> str:
    """docs/reference/python.md."""
    parts = [
        "# Python" + BY,
        "What `import hpc` offers; [python.md](../python.md) shows it by example.\n",
    ]
    for name in sorted(set(hpc.__all__) - {"__version__", "errors"}):
        value = getattr(hpc, name)
        parts += [f"## `hpc.{name}`\n", f"```text\n{name}{signature(value)}\n```\n"]
        parts.append(first_paragraph(value) + "\n")
        if inspect.isclass(value):
            parts += [f"- {typed}  \n  {what}" for typed, what in members(value)] + [""]
    raised = [
        (f"`{name}`", f"`{value.default_code}`", value.exit_code, first_paragraph(value))
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.HpcError)
    ]
    parts += ["## `hpc.errors`\n", table("error | code | exit code | is", raised)]
    return "\n".join(parts)


# Kinds of events.


def kernel_table(file: str, function: str) -> dict[str, list[str]]:
    """By kind what a table of the core lists, `match` arms of names for names."""
    source = (CORE / file).read_text("utf-8").partition(f"fn {function}(")[2].partition("\n}\n")[0]
    listed: dict[str, list[str]] = {}
    for arm, names in re.findall(r"([\w:|\s]+?)=>\s*&\[([^\]]*)\]", source):
        for kind in re.findall(r"(?:KernelKind|Self)::(\w+)", arm):
            listed[kind] = re.findall(r'"(\w+)"', names)
    return listed


def field_words(field: FieldSpec) -> str:
    """A field of a schema in words."""
    words = [field.expected_type]
    long = " long" if field.expected_type in {"String", "List", "Map"} else ""
    low, high = (None if bound is None else f"{bound:,}" for bound in (field.min, field.max))
    if low and high:
        words.append(f"{low} to {high}{long}")
    elif low or high:
        words.append(f"from {low}{long}" if low else f"at most {high}{long}")
    if field.one_of:
        words.append("one of " + ", ".join(map(str, field.one_of)))
    if field.default is not None:
        words.append(f"default {msgspec.json.encode(field.default).decode()}")
    return ", ".join(words) + (", required" if field.required else "")


def kernel_rows() -> Iterator[tuple[str, str, str, str]]:
    """The kinds that the kernel understands."""
    spec = kernel_table("logic/type_check.rs", "kernel_fields")
    ctx = kernel_table("domain/event.rs", "required_ctx")
    for kind, roles in kernel_kinds():
        says = " ".join(f"`{name}`" for name in spec[kind])
        yield (
            f"`{kind}`",
            ", ".join(sorted(roles)) or "the Hub alone",
            " ".join(f"`{name}`" for name in ctx[kind]),
            "by its namespace's schema" if kind == "SubmitJob" else says,
        )


def events_page() -> str:
    """docs/reference/events.md."""
    parts = [
        "# Kinds of events" + BY,
        "[http.md](../http.md) says what stands in `ctx`; [namespaces.md](../namespaces.md) how to"
        " have kinds of one's own.\n",
        "## The kernel's, in every namespace\n",
        table("kind | sent by | required in `ctx` | in `spec`", kernel_rows()),
    ]
    for module in (BATCH, CALLS, MONITOR):
        spec = module.namespace
        parts.append(f"## The namespace `{spec.ns_id}`\n")
        for kind, fields in spec.schema.items():
            by = spec.by.get(kind, "submit")
            parts.append(f"`{kind}`, sent by admin, {by}:\n")
            rows = [(f"`{field.key}`", field_words(field)) for field in fields]
            parts.append(table("field of `spec` | is", rows) if rows else "It has no fields.\n")
        for generator in module.generators:
            parts.append(f"The generator `{generator.gid}` keeps of them:\n")
            parts.append(table("table | column | lattice", generator_rows(generator.rules)))
    return "\n".join(parts)


def generator_rows(rules: Iterable[Any]) -> list[tuple[str, str, str]]:
    """Each column of each table once, with its lattice."""
    columns = (
        (f"`{rule.table}`", f"`{column}`", f"`{next(iter(join))}`")
        for rule in msgspec.convert(list(rules), list[Rule])
        for column, join in rule.join.items()
    )
    return list(dict.fromkeys(columns))


class Rule(msgspec.Struct):
    """What of a generator's rule stands in the page."""

    table: str
    join: dict[str, dict[str, Any]]


PAGES: Final = {
    "cli.md": cli_page,
    "events.md": events_page,
    "http.md": http_page,
    "python.md": python_page,
}


def page(name: str) -> str:
    """A page as it has to be, with one empty line at most between two others."""
    return re.sub(r"\n{3,}", "\n\n", PAGES[name]()).strip("\n") + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        (FOLDER / name).write_text(page(name), "utf-8")
