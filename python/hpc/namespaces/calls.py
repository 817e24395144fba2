"""calls: Python calls in warm interpreters on relays; what `hpc.Executor` speaks.

An executor is one job, and each of its tasks is a worker: a process that keeps an interpreter
ready. Calls are no tasks. They are events of this namespace, packed many to an event, so that the
kernel keeps nothing of them, and what they said leaves the log an hour later.

Who reads what is said by `ctx.job_id`. What a worker has to tell stands under its executor's job;
what it is told stands under an *inbox*, `JOB.TASK.ATTEMPT`, which only that worker reads. The Hub
sees numbers and texts: what a call is only the worker's interpreter opens (`hpc/calls/`).
"""

from __future__ import annotations

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.namespaces import Module
from hpc.units import DURATION_S_MAX, MEMORY_MIB_MAX

HOUR_S = 3600
"""An executor that lost the Hub gives up after ten minutes; who looks for a mistake has longer."""

_CPUS_MAX = 65_536
_PATH_CHARS_MAX = 4096
_PATHS_MAX = 1000
_CALLS_MAX = 10_000
_TEXT_BYTES_MAX = 1 << 20
_GPUS_MAX = 65_536
_LABELS_MAX = 64


def _count(key: str) -> FieldSpec:
    return FieldSpec(key=key, expected_type="Int", required=True, min=0)


SUBMIT_JOB = [
    FieldSpec(key="cpu", expected_type="Int", min=1, max=_CPUS_MAX, default=1),
    FieldSpec(key="memory", expected_type="Int", required=True, min=1, max=MEMORY_MIB_MAX),
    FieldSpec(key="enforce_memory", expected_type="Bool", default=True),
    FieldSpec(key="gpus", expected_type="Int", min=0, max=_GPUS_MAX),
    FieldSpec(key="require", expected_type="Map", max=_LABELS_MAX),
    FieldSpec(key="env", expected_type="Map", format="env"),
    FieldSpec(key="cwd", expected_type="String", min=1, max=_PATH_CHARS_MAX, format="text"),
    FieldSpec(key="python", expected_type="String", min=1, max=_PATH_CHARS_MAX, format="text"),
    FieldSpec(key="path", expected_type="List", max=_PATHS_MAX, format="argv"),
    FieldSpec(key="initializer", expected_type="String", max=_TEXT_BYTES_MAX),
    FieldSpec(key="idle", expected_type="Float", min=0.1, max=DURATION_S_MAX, default=60.0),
]

EXECUTOR = FieldSpec(key="executor", expected_type="String", required=True, min=1, max=128)

CALLS_SENT = [
    EXECUTOR,
    FieldSpec(key="calls", expected_type="List", required=True, min=1, max=_CALLS_MAX),
    _count("count"),
    FieldSpec(key="linger", expected_type="Float", min=0, max=10, default=0.0),
]

CALLS_RECALLED = [
    EXECUTOR,
    _count("recall"),
    FieldSpec(key="calls", expected_type="List", max=_CALLS_MAX),
    FieldSpec(key="newest", expected_type="Int", min=1),
]

CALLS_RETURNED = [
    FieldSpec(key="results", expected_type="List", required=True, max=_CALLS_MAX),
    FieldSpec(key="recalled", expected_type="List", max=_CALLS_MAX),
    FieldSpec(key="recalls", expected_type="List", max=_CALLS_MAX),
    _count("count"),
    _count("failed"),
    FieldSpec(key="seconds", expected_type="Float", required=True, min=0),
]

WORKER_STARTED = [
    FieldSpec(key="pid", expected_type="Int", required=True, min=0),
    FieldSpec(key="python", expected_type="String", required=True, max=100),
    FieldSpec(key="failure", expected_type="String", max=_TEXT_BYTES_MAX),
    FieldSpec(key="reason", expected_type="String", max=1000),
]

CALLS = Module(
    namespace=NamespaceSpec(
        ns_id="calls",
        revision=2,
        preemptible=True,
        retention=HOUR_S,
        handler_type="calls",
        resources={
            "cpus": "$spec.cpu",
            "memory_mib": "$spec.memory",
            "gpus": "$spec.gpus",
        },
        placement={"require": "$spec.require"},
        schema={
            "SubmitJob": SUBMIT_JOB,
            "CallsSent": CALLS_SENT,
            "CallsRecalled": CALLS_RECALLED,
            "CallsReturned": CALLS_RETURNED,
            "WorkerStarted": WORKER_STARTED,
            "WorkerDismissed": [EXECUTOR],
            "WorkerStopped": [],
        },
        by={"CallsReturned": "relay", "WorkerStarted": "relay", "WorkerStopped": "relay"},
    ),
    generators=[
        GeneratorSpec(
            gid="calls",
            namespaces=["calls"],
            rules=[
                {
                    "on": "SubmitJob",
                    "table": "executors",
                    "key": "$ctx.job_id",
                    "join": {"submitted_at": {"min": "$at"}},
                },
                {
                    "on": "CallsSent",
                    "table": "executors",
                    "key": "$spec.executor",
                    "join": {"sent": {"sum": "$spec.count"}},
                },
                {
                    "on": "CallsReturned",
                    "table": "executors",
                    "key": "$ctx.job_id",
                    "join": {
                        "returned": {"sum": "$spec.count"},
                        "failed": {"sum": "$spec.failed"},
                        "returned_at": {"max": "$at"},
                    },
                },
                {
                    "on": "WorkerStarted",
                    "table": "executors",
                    "key": "$ctx.job_id",
                    "join": {"workers": {"count": 1}, "nodes": {"set": "$ctx.node_id"}},
                },
            ],
        )
    ],
)
