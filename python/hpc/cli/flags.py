"""Flags that several commands have: written once, and given to each that takes them as one value.

A command takes `asks: Asks`; to the parser it has the flags of that class in its place. So help,
settings and completion see flags, and the command sees what was asked for.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

from hpc.cli import placement
from hpc.cli.options import HubUrl


class Asks(NamedTuple):
    """What a job is to be: `hpc submit`, `hpc run`, `hpc map`."""

    ns: Annotated[str, typer.Option("--ns", metavar="NS", help="The namespace.")] = "batch"
    name: Annotated[str | None, typer.Option("--name", help="A label.")] = None
    key: Annotated[
        str | None,
        typer.Option("--key", help="The job's id; the same key and spec are the same job."),
    ] = None
    cpu: Annotated[int, typer.Option("--cpu", "--cpus", min=1, help="Cores of each task.")] = 1
    memory: Annotated[
        str | None,
        typer.Option("--memory", help="Such as 512M or 4G, enforced; without it 1G is reserved."),
    ] = None
    gpus: placement.Gpus = None
    resource: placement.Resource = None
    require: placement.Require = None
    node: placement.Node = None
    exclude: placement.Exclude = None
    exclusive: placement.Exclusive = False
    max_per_node: placement.MaxPerNode = None
    min_time: placement.MinTime = None
    priority: Annotated[int | None, typer.Option("--priority", help="Higher runs first.")] = None
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="TIME", help="Such as 90s, 10m or 1h30m."),
    ] = None
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env", metavar="K=V", help="Set a variable; K alone passes it on. Repeatable."
        ),
    ] = None
    env_all: Annotated[
        bool, typer.Option("--env-all", help="Pass on every variable but HPC_TOKEN.")
    ] = False
    cwd: Annotated[
        str | None, typer.Option("--cwd", metavar="D", help="Instead of this folder.")
    ] = None
    hub_url: HubUrl = None

    def spec(self) -> dict[str, Any]:
        """Return what stands in a spec as it was typed, as `submission.batch_spec` takes it.

        Raises:
            UsageError: One of them cannot be read.
        """
        return {
            "cpu": self.cpu,
            "memory": self.memory,
            "time_limit": self.time_limit,
            **placement.fields(
                gpus=self.gpus,
                resource=self.resource,
                require=self.require,
                node=self.node,
                exclude=self.exclude,
                exclusive=self.exclusive,
                max_per_node=self.max_per_node,
                min_time=self.min_time,
            ),
        }

    def place(self) -> dict[str, Any]:
        """Return where and with which variables it runs, as `submit.command_spec` takes it."""
        return {"env": self.env or [], "env_all": self.env_all, "cwd": self.cwd}


class Bounds(NamedTuple):
    """What holds a job to something beside, and how it is sent: `hpc submit`, `hpc run`."""

    warn_signal: Annotated[
        str | None,
        typer.Option(
            "--warn-signal",
            metavar="SIG@TIME",
            help="Such as USR1@60: so long before the time limit.",
        ),
    ] = None
    output_limit: Annotated[
        str | None,
        typer.Option(
            "--output-limit", metavar="SIZE", help="Of captured output, such as 10M or 1G."
        ),
    ] = None
    ulimit: Annotated[
        list[str] | None,
        typer.Option(
            "--ulimit", metavar="NAME=N", help="Such as nofile=4096 or core=unlimited. Repeatable."
        ),
    ] = None
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="TIME", help="Between SIGTERM and SIGKILL; 5s without it."),
    ] = None
    stdin: Annotated[
        str | None, typer.Option("--stdin", metavar="FILE", help="Read from a file.")
    ] = None
    on_cut_off: Annotated[
        str | None,
        typer.Option("--on-cut-off", metavar="finish|stop", help="When the relay loses the Hub."),
    ] = None
    batch_id: Annotated[
        str | None,
        typer.Option("--batch-id", metavar="ID", help="Of a former try, to repeat it safely."),
    ] = None

    def spec(self) -> dict[str, Any]:
        """Return what stands in a spec as it was typed, but for `ulimit` and `stdin`."""
        return {
            "warn_signal": self.warn_signal,
            "output_limit": self.output_limit,
            "grace": self.grace,
            "on_cut_off": self.on_cut_off,
        }


GROUPS = (Asks, Bounds)


def flagged(function: Callable[..., int]) -> Callable[..., int]:
    """Return a command with the flags of each group that the function takes, in its place."""
    own = inspect.signature(function, eval_str=True).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in own if one.annotation in GROUPS}
    parameters: list[inspect.Parameter] = []
    for one in own:
        if one.name not in groups:
            parameters.append(one.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        group = groups[one.name]
        hints, defaults = get_type_hints(group, include_extras=True), group._field_defaults
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults[name],
                annotation=hints[name],
            )
            for name in group._fields
        ]

    @functools.wraps(function)
    def command(**typed: Any) -> int:  # noqa: ANN401 - as the parser has it
        taken = {
            name: group(**{field: typed.pop(field) for field in group._fields})
            for name, group in groups.items()
        }
        return function(**typed, **taken)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command
