"""Registration: what entry points give is registered through `control`, like anyone's.

A lower revision in the log is replaced, a higher one is left and said so. Nothing here keeps the
Hub from starting: a namespace that is refused is named, and the Hub runs without it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from hpc.protocols import Answer, Namespace

Ask = Callable[[str, str, bytes], Awaitable[Answer]]


class _Old(msgspec.Struct):
    version: int
    spec: dict[str, Any]

    @property
    def revision(self) -> int:
        """Of its spec."""
        return int(self.spec.get("revision", 1))


class _Namespace(_Old):
    ns_id: str


class _Generator(_Old):
    gid: str


class _Registered(msgspec.Struct):
    data: list[_Namespace]
    generators: list[_Generator]


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


class _Wanted(NamedTuple):
    """A registration to be made: which request, and of which revision."""

    kind: str
    id_field: str
    name: str
    revision: int
    spec: dict[str, Any]


async def register(ask: Ask, namespaces: Sequence[Namespace]) -> list[str]:
    """Register namespaces and their generators.

    Args:
        ask: Puts a verb, a query and a body to the engine.
        namespaces: In the order in which they are registered.

    Returns:
        A sentence for each that is not registered as it was given.
    """
    answer = await ask("namespaces", "", b"")
    if answer.status != 200:  # noqa: PLR2004 - OK
        return [f"namespaces cannot be registered: {_detail(answer)}"]
    registered = msgspec.json.decode(answer.body, type=_Registered)
    have: dict[tuple[str, str], _Old] = {
        **{("ns_id", one.ns_id): one for one in registered.data},
        **{("gid", one.gid): one for one in registered.generators},
    }
    said: list[str] = []
    for module in namespaces:
        for wanted in _wanted(module):
            old = have.get((wanted.id_field, wanted.name))
            if old is not None and old.spec == wanted.spec:
                continue
            if old is not None and old.revision > wanted.revision:
                said.append(
                    f"{wanted.name} is registered with revision {old.revision}, "
                    f"which is left; this installation has {wanted.revision}"
                )
                continue
            request: dict[str, Any] = {
                "type": wanted.kind,
                wanted.id_field: wanted.name,
                "spec": wanted.spec,
            }
            if old is not None and old.revision < wanted.revision:
                request["replace"] = old.version
            answer = await ask("control", "", msgspec.json.encode(request))
            if answer.status != 200:  # noqa: PLR2004 - OK
                said.append(f"{wanted.name} is not registered as installed: {_detail(answer)}")
    return said


def _wanted(module: Namespace) -> list[_Wanted]:
    namespace = module.namespace
    spec = msgspec.to_builtins(namespace)
    del spec["ns_id"]
    found = [_Wanted("RegisterNamespace", "ns_id", namespace.ns_id, namespace.revision, spec)]
    for generator in module.generators:
        spec = msgspec.to_builtins(generator)
        del spec["gid"]
        found.append(_Wanted("RegisterGenerator", "gid", generator.gid, generator.revision, spec))
    return found


def _detail(answer: Answer) -> str:
    try:
        return msgspec.json.decode(answer.body, type=_Problem).detail
    except msgspec.MsgspecError:
        return f"status {answer.status}"
