"""The words of the wire as Python types: events, specs, claims and grants.

They mirror `rust/hpc-core/src/domain/`; the Hub itself decodes in Rust and needs none of them. Used
by namespaces (data), relays (claims, grants) and clients.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ExpectedType = Literal["String", "Int", "Float", "Bool", "List", "Map"]


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field of a kind's schema.

    Attributes:
        key: Name of the field in `spec`.
        expected_type: An Int field also takes a decimal string, a Float field an Int.
        min: Least number, or least length of a String, List or Map.
        max: Greatest number or length.
        one_of: The values allowed; None allows all.
        format: Beyond the type: `text`, a String without NUL; `argv`, a List of such Strings;
            `env`, a Map of environment names to them.
        default: Filled in where an optional field is absent.
    """

    key: str
    expected_type: ExpectedType
    required: bool = False
    min: int | float | None = None
    max: int | float | None = None
    one_of: list[Any] | None = None
    format: Literal["text", "argv", "env"] | None = None
    default: Any = None


class NamespaceSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a namespace's events look like and how its tasks are run.

    Attributes:
        ns_id: Its name; stands beside `spec` on the wire.
        schema: Fields by kind; a kind that is not listed is refused.
        revision: A start replaces a lower one and leaves a higher one.
        handler_type: Name of the relay's handler; None if the namespace has no jobs.
        resources: Resource name to an expression on the submit, such as `"$spec.cpu"`, or a number;
            under `*` a Map field of amounts by name.
        placement: Where tasks may run: `require`, `nodes`, `exclude`, `exclusive`, `max_per_node`,
            `min_time`, each to the field of the submit that says it, such as `"$spec.nodes"`.
        acts_as: Own kind to the lifecycle kind that it is.
        by: Own kind to who may send it: submit (default), relay, monitor or admin.
        open: Kinds that take fields which the schema does not name.
        retention: Seconds for which the log keeps what its own kinds said; None: for ever.
    """

    ns_id: str
    schema: dict[str, list[FieldSpec]]
    revision: int = 1
    preemptible: bool = False
    handler_type: str | None = None
    resources: dict[str, Any] = {}
    placement: dict[str, str] = {}
    acts_as: dict[str, str] = {}
    by: dict[str, str] = {}
    open: list[str] = []
    retention: int | None = None


class GeneratorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A materialised view as data: which events join what into which cells.

    Attributes:
        gid: Its name; stands beside `spec` on the wire.
        rules: As on the wire: `on`, `table`, `key`, `join`, `where`.
    """

    gid: str
    namespaces: list[str]
    rules: list[dict[str, Any]]
    revision: int = 1
    callback_url: str | None = None


class NodeOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What a relay offers, all of it, used or not.

    Attributes:
        resources: Such as `{"cpus": 2, "memory_mib": 8000}`.
    """

    node_id: str
    host: str
    epoch: int
    resources: dict[str, int]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A lease on tasks, as a claim's answer carries it.

    Attributes:
        tasks: Range list, such as `"4-9"`.
        ctx: The submit's ctx without `tasks` and `entries`, which are told by task here.
        spec: The submit's spec, defaults filled in.
        resources: What each task takes.
        needs: What each asks for, where it takes all that its node offers; else nothing.
        entries: The granted tasks' values of `ctx.entries`, by task number as text; None if the
            job has none.
    """

    job_id: str
    ns_id: str
    handler_type: str | None = None
    attempt: int
    tasks: str
    ctx: dict[str, Any] = {}
    spec: dict[str, Any] = {}
    resources: dict[str, int] = {}
    needs: dict[str, int] = {}
    entries: dict[str, Any] | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the supervisor executes for each task of one grant.

    `HPC_JOB_ID`, `HPC_TASK_ID`, `HPC_ATTEMPT`, `HPC_NODE_ID`, `HPC_CPUS`, `HPC_MEMORY_MIB` and
    `HPC_ENTRY` are added to `env` per task by the supervisor; what a task has of `resources` stands
    in `HPC_RESOURCE_<NAME>`, of GPUs also in `CUDA_VISIBLE_DEVICES` and `HPC_GPUS`.

    Attributes:
        epoch: The node's epoch under which the tasks were granted; stands in their reports.
        kind: `process` starts `argv`; `none` finishes at once with exit code 0.
        argv: Executed directly; the first word is looked up in the PATH of `env`.
        args: What follows `argv`, by task number as text; None: nothing does. Where `argv` is
            empty the program is the first of these.
        env: The whole environment.
        cwd: An absolute folder; None is a folder of the task's own, removed when it has ended.
        stdin: A file; None is nothing.
        stdout: A path with %j, %a and %N, relative to `cwd`; None is captured.
        stderr: Likewise.
        cpus: Cores to be pinned to.
        memory_mib: Limit over the process tree; None reserves without enforcing.
        reserve_mib: What the task takes from the offer.
        resources: What else it takes, by name.
        time_limit_s: Wall time; None is unlimited.
        warn_signal: Number of a signal that comes before the time limit; None is none.
        warn_s: How long before it; at once where the limit is shorter.
        output_limit: Bytes of captured output, which end it; None: it goes on, and the relay keeps
            what it may of it.
        umask: None is the relay's.
        ulimits: Soft limits by name (limits.py), in the kernel's units; None is unlimited.
        grace_s: Between SIGTERM and SIGKILL.
        on_cut_off: At the fence: `finish` goes on, `stop` is ended.
        entries: One value per task, by task number.
    """

    job_id: str
    ns_id: str
    attempt: int
    epoch: int
    tasks: str
    kind: Literal["process", "none"]
    argv: list[str] = []
    args: dict[str, list[str]] | None = None
    env: dict[str, str] = {}
    cwd: str | None = None
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None
    cpus: int = 1
    memory_mib: int | None = None
    reserve_mib: int = 0
    resources: dict[str, int] = {}
    time_limit_s: float | None = None
    warn_signal: int | None = None
    warn_s: float = 0.0
    output_limit: int | None = None
    umask: int | None = None
    ulimits: dict[str, int | None] = {}
    grace_s: float = 5.0
    on_cut_off: Literal["finish", "stop"] = "finish"
    entries: dict[str, Any] | None = None
