"""What the benchmark of the engine registers is what the package does."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from hpc.namespaces.batch import BATCH

SOURCES = Path(__file__).parents[2] / "bench" / "engine" / "src"


def test_the_engine_is_measured_with_the_namespace_that_ships() -> None:
    """Else its figures would speak of another one, and nobody would see it."""
    namespace = msgspec.to_builtins(BATCH.namespace)
    (generator,) = map(msgspec.to_builtins, BATCH.generators)
    expected = {
        "namespace": {
            "type": "RegisterNamespace",
            "ns_id": namespace.pop("ns_id"),
            "spec": namespace,
        },
        "generator": {"type": "RegisterGenerator", "gid": generator.pop("gid"), "spec": generator},
    }
    for name, request in expected.items():
        found = json.loads((SOURCES / f"batch_{name}.json").read_text())
        assert found == request, f"write batch_{name}.json anew"
