"""What a command line says of what tasks take beside cores and memory, and where they may run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hpc.resources import parse_amounts, parse_labels

Gpus = Annotated[int | None, typer.Option("--gpus", metavar="N", min=0, help="GPUs of each task.")]
Resource = Annotated[
    list[str] | None,
    typer.Option("--resource", metavar="NAME=N", help="So much of what relays offer. Repeatable."),
]
Require = Annotated[
    list[str] | None,
    typer.Option("--require", metavar="K=V", help="Only on relays of that label. Repeatable."),
]
Node = Annotated[
    list[str] | None,
    typer.Option("--node", metavar="ID", help="Only on that node. Repeatable: one of these."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="ID", help="Never on that node. Repeatable."),
]
Exclusive = Annotated[
    bool, typer.Option("--exclusive", help="Each task has a node to itself, all of it.")
]
MaxPerNode = Annotated[
    int | None,
    typer.Option("--max-per-node", metavar="N", min=1, help="So many tasks at a time on a node."),
]
MinTime = Annotated[
    str | None,
    typer.Option("--min-time", metavar="TIME", help="Only on relays that stay so long, as 30m."),
]


def fields(
    *,
    gpus: int | None,
    resource: list[str] | None,
    require: list[str] | None,
    node: list[str] | None,
    exclude: list[str] | None,
    exclusive: bool,
    max_per_node: int | None,
    min_time: str | None,
) -> dict[str, Any]:
    """Return what was typed, as `submission.batch_spec` takes it.

    Raises:
        UsageError: One of them cannot be read.
    """
    return {
        "gpus": gpus,
        "resources": parse_amounts(resource or ()),
        "require": parse_labels(require or (), "require"),
        "nodes": _split(node),
        "exclude": _split(exclude),
        "exclusive": exclusive,
        "max_per_node": max_per_node,
        "min_time": min_time,
    }


def _split(typed: list[str] | None) -> list[str]:
    """Return ids; `a,b` is two of them."""
    return [node for text in typed or () for node in text.split(",")]
