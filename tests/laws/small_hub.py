"""The public Hub in memory, in the words of the laws: one namespace `lab`, specs as JSON."""

from __future__ import annotations

from typing import Any

from hpc.testing import small_hub
from hpc.testing.small_hub import WALL_MS, Tables, overlay

__all__ = ["WALL_MS", "SmallHub", "Tables", "overlay"]

Json = Any


class SmallHub(small_hub.SmallHub):
    """One Hub over a log in memory, one request a turn."""

    def namespace(self, ns_id: str, spec: Json) -> None:
        """Register a namespace."""
        self.ask("control", "", {"type": "RegisterNamespace", "ns_id": ns_id, "spec": spec})

    def generator(self, gid: str, rules: Json, **more: Json) -> Json:
        """Register a generator over the namespace `lab`."""
        spec = {"namespaces": ["lab"], "rules": rules}
        return self.ask(
            "control", "", {"type": "RegisterGenerator", "gid": gid, "spec": spec} | more
        )
