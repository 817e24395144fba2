"""batch: commands that run on a relay with a share of what it offers.

A job's `command` runs by `/bin/sh -c`; where `args` is given, also if it is empty, the command is
executed directly with these arguments. `args` has no default for this reason.
"""

from __future__ import annotations

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.limits import OUTPUT_BYTES_MAX
from hpc.namespaces import Module
from hpc.units import DURATION_S_MAX, MEMORY_MIB_MAX

_PATH_CHARS_MAX = 4096
_CPUS_MAX = 65_536
_ULIMITS_MAX = 64
_RETRIES_MAX = 1_000_000
_GPUS_MAX = 65_536
_NAMES_MAX = 64
_NODES_MAX = 1024
"""The Hub's own bound, placement.rs."""


def _path(key: str) -> FieldSpec:
    return FieldSpec(key=key, expected_type="String", min=1, max=_PATH_CHARS_MAX, format="text")


SUBMIT_JOB = [
    FieldSpec(key="command", expected_type="String", required=True, min=1, format="text"),
    FieldSpec(key="cpu", expected_type="Int", required=True, min=1, max=_CPUS_MAX),
    FieldSpec(key="memory", expected_type="Int", required=True, min=1, max=MEMORY_MIB_MAX),
    FieldSpec(key="args", expected_type="List", format="argv"),
    FieldSpec(key="enforce_memory", expected_type="Bool", default=True),
    FieldSpec(key="env", expected_type="Map", format="env"),
    _path("cwd"),
    _path("stdin"),
    _path("stdout"),
    _path("stderr"),
    FieldSpec(key="time_limit", expected_type="Float", min=0.001, max=DURATION_S_MAX),
    FieldSpec(key="warn_signal", expected_type="String", min=3, max=32, format="text"),
    FieldSpec(key="output_limit", expected_type="Int", min=1, max=OUTPUT_BYTES_MAX),
    FieldSpec(key="umask", expected_type="String", min=1, max=4, format="text"),
    FieldSpec(key="ulimits", expected_type="Map", max=_ULIMITS_MAX),
    FieldSpec(key="grace", expected_type="Float", min=0, max=86_400, default=5.0),
    FieldSpec(
        key="on_cut_off", expected_type="String", one_of=["finish", "stop"], default="finish"
    ),
    FieldSpec(key="retries", expected_type="Int", min=0, max=_RETRIES_MAX),
    FieldSpec(key="retry_on", expected_type="List", min=1),
    FieldSpec(key="max_fails", expected_type="Int", min=0),
    FieldSpec(key="throttle", expected_type="Int", min=1),
    FieldSpec(key="expand", expected_type="Bool"),
    FieldSpec(key="gpus", expected_type="Int", min=0, max=_GPUS_MAX),
    FieldSpec(key="resources", expected_type="Map", max=_NAMES_MAX),
    FieldSpec(key="require", expected_type="Map", max=_NAMES_MAX),
    FieldSpec(key="nodes", expected_type="List", max=_NODES_MAX),
    FieldSpec(key="exclude", expected_type="List", max=_NODES_MAX),
    FieldSpec(key="exclusive", expected_type="Bool"),
    FieldSpec(key="max_per_node", expected_type="Int", min=1),
    FieldSpec(key="min_time", expected_type="Float", min=0.001, max=DURATION_S_MAX),
]

PLACEMENT = ("require", "nodes", "exclude", "exclusive", "max_per_node", "min_time")
"""The fields that say where tasks may run."""

BATCH = Module(
    namespace=NamespaceSpec(
        ns_id="batch",
        revision=3,
        preemptible=True,
        handler_type="process",
        resources={
            "cpus": "$spec.cpu",
            "memory_mib": "$spec.memory",
            "gpus": "$spec.gpus",
            "*": "$spec.resources",
        },
        placement={field: f"$spec.{field}" for field in PLACEMENT},
        schema={"SubmitJob": SUBMIT_JOB},
    ),
    generators=[
        GeneratorSpec(
            gid="batch",
            namespaces=["batch"],
            rules=[
                {
                    "on": "SubmitJob",
                    "table": "jobs",
                    "key": "$ctx.job_id",
                    "join": {
                        "namespace": {"once": "$ctx.ns_id"},
                        "priority": {"last": "$ctx.priority"},
                        "resources": {"once": {"cpus": "$spec.cpu", "memory_mib": "$spec.memory"}},
                        "submitted_at": {"min": "$at"},
                    },
                },
            ],
        )
    ],
)
