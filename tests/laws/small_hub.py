"""The public Hub in memory, in the words of the laws, and its past.

One namespace `lab`, specs as JSON.
"""

from __future__ import annotations

import json
from typing import Any

from hpc import _core
from hpc.testing import small_hub
from hpc.testing.small_hub import WALL_MS, Tables, overlay

__all__ = ["WALL_MS", "SmallHub", "Tables", "asked", "overlay", "past_of", "reach"]

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


def past_of(hub: SmallHub, taken: small_hub.Taken | None = None) -> _core.Past:
    """The past of a Hub, before the first event or at a snapshot."""
    past = _core.Past(hub_id="hub")
    if taken is not None:
        past.restore(taken.state)
    past.preload([row for row in hub.log if row[5] & 1])
    while past.build_from is not None:
        past.catch_up(hub.read(past.build_from, 2))
    return past


def reach(past: _core.Past, hub: SmallHub, at: int, *, rows: int = 1000) -> None:
    """Replay up to a seq, so many rows at a time."""
    while past.last_seq < at:
        past.replay(hub.read(past.last_seq + 1, rows), at)


def asked(past: _core.Past, verb: str, query: str = "") -> Json:
    """What the past answers."""
    status, body = past.ask(verb, query)
    assert status == 200, body.decode()
    return json.loads(body)
