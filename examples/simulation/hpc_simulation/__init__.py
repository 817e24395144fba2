"""simulation: an environment and a policy that play with each other over a port.

The entry point in pyproject.toml names this module, since it has what a namespace must have:
`namespace` and `generators`. Both are data; a Hub gets them over the wire and never imports this.
A relay that serves the namespace has the package installed: `handler` plans its tasks, and each is
a `runner`. `gridworld` and `greedy` are what a simulation without commands plays.

Of its kinds only SubmitSimulation acts as one of the kernel's. The README says why.
"""

from __future__ import annotations

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec

PORT = FieldSpec(key="port", expected_type="Int", required=True, min=1, max=65_535)


def _command(name: str) -> list[FieldSpec]:
    """Return the fields of a command, which runs as `batch`'s does.

    Alone it is a line for the shell; with a list of arguments, also an empty one, it is executed
    directly.
    """
    return [
        FieldSpec(key=name, expected_type="String", min=1, format="text"),
        FieldSpec(key=f"{name}_args", expected_type="List", format="argv"),
    ]


SUBMIT_SIMULATION = [
    *_command("environment"),
    *_command("policy"),
    FieldSpec(key="cpu", expected_type="Int", min=1, max=65_536, default=1),
    FieldSpec(key="memory", expected_type="Int", min=1, max=1 << 30, default=512),
    FieldSpec(key="steps", expected_type="Int", min=1, default=200),
    FieldSpec(key="seed", expected_type="Int", min=0, max=1 << 32, default=0),
    FieldSpec(key="time_limit", expected_type="Float", min=0.001, max=1e9),
    FieldSpec(key="env", expected_type="Map", format="env"),
]

SIMULATION_FINISHED = [
    FieldSpec(key="exit_code", expected_type="Int", required=True, min=0, max=255),
    FieldSpec(key="seconds", expected_type="Float", required=True, min=0),
    FieldSpec(key="reward", expected_type="Float"),
    FieldSpec(key="steps", expected_type="Int", min=0),
]

namespace = NamespaceSpec(
    ns_id="simulation",
    revision=1,
    handler_type="simulation",
    # A port is leased like a core: the Hub counts it, and no two tasks of a relay have one.
    resources={"cpus": "$spec.cpu", "memory_mib": "$spec.memory", "ports": 1},
    schema={
        "SubmitSimulation": SUBMIT_SIMULATION,
        "PortAllocated": [PORT],
        "SimulationStarted": [PORT],
        "SimulationFinished": SIMULATION_FINISHED,
    },
    acts_as={"SubmitSimulation": "SubmitJob"},
    by={"PortAllocated": "relay", "SimulationStarted": "relay", "SimulationFinished": "relay"},
)

# What became of a job as a whole, and of each of its tasks.
generators = [
    GeneratorSpec(
        gid="simulations",
        namespaces=["simulation"],
        rules=[
            {
                "on": "PortAllocated",
                "table": "jobs",
                "key": "$ctx.job_id",
                "join": {"port": {"last": "$spec.port"}, "nodes": {"set": "$ctx.node_id"}},
            },
            {
                "on": "SimulationFinished",
                "table": "jobs",
                "key": "$ctx.job_id",
                "join": {
                    "runs": {"count": 1},
                    "steps": {"sum": "$spec.steps"},
                    "best": {"max": "$spec.reward"},
                    "rewards": {"map": {"key": "$ctx.tasks", "join": {"last": "$spec.reward"}}},
                    "exit_codes": {"map": {"key": "$spec.exit_code", "join": {"count": 1}}},
                },
            },
            {
                "on": ["PortAllocated", "SimulationStarted"],
                "table": "tasks",
                "key": ["$ctx.job_id", "$ctx.tasks"],
                "join": {
                    "port": {"last": "$spec.port"},
                    "node": {"last": "$ctx.node_id"},
                    "seen_at": {"map": {"key": "$kind", "join": {"max": "$at"}}},
                },
            },
            {
                "on": "SimulationFinished",
                "table": "tasks",
                "key": ["$ctx.job_id", "$ctx.tasks"],
                "join": {
                    "seen_at": {"map": {"key": "$kind", "join": {"max": "$at"}}},
                    "reward": {"last": "$spec.reward"},
                    "exit_code": {"last": "$spec.exit_code"},
                },
            },
        ],
    )
]
