"""`hpc log`: verify, export, restore, compact: the log itself, on the machine where it lies.

It needs no Hub. `verify` and `export` only read, also beside a Hub that runs; `restore` and
`compact` take the folder as a Hub would, and are refused while one has it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from hpc.access import home
from hpc.cli import output
from hpc.cli.options import Json, noun
from hpc.errors import StorageLocked
from hpc.units import show_memory

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR", help="Of the log; $HPC_HOME/hub without it."),
]
Storage = Annotated[str, typer.Option("--storage", metavar="NAME", help="The plugin of the log.")]

DAMAGED = 1
"""Exit code of `verify` where something is wrong."""

SHOWN_MAX = 20


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    verbs: dict[str, Callable[..., Any]]
    verbs = {"verify": verify, "export": export, "restore": restore, "compact": compact}
    noun(app, "log", "The log, where it lies.", verbs, verb)


def verify(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE", help="An exported log; else the folder's."),
    ] = None,
    data: Data = None,
    storage: Storage = "sqlite",
    as_json: Json = False,
) -> int:
    """Read the whole log and name each batch and snapshot that is damaged; then the code is 1."""
    from hpc.cli.log_work import verified  # noqa: PLC0415 - `hpc --help` needs none of it

    place = _folder(data) if file is None else _path(file)
    told = verified(place, storage)
    if as_json:
        output.put_json("log.verify", {"path": str(place), **told}, cursor=told["last_seq"])
        return DAMAGED if told["damaged"] else 0
    compacted = told["compacted"]
    gone = f", {compacted} of them compacted below seq {told['floor']}" if compacted else ""
    snapshots = " and ".join(f"at seq {seq}" for seq in told["snapshots"])
    output.put_fields(
        [
            ("log", place),
            ("hub", told["hub_id"]),
            ("events", f"{told['events']} in {told['batches']} batches{gone}"),
            ("snapshots", snapshots or "none"),
            ("damaged", len(told["damaged"]) or "nothing"),
        ]
    )
    for damage in told["damaged"][:SHOWN_MAX]:
        output.say(f"damaged: {_sentence(damage)}")
    if len(told["damaged"]) > SHOWN_MAX:
        output.say(f"and {len(told['damaged']) - SHOWN_MAX} more: hpc log verify --json")
    return DAMAGED if told["damaged"] else 0


def export(
    out: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Must not exist.")],
    data: Data = None,
    storage: Storage = "sqlite",
    as_json: Json = False,
) -> None:
    """Copy the log into one file, also while a Hub runs.

    All that was acknowledged before is in it. It holds the log alone: the output of tasks lies in
    `outputs/` beside it.
    """
    from hpc import plugins  # noqa: PLC0415

    file = _path(out)
    head = plugins.log_tools(storage).export(_folder(data), file)
    _told("export", "exported", file, head.last_seq, as_json)


def restore(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An exported log.")],
    data: Data = None,
    storage: Storage = "sqlite",
    as_json: Json = False,
) -> None:
    """Put an exported log into a folder that has none; a Hub started there goes on from it.

    It is the same Hub: never let it run beside the one that the log was copied from.
    """
    from hpc import plugins  # noqa: PLC0415

    folder = _folder(data)
    head = plugins.log_tools(storage).restore(_path(file), folder)
    _told("restore", "restored", folder, head.last_seq, as_json)


def compact(data: Data = None, storage: Storage = "sqlite", as_json: Json = False) -> None:
    """Drop what is past its namespace's retention, and make the file smaller.

    A Hub that runs drops by itself, every hour; the room is then used again.
    """
    from hpc.cli.log_work import compacted  # noqa: PLC0415

    folder = _folder(data)
    try:
        told = compacted(folder, storage)
    except StorageLocked as error:
        raise StorageLocked(
            error.message,
            hint="a Hub that runs compacts by itself every hour; stop it to do so now",
        ) from error
    if as_json:
        output.put_json("log.compact", {"path": str(folder), **told}, cursor=told["last_seq"])
        return
    dropped = told["dropped"]
    if not dropped:
        output.put(f"nothing of `{folder}` is past its retention")
        return
    output.put(
        f"dropped {dropped} {'batch' if dropped == 1 else 'batches'} of `{folder}`; "
        f"from seq {told['floor']} on the log is whole; {show_memory(told['freed_bytes'])} freed"
    )


def _told(verb: str, done: str, place: Path, last_seq: int, as_json: bool) -> None:
    if as_json:
        output.put_json(f"log.{verb}", {"path": str(place)}, cursor=last_seq)
    else:
        output.put(f"{done} `{place}`, up to seq {last_seq}")


def _sentence(damage: dict[str, Any]) -> str:
    where = "" if damage["seq"] is None else f" at seq {damage['seq']}"
    name = "" if damage["id"] is None else f" `{damage['id']}`"
    return f"{damage['what']}{name}{where}: {damage['why']}"


def _folder(data: str | None) -> Path:
    return home() / "hub" if data is None else _path(data)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
