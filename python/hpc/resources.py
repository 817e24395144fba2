"""Named resources and labels as people write them: `fpgas=range(0-3)`, `gpus` 2, `zone=b`.

A relay offers a *stock* of each: an amount (a sum), or values that a task has to itself (a pool).
A job asks for amounts. Pure text to data and back; it measures nothing, books nothing, and imports
nothing that costs time at the start of a command. Cores and memory are not said here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from hpc.errors import UsageError

Stock: TypeAlias = int | tuple[str, ...]
"""What a relay offers of one resource: an amount, or the values of a pool in their order."""

GPUS: Final = "gpus"

CUDA_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
"""Where the CUDA library reads which GPUs there are."""

AMOUNT_MAX: Final = 1 << 40
"""More is a slip of the pen."""

VALUES_MAX: Final = 4096
VALUES_BYTES_MAX: Final = 100_000
"""Of a pool, commas included: a task may have all of it in a variable, of 128 KiB at most."""

OFFERS_MAX: Final = 61
"""A claim names 64 resources at most: cores, memory and GPUs among them."""

LABELS_MAX: Final = 64
LABEL_BYTES_MAX: Final = 256

_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_ID_HINT: Final = "letters, digits, `.`, `_` and `-`, at most 128, the first a letter or a digit"
_SPECS: Final = "`10` or `sum(10)`, `range(0-7)`, `[a,b]` or `list(a,b)`"
_QUOTED: Final = "in quotes, for the shell reads brackets: hpc relay --resource 'fpgas=range(0-3)'"
# By the names that people would try, also those that would be another resource.
_OWN_FLAGS: Final = {
    "cpu": ("--cpus", "--cpu"),
    "cpus": ("--cpus", "--cpu"),
    "memory": ("--memory", "--memory"),
    "memory_mib": ("--memory", "--memory"),
    "gpu": ("--gpus", "--gpus"),
    "gpus": ("--gpus", "--gpus"),
}


def named(resources: Mapping[str, int]) -> dict[str, int]:
    """Return those amounts that are neither cores nor memory."""
    return {name: n for name, n in resources.items() if name not in ("cpus", "memory_mib")}


def variable(name: str) -> str:
    """Return where a task finds what it has of a resource: `a-b` is `HPC_RESOURCE_A_B`."""
    return "HPC_RESOURCE_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


# What a relay offers


def parse_offers(texts: Iterable[str]) -> dict[str, Stock]:
    """Return what `--resource NAME=SPEC` says, each time.

    Raises:
        UsageError: One cannot be read, or a name stands twice.
    """
    offers: dict[str, Stock] = {}
    for text in texts:
        name, spec = _pair(text, "resource", "NAME=SPEC", "hpc relay --resource 'fpgas=range(0-3)'")
        if name in offers:
            raise _twice("resource", name)
        offers[name] = parse_stock(spec, f"Resource `{name}`")
    return offers


def parse_stock(text: str, what: str) -> Stock:
    """Return a stock: `10` and `sum(10)` are an amount, `range(0-7)` and `[a,b]` values.

    Args:
        text: As it was typed.
        what: Begins the error.

    Raises:
        UsageError: It is none of these.
    """
    plain = text.strip()
    if match := re.fullmatch(r"([0-9]{1,19})|sum\( *([0-9]{1,19}) *\)", plain):
        return int(match[1] or match[2])
    if match := re.fullmatch(r"range\( *([0-9]{1,9}) *- *([0-9]{1,9}) *\)", plain):
        first, last = int(match[1]), int(match[2])
        if first > last or last - first >= VALUES_MAX:
            raise UsageError(
                f"{what}: a range goes up and has {VALUES_MAX:,} values at most, got {text!r}",
                field="resource",
            )
        return tuple(str(value) for value in range(first, last + 1))
    if match := re.fullmatch(r"(?s)(?:list\((.*)\)|\[(.*)\])", plain):
        return _values(match[1] or match[2] or "", what, "resource")
    raise UsageError(f"{what} must be {_SPECS}, got {text!r}", field="resource", hint=_QUOTED)


def parse_gpus(text: str) -> Stock | None:
    """Return which GPUs a relay offers: None is all that it finds, an Int so many of these.

    `0,1,3` are ids, and so is one with a comma behind it: `0,`. None of them need be found.

    Raises:
        UsageError: It is none of these.
    """
    plain = text.strip()
    if plain in ("all", "none"):
        return None if plain == "all" else ()
    if re.fullmatch(r"[0-9]{1,19}", plain):
        if int(plain) == 0:
            raise UsageError(
                "`gpus` must be a number from 1, ids, `all` or `none`, got '0'",
                field="gpus",
                hint="`--gpus none` offers none, `--gpus 0,` the one whose id is 0",
            )
        return int(plain)
    return _values(plain.removesuffix(","), "`gpus`", "gpus")


def check_offers(offers: Mapping[str, Stock]) -> None:
    """Refuse what a claim could not carry or a task not be told.

    Raises:
        UsageError: A name or amount that cannot be, too many, or two that share a variable,
            of which one may be `gpus`.
    """
    if len(offers) > OFFERS_MAX:
        raise UsageError(
            f"A relay offers {OFFERS_MAX} resources by name at most, got {len(offers)}",
            field="resource",
        )
    variables = {variable(GPUS): GPUS}
    for name, stock in offers.items():
        _check_name(name, "resource", of_relay=True)
        other = variables.setdefault(variable(name), name)
        if other != name:
            raise UsageError(
                f"Resources `{other}` and `{name}` would both be told in {variable(name)}",
                field="resource",
                hint=f"give `{name}` another name"
                + (", or offer GPUs by --gpus" if other == GPUS else ""),
            )
        if isinstance(stock, int):
            _check_amount(name, stock)
        else:
            check_values(stock, f"Resource `{name}`", "resource")


def check_values(values: Sequence[str], what: str, field: str) -> None:
    """Refuse values that could not be told apart in a variable, joined by commas.

    Args:
        values: Of a pool.
        what: Begins the error.
        field: Where they were typed.

    Raises:
        UsageError: One is empty, stands twice or has a sign that separates; or there are too many.
    """
    for value in values:
        if not value or not value.isprintable() or any(s.isspace() or s == "," for s in value):
            raise UsageError(
                f"{what} must have values without comma, blank and control sign, got {value!r}",
                field=field,
            )
    if len(set(values)) < len(values):
        again = next(value for value in values if values.count(value) > 1)
        raise UsageError(f"{what} has {again!r} twice", field=field, hint="name each of them once")
    size = sum(len(value.encode()) + 1 for value in values)
    if len(values) > VALUES_MAX or size > VALUES_BYTES_MAX:
        raise UsageError(
            f"{what} takes {VALUES_MAX:,} values of {VALUES_BYTES_MAX:,} bytes together, got "
            f"{len(values):,} of {size:,}",
            field=field,
        )


# Labels


def parse_labels(texts: Iterable[str], field: str) -> dict[str, str]:
    """Return what `--label K=V` or `--require K=V` says, each time.

    Raises:
        UsageError: One cannot be read, or a key stands twice.
    """
    labels: dict[str, str] = {}
    for text in texts:
        key, value = _pair(text, field, "K=V", f"--{field} zone=b")
        if key in labels:
            raise _twice(field, key)
        labels[key] = value
    check_labels(labels, field)
    return labels


def check_labels(labels: Mapping[str, str], field: str) -> None:
    """Refuse labels that no relay can have.

    Raises:
        UsageError: A key is no id, a value no text of 256 bytes at most, or there are too many.
    """
    if len(labels) > LABELS_MAX:
        raise UsageError(
            f"`{field}` takes {LABELS_MAX} labels at most, got {len(labels)}", field=field
        )
    for key, value in labels.items():
        if not is_id(key):
            raise UsageError(
                f"`{field}` must have keys that are ids, got {key!r}", field=field, hint=_ID_HINT
            )
        is_text = isinstance(value, str) and not any("\ud800" <= s <= "\udfff" for s in value)
        if not is_text or "\0" in value or len(value.encode()) > LABEL_BYTES_MAX:
            raise UsageError(
                f"`{field}`: `{key}` must be text of at most {LABEL_BYTES_MAX} bytes, "
                f"got {value!a:.80}",
                field=field,
            )


# What a job asks for


def parse_amounts(texts: Iterable[str]) -> dict[str, int]:
    """Return what `--resource NAME=N` says, each time.

    Raises:
        UsageError: One cannot be read, or a name stands twice.
    """
    amounts: dict[str, int] = {}
    for text in texts:
        name, amount = _pair(text, "resource", "NAME=N", "hpc submit --resource fpgas=2 -- ./fit")
        if name in amounts:
            raise _twice("resource", name)
        if not re.fullmatch(r"[0-9]{1,19}", amount):
            raise UsageError(
                f"Resource `{name}` must be a number from 1, got {amount!r}", field="resource"
            )
        amounts[name] = int(amount)
    check_amounts(amounts)
    return amounts


def check_amounts(amounts: Mapping[str, int]) -> None:
    """Refuse what no task can ask for by name.

    Raises:
        UsageError: A name that is no id or has a flag of its own, or an amount below 1.
    """
    for name, amount in amounts.items():
        _check_name(name, "resource", of_relay=False)
        _check_amount(name, amount)


def check_ids(ids: Sequence[str], field: str) -> None:
    """Refuse what no node can be called.

    Raises:
        UsageError: One is no id, or a text was given where a list is asked for.
    """
    if isinstance(ids, str):
        raise UsageError(f"`{field}` must be a list of node ids, got the text {ids!r}", field=field)
    for node in ids:
        if not is_id(node):
            raise UsageError(
                f"`{field}` must be ids of nodes, got {node!r}", field=field, hint=_ID_HINT
            )


def is_id(text: object) -> bool:
    """Return whether it is an id of the wire."""
    return isinstance(text, str) and re.fullmatch(_ID, text) is not None


def _pair(text: str, field: str, form: str, hint: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"`--{field}` must be {form}, got {text!r}", field=field, hint=hint)
    return key, value


def _values(text: str, what: str, field: str) -> tuple[str, ...]:
    values = tuple(value.strip(" ") for value in text.split(","))
    check_values(values, what, field)
    return values


def _check_name(name: str, field: str, *, of_relay: bool) -> None:
    if not is_id(name):
        raise UsageError(
            f"`{field}` must have a name that is an id, got {name!r}", field=field, hint=_ID_HINT
        )
    if name in _OWN_FLAGS:
        flag = _OWN_FLAGS[name][0 if of_relay else 1]
        raise UsageError(
            f"`{name}` is not offered by `--resource`"
            if of_relay
            else f"`{name}` is not asked for by `resources` or `--resource`",
            field=field,
            hint=f"it has a flag of its own: {flag}",
        )


def _check_amount(name: str, amount: int) -> None:
    if not isinstance(amount, int) or isinstance(amount, bool) or not 1 <= amount <= AMOUNT_MAX:
        raise UsageError(
            f"Resource `{name}` must be a number from 1 to {AMOUNT_MAX}, got {amount!r}",
            field="resource",
        )


def _twice(field: str, name: str) -> UsageError:
    return UsageError(f"`--{field}` names `{name}` twice", field=field)
