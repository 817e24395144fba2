"""The handler `process`: a command line of a job becomes a child process per task.

`command` with `args` is executed directly, `command` alone by `/bin/sh -c`. Where the spec says
`expand`, the placeholders in it are replaced here, by the entries of the tasks that were granted
(placeholders.py): the spec is one for a whole array, and no other job's `{}` is touched. The
environment is the relay's without what is hpc's own, under the job's `env`. Whether a folder or
program exists is found when the task starts, by the supervisor.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import takewhile
from typing import Literal

import msgspec

from hpc import limits, ranges
from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Refused, UsageError
from hpc.placeholders import Template
from hpc.resources import CUDA_VARIABLE, GPUS, named

# What a relay was told about itself, and the token: none of a job's business.
OURS = frozenset(
    {
        "HPC_TOKEN",
        "HPC_JOB_ID",
        "HPC_TASK_ID",
        "HPC_ATTEMPT",
        "HPC_NODE_ID",
        "HPC_CPUS",
        "HPC_MEMORY_MIB",
        "HPC_ENTRY",
        "HPC_GPUS",
    }
)


class _Spec(msgspec.Struct, frozen=True):
    """The fields of a submit that this handler reads; a namespace may have others beside them."""

    command: str
    args: list[str | int | float] | None = None
    memory: int | None = None
    enforce_memory: bool = True
    env: dict[str, str | int | float] = {}
    cwd: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    time_limit: float | None = None
    warn_signal: str | None = None
    output_limit: int | None = None
    umask: str | None = None
    ulimits: dict[str, int | str] = {}
    grace: float = 5.0
    on_cut_off: Literal["finish", "stop"] = "finish"
    expand: bool = False
    exclusive: bool = False


class ProcessHandler:
    """Plans child processes.

    Args:
        environ: The relay's environment; None is this process's.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        found = os.environ if environ is None else environ
        ours = {name: value for name, value in found.items() if name not in OURS}
        # What is no UTF-8 cannot be told to the supervisor, and is not passed on.
        self._environ = {name: value for name, value in ours.items() if _is_text(name + value)}

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what to execute for every task of the grant.

        Raises:
            Refused: The spec does not describe a process; the message names the field.
        """
        try:
            spec = msgspec.convert(grant.spec, _Spec)
        except msgspec.ValidationError as error:
            raise Refused(f"Job `{grant.job_id}` describes no process: {error}") from error
        argv, args = _argv(spec), None
        if spec.expand and grant.entries is not None:
            argv, args = _expanded(spec, grant)
        try:
            warned = limits.warned(spec.warn_signal, spec.time_limit)
            umask = None if spec.umask is None else int(limits.umask_text(spec.umask), 8)
            ulimits = limits.kernel_ulimits(spec.ulimits)
        except UsageError as error:
            raise Refused(error.message, field=error.field) from error
        memory_mib = grant.resources.get("memory_mib", spec.memory or 0)
        # A task that has the node to itself has all of its memory, and the limit that it asked for.
        limit_mib = memory_mib
        if spec.exclusive:
            limit_mib = grant.needs.get("memory_mib") or spec.memory or memory_mib
        return Work(
            job_id=grant.job_id,
            ns_id=grant.ns_id,
            attempt=grant.attempt,
            epoch=offer.epoch,
            tasks=grant.tasks,
            kind="process",
            argv=argv,
            args=args,
            env=self._env(spec, offer),
            cwd=_absolute(spec.cwd),
            stdin=_text("stdin", spec.stdin),
            stdout=_text("stdout", spec.stdout),
            stderr=_text("stderr", spec.stderr),
            cpus=grant.resources.get("cpus", 1),
            memory_mib=limit_mib if spec.enforce_memory and limit_mib > 0 else None,
            reserve_mib=memory_mib,
            resources=named(grant.resources),
            time_limit_s=spec.time_limit,
            warn_signal=warned.signal if warned else None,
            warn_s=warned.before_s if warned else 0.0,
            output_limit=spec.output_limit,
            umask=umask,
            ulimits=ulimits,
            grace_s=spec.grace,
            on_cut_off=spec.on_cut_off,
            entries=grant.entries,
        )

    def _env(self, spec: _Spec, offer: NodeOffer) -> dict[str, str]:
        env = dict(self._environ)
        if offer.resources.get(GPUS, 0) > 0:
            # It says what the relay may use, and is told each task anew: what that may use.
            env.pop(CUDA_VARIABLE, None)
        for name, value in spec.env.items():
            if not name or "=" in name or "\0" in name:
                raise Refused(f"Environment has a name that cannot be set: {name!r}", field="env")
            env[name] = _text(f"env.{name}", str(value)) or ""
        # Also where a job brings it by itself: a token stands in no job's environment.
        env.pop("HPC_TOKEN", None)
        return env


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _argv(spec: _Spec) -> list[str]:
    if spec.args is None:
        argv = ["/bin/sh", "-c", spec.command]
    else:
        argv = [spec.command, *map(str, spec.args)]
    return [_text("command", word) or "" for word in argv]


def _expanded(spec: _Spec, grant: Grant) -> tuple[list[str], dict[str, list[str]]]:
    """Return the arguments that the tasks of a grant share, and what follows for each."""
    is_line = spec.args is None
    template = Template([spec.command, *map(str, spec.args or ())], is_line=is_line)
    entries = grant.entries or {}
    # A task without an entry has the empty text in the placeholder's stead.
    tasks = ranges.numbers(grant.tasks)
    each = {task: template.argv(entries.get(str(task), ""), task) for task in tasks}
    for task, argv in each.items():
        for word in argv:
            _text(f"command of task {task}", word)
    # What the least and the greatest share, all share.
    ends = zip(min(each.values()), max(each.values()), strict=False)
    shared = [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], ends)]
    return shared, {str(task): argv[len(shared) :] for task, argv in each.items()}


def _absolute(cwd: str | None) -> str | None:
    if cwd is not None and not cwd.startswith("/"):
        raise Refused(f"Folder `cwd` must be an absolute path, got {cwd!r}", field="cwd")
    return _text("cwd", cwd)


def _text(field: str, value: str | None) -> str | None:
    """Refuse what no system call takes."""
    if value is not None and "\0" in value:
        raise Refused(f"Field `{field}` must not hold a NUL, got {value!r}", field=field)
    return value
