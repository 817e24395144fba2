"""monitor: what a node's cores, memory, disk and accelerators are doing, by node id.

The figures are the machine's, or the cgroup's where that is smaller. It has no jobs. Current values
are gauges, so the newest stamp wins; the peak of memory never falls. Samples are kept for a day;
what they have joined into the facts stays.
"""

from __future__ import annotations

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.namespaces import Module

DAY_S = 86_400

HARDWARE_STATS = [
    FieldSpec(key="cpu_usage", expected_type="String", required=True, min=1, max=16),
    FieldSpec(key="mem_used_kb", expected_type="Int", required=True, min=0),
    FieldSpec(key="mem_total_kb", expected_type="Int", required=True, min=0),
    FieldSpec(key="load1", expected_type="Float", min=0),
    FieldSpec(key="cpus", expected_type="Int", min=1),
    FieldSpec(key="disk_free_kb", expected_type="Int", min=0),
    FieldSpec(key="uptime_s", expected_type="Int", min=0),
    FieldSpec(key="gpus", expected_type="List", max=64),
]

MONITOR = Module(
    namespace=NamespaceSpec(
        ns_id="monitor",
        revision=2,
        retention=DAY_S,
        schema={"HardwareStats": HARDWARE_STATS},
        by={"HardwareStats": "monitor"},
    ),
    generators=[
        GeneratorSpec(
            gid="monitor",
            namespaces=["monitor"],
            rules=[
                {
                    "on": "HardwareStats",
                    "table": "nodes",
                    "key": "$ctx.node_id",
                    "join": {
                        **{field.key: {"last": f"$spec.{field.key}"} for field in HARDWARE_STATS},
                        "peak_mem_used_kb": {"max": "$spec.mem_used_kb"},
                        "reports": {"count": 1},
                    },
                }
            ],
        )
    ],
)
