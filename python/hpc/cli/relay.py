"""`hpc relay`: runs the jobs of some namespaces on this machine."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from hpc.access import home
from hpc.cli.options import HubUrl, JsonErrors, this_node
from hpc.limits import parse_bytes
from hpc.units import parse_duration, parse_memory

NAMESPACES = ("batch", "calls")
"""What is served where nothing is said: commands, and calls of Python functions."""

UNIT = ["Delegate=yes", "OOMPolicy=continue"]
"""Of a unit: the relay may make control groups, and outlives a task that ran out of memory."""

NodeId = Annotated[
    str | None,
    typer.Option("--node-id", metavar="ID", help="This machine's name without it."),
]


Cpus = Annotated[int | None, typer.Option("--cpus", min=1, help="Cores that it offers; else all.")]
Memory = Annotated[
    str | None, typer.Option("--memory", help="Memory that it offers, such as 8G; else all.")
]
Label = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="K=V", help="What jobs may require. Repeatable."),
]


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("relay")(relay)


def relay(
    context: typer.Context,
    ns: Annotated[
        list[str] | None,
        typer.Option(
            "--ns", metavar="NS", help="A namespace that it serves; else batch, calls. Repeatable."
        ),
    ] = None,
    hub_url: HubUrl = None,
    node_id: NodeId = None,
    cpus: Cpus = None,
    memory: Memory = None,
    gpus: Annotated[
        str,
        typer.Option("--gpus", metavar="N|IDS", help="So many, ids such as 0,1, `all` or `none`."),
    ] = "all",
    resource: Annotated[
        list[str] | None,
        typer.Option(
            "--resource",
            metavar="NAME=SPEC",
            help="What else it offers: 10 or sum(10), range(0-7), [a,b] or list(a,b). Repeatable.",
        ),
    ] = None,
    label: Label = None,
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="For running tasks after SIGTERM.")
    ] = "30s",
    time_limit: Annotated[
        str | None,
        typer.Option("--time-limit", metavar="TIME", help="End by itself then; --grace before."),
    ] = None,
    idle_timeout: Annotated[
        str | None,
        typer.Option("--idle-timeout", metavar="TIME", help="End when it had no work so long."),
    ] = None,
    takeover: Annotated[
        bool, typer.Option("--takeover", help="Take the node id from whoever has it.")
    ] = False,
    output_limit: Annotated[
        str,
        typer.Option(
            "--output-limit",
            metavar="SIZE",
            help="Kept of each task's output, if it sets no limit.",
        ),
    ] = "1G",
    keep_output: Annotated[
        str,
        typer.Option("--keep-output", metavar="TIME", help="Older long output of tasks goes."),
    ] = "30d",
    output_quota: Annotated[
        str,
        typer.Option("--output-quota", metavar="SIZE", help="Of more the oldest goes."),
    ] = "10G",
    pre: Annotated[
        str | None,
        typer.Option("--pre", metavar="CMD", help="Run before each task; a failure drains it."),
    ] = None,
    post: Annotated[
        str | None, typer.Option("--post", metavar="CMD", help="Run after each task.")
    ] = None,
    hook_timeout: Annotated[
        str, typer.Option("--hook-timeout", metavar="TIME", help="For --pre and --post each.")
    ] = "60s",
    cgroup: Annotated[
        str,
        typer.Option(
            "--cgroup", metavar="auto|off|require", help="Memory limits by cgroup, if it can be."
        ),
    ] = "auto",
    max_processes: Annotated[
        int,
        typer.Option(
            "--max-processes",
            metavar="N",
            min=0,
            help="Of all its tasks together; 0: half of what the machine can have.",
        ),
    ] = 0,
    port: Annotated[
        int | None, typer.Option("--port", help="Serve POST /poke there, on loopback.")
    ] = None,
    _as_json: JsonErrors = False,
    print_unit: Annotated[
        bool, typer.Option("--print-unit", help="Print a systemd unit of these flags, and end.")
    ] = False,
) -> int:
    """Be a relay until a signal or its time ends it; prints a line when it has joined."""
    from hpc.config import Cgroup, RelayConfig  # noqa: PLC0415 - `hpc --help` does without
    from hpc.resources import parse_gpus, parse_labels, parse_offers  # noqa: PLC0415 - likewise

    config = RelayConfig(
        home=home(),
        hub_url=hub_url,
        node_id=node_id or this_node(),
        namespaces=ns or list(NAMESPACES),
        cpus=cpus,
        memory_mib=None if memory is None else parse_memory(memory),
        gpus=parse_gpus(gpus),
        resources=parse_offers(resource or ()),
        labels=parse_labels(label or (), "label"),
        grace_s=parse_duration(grace, field="grace"),
        time_limit_s=_seconds(time_limit, "time-limit"),
        idle_timeout_s=_seconds(idle_timeout, "idle-timeout"),
        takeover=takeover,
        cgroup=cast("Cgroup", cgroup),  # checked there
        max_processes=max_processes,
        output_limit=parse_bytes(output_limit, field="output-limit"),
        keep_output_s=parse_duration(keep_output, field="keep-output"),
        output_quota_bytes=parse_memory(output_quota, field="output-quota") << 20,
        pre=pre,
        post=post,
        hook_timeout_s=parse_duration(hook_timeout, field="hook-timeout"),
        port=port,
    )
    from hpc.relay.process import run_relay, stop_s_max  # noqa: PLC0415 - after what is refused

    if print_unit:
        from hpc.cli import unit  # noqa: PLC0415 - likewise

        unit.print_unit(context, config.home, stop_s=stop_s_max(config.grace_s), more=UNIT)
        return 0
    return run_relay(config)


def _seconds(text: str | None, field: str) -> float | None:
    return None if text is None else parse_duration(text, field=field)
