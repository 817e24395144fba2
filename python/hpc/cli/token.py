"""`hpc token`: create, list, revoke.

A token is made here and printed once; the Hub is sent its id and digest.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Annotated, Any

import typer

from hpc.cli import output
from hpc.cli.options import HubUrl, Json, client, noun
from hpc.errors import UsageError
from hpc.nearest import did_you_mean
from hpc.tokens import ROLES, make_token
from hpc.units import parse_duration


def add(app: typer.Typer, verb: str | None) -> None:
    """Add the noun."""
    about = "Tokens: who may use the Hub, and for what."
    noun(app, "token", about, {"create": create, "list": list_, "revoke": revoke}, verb)


def create(
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help=", ".join(ROLES) + ".")],
    ns: Annotated[
        list[str] | None,
        typer.Option("--ns", metavar="NS", help="Sends in these alone; repeatable. Else in all."),
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NODE", help="A relay's or monitor's; repeatable."),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="From now, such as 30d. Else never."),
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="What it is for.")] = None,
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """Make a token and print it, once: `hpc token create --role submit > FILE`."""
    if role not in ROLES:
        raise UsageError(
            f"`--role` must be one of {', '.join(ROLES)}, got {role!r}",
            field="role",
            hint=did_you_mean(role, ROLES) or "hpc token create --role submit",
        )
    made = make_token(role)
    said = {
        "role": role,
        "sha256": made.sha256,
        "namespaces": ns,
        "nodes": node,
        "label": label,
    }
    spec = {name: value for name, value in said.items() if value}
    lasts_ms = None if expires is None else _lasts_ms(expires)
    with client(hub_url) as hub:
        if lasts_ms is not None:  # by the Hub's clock, which ends it
            spec["expires_at"] = hub.figures()["at"] + lasts_ms
        hub.control({"type": "RegisterToken", "token_id": made.token_id, "spec": spec})
    if as_json:
        output.put_json(
            "token.create", {"token_id": made.token_id, "token": made.text}, cursor=hub.cursor
        )
        return
    output.put(made.text)
    output.say(f"token {made.token_id} of role {role} is made; it is not shown again")
    _say_who_reads()


def list_(as_json: Json = False, hub_url: HubUrl = None) -> None:
    """List the tokens that were made; the access file's own is not among them."""
    with client(hub_url) as hub:
        answer = hub.read("/tokens")
    if as_json:
        rows = [output.with_times(row) for row in answer["data"]]
        output.put_json("token.list", rows, cursor=answer["cursor"])
        return
    heads = ["TOKEN", "ROLE", "NAMESPACES", "NODES", "STATE", "EXPIRES", "LABEL"]
    output.put_table(heads, (_cells(row) for row in answer["data"]))


def revoke(
    tokens: Annotated[list[str], typer.Argument(metavar="TOKEN...", help="Their ids.")],
    as_json: Json = False,
    hub_url: HubUrl = None,
) -> None:
    """End tokens: from now on they open nothing, and streams that are open are cut."""
    with client(hub_url) as hub:
        for token_id in tokens:
            hub.control({"type": "RevokeToken", "token_id": token_id, "spec": {}})
    if as_json:
        output.put_json("token.revoke", [{"token_id": one} for one in tokens], cursor=hub.cursor)
        return
    for token_id in tokens:
        output.say(f"token {token_id} is revoked")


def _lasts_ms(text: str) -> int:
    seconds = parse_duration(text, field="expires")
    if not seconds:
        raise UsageError(
            f"`--expires` must be longer than 0, got {text!r}",
            field="expires",
            hint="leave it out for a token that lasts until it is revoked",
        )
    return round(seconds * 1000)


def _say_who_reads() -> None:
    """Say it where the token has just gone into a file that others can read."""
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # stdout is no file at all
        return
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
        mode = status.st_mode & 0o777
        output.say(
            f"warning: others can read the file that it went to: expected mode 600, got {mode:o}"
            "\n\nhint: chmod 600 it; the next time say umask 077 first"
        )


def _cells(row: dict[str, Any]) -> list[object]:
    state = "revoked" if row["revoked_at"] else "valid" if row["is_valid"] else "expired"
    names = [",".join(row[key]) if row[key] else "*" for key in ("namespaces", "nodes")]
    return [
        row["token_id"],
        row["role"],
        *names,
        state,
        output.when(row["expires_at"]),
        row["label"],
    ]
