"""Which jobs are meant: `last`, `all`, a state, a range, an id, a name, or a unique prefix.

They are tried in this order everywhere: `queued` is every queued job, also where one has that name.
`name:queued` and `id:queued` are a name and an id, whatever else they look like. A command that
takes several jobs takes all that a selector means; one that takes one refuses what means more.

`last` is the job that this user submitted last through the command line, kept in
`$HPC_HOME/last-job.json`, or else the newest that the Hub knows.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from hpc.access import home, write_private
from hpc.cli import output
from hpc.client import Client
from hpc.errors import NotFound, UsageError
from hpc.nearest import did_you_mean
from hpc.states import STATES

_LAST_FILE: Final = "last-job.json"
_WORDS: Final = frozenset({"all", "last", *STATES})
_NAME: Final = "name:"
_ID_IS: Final = "id:"
_RANGE: Final = r"(\d+)-(\d+)"
_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_ASKED_BY_ID_MAX: Final = 20_000
_SHOWN_MAX: Final = 5
_NEWEST: Final = 1000
"""Of so many jobs a slip may have meant one."""


def remember(job_id: str) -> None:
    """Note the job that `last` means; a folder that cannot be written to is left alone."""
    folder = home()
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / _LAST_FILE, json.dumps({"job_id": job_id}) + "\n")


def is_taken(word: str) -> bool:
    """Return whether a word alone means something else than a job of this id or name."""
    is_prefixed = word.startswith((_NAME, _ID_IS))
    return word in _WORDS or is_prefixed or re.fullmatch(_RANGE, word) is not None


def say_taken(key: str | None, name: str | None) -> None:
    """Say how a job is meant whose id or name alone means something else."""
    for prefix, what, word in ((_ID_IS, "key", key), (_NAME, "name", name)):
        if word is not None and is_taken(word):
            output.say(
                f"note: `{word}` alone means other jobs to hpc; this one by its {what}: "
                f"{prefix}{word}"
            )


def one(client: Client, selector: str | None) -> dict[str, Any]:
    """Return the job that a selector means, by default the last.

    Raises:
        NotFound: There is none.
        UsageError: It means several.
    """
    selector = "last" if selector is None else selector
    found = _unique(_found(client, selector))
    if len(found) > 1:
        raise _ambiguous(selector, found, str(len(found)))
    if not found:
        raise NotFound(_none(selector).capitalize(), hint=_named(selector) or "hpc job list")
    return found[0]


def several(client: Client, selectors: Sequence[str]) -> list[dict[str, Any]]:
    """Return the jobs that selectors mean, each once, in the order in which they were meant."""
    # Many are mostly ids, which are asked for together; what else one may mean is asked alone.
    ids = [selector for selector in selectors if _may_be_id(selector)]
    known = client.infos(ids) if len(ids) > 1 else {}
    found: list[dict[str, Any]] = []
    for selector in selectors:
        meant = [known[selector]] if selector in known else _found(client, selector)
        if not meant:
            output.say(_none(selector))
        found += meant
    return _unique(found)


def _may_be_id(selector: str) -> bool:
    return not is_taken(selector) and re.fullmatch(_ID, selector) is not None


def _none(selector: str) -> str:
    return "there is no job" if selector == "all" else f"no job is {selector}"


def _named(selector: str) -> str | None:
    """Return how a job is meant whose name is that of a state; None where it is none."""
    return f"one of that name is {_NAME}{selector}" if selector in STATES else None


def _ambiguous(selector: str, found: list[dict[str, Any]], count: str) -> UsageError:
    shown = ", ".join(str(info["job_id"]) for info in found[:_SHOWN_MAX])
    more = ", …" if len(found) > _SHOWN_MAX else ""
    return UsageError(
        f"`{selector}` matches {count} jobs: {shown}{more}",
        code="ambiguous",
        hint=_named(selector) or "name one of them: hpc job list",
    )


def _unique(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    by_id: dict[str, dict[str, Any]] = {}
    for info in jobs:
        by_id.setdefault(info["job_id"], info)
    return list(by_id.values())


def _found(client: Client, selector: str) -> list[dict[str, Any]]:
    if not selector.removeprefix(_ID_IS).removeprefix(_NAME).strip():
        raise UsageError(
            f"A job must be an id, a name, a range, a state or `last`, got {selector!r}",
            field="job",
            hint="of a variable that is not set? Which there are: hpc job list",
        )
    if selector == "all":
        return list(client.jobs())
    if selector in STATES:
        return list(client.jobs(state=selector))
    if selector == "last":
        return [_last(client)]
    if selector.startswith(_ID_IS):
        job_id = selector.removeprefix(_ID_IS)
        found = [client.info(job_id)] if re.fullmatch(_ID, job_id) else []
    elif selector.startswith(_NAME):
        name = selector.removeprefix(_NAME)
        found = list(client.jobs(name=name)) if name else []
    elif match := re.fullmatch(_RANGE, selector):
        found = list(_range(client, int(match[1]), int(match[2])))
    else:
        found = _by_id_name_or_prefix(client, selector)
    if not found:
        raise NotFound(f"No job matches `{selector}`", hint=_near(client, selector))
    return found


def _near(client: Client, selector: str) -> str:
    """Return which jobs may have been meant, of those that were submitted last."""
    word = selector.removeprefix(_NAME)
    newest = list(islice(client.jobs(order="desc", limit=_NEWEST), _NEWEST))
    known = [str(info[field]) for info in newest for field in ("name", "job_id") if info.get(field)]
    return did_you_mean(word, known) or "hpc job list"


def _by_id_name_or_prefix(client: Client, selector: str) -> list[dict[str, Any]]:
    if re.fullmatch(_ID, selector) is None:  # nor does an id begin so
        return list(client.jobs(name=selector)) if selector else []
    try:
        return [client.info(selector)]
    except NotFound as error:
        if error.outcome is not None:  # its id is not free: nothing else is meant by it
            raise
    if named := list(client.jobs(name=selector)):
        return named
    begun = (info for info in client.jobs(order="desc") if info["job_id"].startswith(selector))
    found = list(islice(begun, _SHOWN_MAX + 1))
    if len(found) > 1:  # what was meant for one job must not end others
        raise _ambiguous(selector, found, "several")
    return found


def _range(client: Client, first: int, last: int) -> Iterator[dict[str, Any]]:
    if last - first < _ASKED_BY_ID_MAX:
        yield from client.infos([str(number) for number in range(first, last + 1)]).values()
        return
    for info in client.jobs():
        if info["job_id"].isdigit() and first <= int(info["job_id"]) <= last:
            yield info


def _last(client: Client) -> dict[str, Any]:
    if (job_id := _remembered(home() / _LAST_FILE)) is not None:
        # Another Hub, or a log that was begun anew, does not know it.
        with contextlib.suppress(NotFound):
            return client.info(job_id)
    for info in client.jobs(order="desc", limit=1):
        return info
    raise NotFound("No job has been submitted yet", hint="hpc submit -- echo hello")


def _remembered(path: Path) -> str | None:
    try:
        job_id = json.loads(path.read_text(encoding="utf-8"))["job_id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return job_id if isinstance(job_id, str) else None
