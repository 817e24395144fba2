"""`hpc hub`: wires a log, a transport and the installed namespaces to a Hub, and runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hpc.access import home
from hpc.cli import output
from hpc.cli.options import JsonErrors
from hpc.units import parse_duration, parse_memory

if TYPE_CHECKING:
    from hpc.config import Tls

STOP_S = 90.0
"""Of a unit: a last snapshot may be long. Where it is killed the next start reads the log."""


def add(app: typer.Typer, _verb: str | None) -> None:
    """Add the command."""
    app.command("hub")(hub)


def hub(
    context: typer.Context,
    host: Annotated[
        str, typer.Option("--host", help="Address or name; another than loopback needs TLS.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 picks a free one.")
    ] = 8080,
    lease: Annotated[
        str, typer.Option("--lease", metavar="TIME", help="A relay may be silent for so long.")
    ] = "30s",
    reclaim: Annotated[
        str | None,
        typer.Option("--reclaim", metavar="TIME", help="And keep its tasks for so long."),
    ] = None,
    keep_jobs: Annotated[
        str | None,
        typer.Option(
            "--keep-jobs",
            metavar="TIME",
            help="Forget jobs that ended so long ago, such as 90d; without it none.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DIR", help="Of the log; $HPC_HOME/hub without it."),
    ] = None,
    snapshot_events: Annotated[
        int,
        typer.Option("--snapshot-events", min=1, help="After so many a snapshot is written."),
    ] = 250_000,
    compact_every: Annotated[
        str,
        typer.Option("--compact-every", metavar="TIME", help="What is past its retention goes."),
    ] = "1h",
    keep_output: Annotated[
        str,
        typer.Option("--keep-output", metavar="TIME", help="Older output of tasks goes."),
    ] = "30d",
    output_quota: Annotated[
        str,
        typer.Option("--output-quota", metavar="SIZE", help="Of more the oldest goes."),
    ] = "10G",
    min_free: Annotated[
        str,
        typer.Option("--min-free", metavar="SIZE", help="Below it only reports are taken."),
    ] = "64M",
    set_aside_damaged: Annotated[
        bool,
        typer.Option("--set-aside-damaged", help="Start without what damaged batches say."),
    ] = False,
    tls: Annotated[
        str,
        typer.Option("--tls", metavar="auto|off", help="By a certificate that is made once."),
    ] = "off",
    tls_cert: Annotated[
        str | None,
        typer.Option("--tls-cert", metavar="FILE", help="TLS by this one, in PEM."),
    ] = None,
    tls_key: Annotated[
        str | None,
        typer.Option("--tls-key", metavar="FILE", help="Its key, unless it is in the same file."),
    ] = None,
    accept_from: Annotated[
        str | None,
        typer.Option(
            "--accept-from", metavar="CIDR[,..]", help="Who may connect, beside loopback."
        ),
    ] = None,
    allow_callbacks: Annotated[
        str | None,
        typer.Option(
            "--allow-callbacks", metavar="CIDR[,..]", help="Where generators may have it poke."
        ),
    ] = None,
    storage: Annotated[
        str, typer.Option("--storage", metavar="NAME", help="The plugin of the log.")
    ] = "sqlite",
    transport: Annotated[
        str, typer.Option("--transport", metavar="NAME", help="The plugin that serves.")
    ] = "http",
    _as_json: JsonErrors = False,
    print_unit: Annotated[
        bool, typer.Option("--print-unit", help="Print a systemd unit of these flags, and end.")
    ] = False,
) -> None:
    """Be a Hub until a signal ends it; prints one line when it is ready."""
    # Imported here: `hpc --help` needs none of it.
    from hpc import plugins  # noqa: PLC0415
    from hpc.config import HubConfig  # noqa: PLC0415
    from hpc.networks import parse_networks  # noqa: PLC0415

    folder = home()
    config = HubConfig(
        home=folder,
        data=folder / "hub" if data is None else Path(data).expanduser().absolute(),
        host=host,
        port=port,
        lease_s=parse_duration(lease, field="lease"),
        reclaim_s=None if reclaim is None else parse_duration(reclaim, field="reclaim"),
        keep_jobs_s=None if keep_jobs is None else parse_duration(keep_jobs, field="keep-jobs"),
        snapshot_events=snapshot_events,
        compact_s=parse_duration(compact_every, field="compact-every"),
        keep_output_s=parse_duration(keep_output, field="keep-output"),
        output_quota_bytes=parse_memory(output_quota, field="output-quota") << 20,
        min_free_bytes=parse_memory(min_free, field="min-free") << 20,
        set_aside_damaged=set_aside_damaged,
        tls=cast("Tls", tls),  # checked there
        tls_cert=None if tls_cert is None else Path(tls_cert).expanduser().absolute(),
        tls_key=None if tls_key is None else Path(tls_key).expanduser().absolute(),
        accept_from=(
            None if accept_from is None else parse_networks(accept_from, field="accept-from")
        ),
        allow_callbacks=(
            ()
            if allow_callbacks is None
            else parse_networks(allow_callbacks, field="allow-callbacks")
        ),
    )
    from hpc.hub import data_folders  # noqa: PLC0415
    from hpc.hub.process import run_hub  # noqa: PLC0415 - it takes a while

    if print_unit:
        from hpc.cli import unit  # noqa: PLC0415 - likewise

        unit.print_unit(context, folder, stop_s=STOP_S, more=[])
        return
    open_log, server = plugins.storage(storage), plugins.transport(transport)
    found = plugins.namespaces()
    for problem in found.problems:
        output.say(f"warning: {problem}; it is left out")
    data_folders.check(folder, config.data)
    log = open_log(config.data)
    try:
        data_folders.remember(folder, config.data, log.hub_id)
    except OSError as error:
        output.say(f"warning: that this Hub lies in {config.data} is not remembered: {error}")
    run_hub(config, log=log, transport=server, namespaces=found.namespaces)
