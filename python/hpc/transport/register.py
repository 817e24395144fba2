"""Registering a namespace and its generators over the wire, by a relay or a monitor.

Only where the Hub answered 404 for it. What the Hub already has under the name is left alone.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hpc.protocols import Namespace
from hpc.transport.http_async import Problem, Rpc

CONTROL_S = 10.0
_CONFLICT = 409


async def register(rpc: Rpc, module: Namespace) -> Problem | None:
    """Register a namespace, then its generators.

    Returns:
        Why the Hub refused one of them, or None. Another version that is registered already is no
        refusal: someone else was quicker.

    Raises:
        NoHub: Unknown how far it came; calling again is safe.
    """
    namespace = _fields(module.namespace)
    requests: list[dict[str, Any]] = [
        {"type": "RegisterNamespace", "ns_id": namespace.pop("ns_id"), "spec": namespace}
    ]
    for generator in map(_fields, module.generators):
        requests.append(
            {"type": "RegisterGenerator", "gid": generator.pop("gid"), "spec": generator}
        )
    for request in requests:
        reply = await rpc.post("/control", msgspec.json.encode(request), deadline_s=CONTROL_S)
        if reply.status not in (200, _CONFLICT):
            return reply.problem()
    return None


def _fields(spec: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(spec)
    return fields
