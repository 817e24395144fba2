"""Pulls that wait: what ends a wait, what does not, and what a reader is told of versions."""

from __future__ import annotations

import json
from typing import Any

from small_hub import SmallHub

Json = Any

SCHEMA = {"schema": {"Said": [{"key": "i", "expected_type": "Int"}], "Noise": []}}
RULES = [{"on": "Said", "table": "t", "key": "$ctx.node_id", "join": {"max": {"max": "$spec.i"}}}]


def lab(*, generator: bool = True) -> SmallHub:
    hub = SmallHub()
    hub.namespace("lab", SCHEMA)
    if generator:
        hub.generator("g", RULES)
    return hub


def event(kind: str, **spec: Json) -> Json:
    payload = {"ctx": {"ns_id": "lab", "node_id": "n1"}, "spec": spec}
    return {"kind": kind, "at": 0, "payload": payload}


def wait(hub: SmallHub, query: str, *, token: int = 7) -> Json | None:
    """Open a pull that waits; its answer, if it comes at once."""
    return answer(hub.turn([(token, "pull", f"{query}&wait=30", None)]), token)


def answer(turn: Any, token: int = 7) -> Json | None:
    found = [json.loads(body) for at, status, body in turn.replies if at == token and status == 200]
    return found[0] if found else None


def say(hub: SmallHub, kind: str, **spec: Json) -> Any:
    """One event in a turn of its own."""
    return hub.turn([(1, "ingest", "", {"events": [event(kind, **spec)]})])


def test_a_wait_ends_in_the_turn_that_brings_news() -> None:
    """Readers hear of a change when it is committed, and of nothing that changes nothing."""
    hub = lab()
    assert wait(hub, f"gid=g&cursor={hub.head}") is None
    assert answer(say(hub, "Noise")) is None
    news = answer(say(hub, "Said", i=1))
    assert news is not None
    assert news["facts"] == {"t": {"n1": {"max": 1}}}
    assert news["cursor"] == hub.head
    assert wait(hub, f"gid=g&cursor={hub.head}") is None
    assert answer(say(hub, "Said", i=0)) is None, "no cell grew"


def test_a_pull_with_news_does_not_wait() -> None:
    """What is there already is told at once."""
    hub = lab()
    say(hub, "Said", i=1)
    page = wait(hub, "gid=g&cursor=0")
    assert page is not None
    assert page["facts"] == {"t": {"n1": {"max": 1}}}


def test_a_wait_without_news_ends_in_time() -> None:
    """The answer of a wait that was in vain is empty and moves the cursor on."""
    hub = lab()
    assert wait(hub, f"gid=g&cursor={hub.head}") is None
    say(hub, "Noise")
    turn = hub.turn([])
    assert turn.wake_ms is not None
    page = answer(hub.turn([], ms=30_000))
    assert page is not None
    assert (page["facts"], page["cursor"], page["more"]) == ({}, hub.head, False)


def test_a_wait_for_one_table_is_not_ended_by_another() -> None:
    """`table=` narrows what is waited for."""
    hub = lab(generator=False)
    other = RULES[0] | {"on": "Noise", "table": "noise", "join": {"n": {"count": 1}}}
    hub.generator("g", [*RULES, other])
    assert wait(hub, f"gid=g&cursor={hub.head}&table=t") is None
    assert answer(say(hub, "Noise")) is None
    assert answer(say(hub, "Said", i=1)) is not None


def test_a_reader_that_left_is_not_answered() -> None:
    """A connection that is gone holds nothing in the Hub."""
    hub = lab()
    wait(hub, f"gid=g&cursor={hub.head}")
    hub.turn([(2, "gone", "token=7", None)])
    assert answer(say(hub, "Said", i=1)) is None
    assert hub.turn([], ms=60_000).wake_ms is None


def building(hub: SmallHub) -> Any:
    """Register a generator over a log of noise; nothing of it is built yet."""
    for _ in range(3):
        say(hub, "Noise")
    spec = {"namespaces": ["lab"], "rules": RULES}
    return hub.turn([(1, "control", "", {"type": "RegisterGenerator", "gid": "g", "spec": spec})])


def test_a_wait_ends_when_building_advances() -> None:
    """While a generator is built its cursor is how far it has come, and readers follow it."""
    hub = lab(generator=False)
    turn = building(hub)
    assert wait(hub, "gid=g&cursor=0") is None
    page = answer(hub.turn([], build=hub.read(turn.build_from, 1)))
    assert page is not None
    assert (page["building"], page["cursor"], page["facts"]) == (True, 1, {})


def test_a_wait_ends_when_building_ends() -> None:
    """The last step of building ends a wait like every other, though it brings no facts."""
    hub = lab(generator=False)
    turn = building(hub)
    assert wait(hub, "gid=g&cursor=0") is None
    page = answer(hub.turn([], build=hub.read(turn.build_from, 100)))
    assert page is not None
    assert "building" not in page
    assert (page["cursor"], page["facts"]) == (hub.head, {})


def test_the_old_version_serves_until_the_new_one_is_built() -> None:
    """A replacement takes no facts away; when it serves, its readers are told the whole."""
    hub = lab()
    say(hub, "Said", i=3)
    cursor, version = hub.head, 1
    rules = [RULES[0] | {"join": {"least": {"min": "$spec.i"}}}]
    spec = {"namespaces": ["lab"], "rules": rules}
    body = {"type": "RegisterGenerator", "gid": "g", "spec": spec, "replace": version}
    turn = hub.turn([(1, "control", "", body)])
    page = answer(hub.turn([(7, "pull", "gid=g&cursor=0", None)]))
    assert page is not None
    assert (page["version"], page["facts"]) == (1, {"t": {"n1": {"max": 3}}})
    assert wait(hub, f"gid=g&cursor={cursor}&version=1") is None
    page = answer(hub.turn([], build=hub.read(turn.build_from, 100)))
    assert page is not None
    assert (page["version"], page["snapshot"]) == (2, True)
    assert page["facts"] == {"t": {"n1": {"least": 3}}}


def test_a_reader_of_another_hub_or_version_is_told_the_whole() -> None:
    """A cursor says something only to the Hub and the version that gave it."""
    hub = lab()
    say(hub, "Said", i=3)
    for query in ("hub=other", "version=2", f"cursor={hub.head + 1}"):
        cursor = "" if "cursor" in query else f"&cursor={hub.head}"
        page = wait(hub, f"gid=g&{query}{cursor}")
        assert page is not None
        assert (page["snapshot"], page["facts"]) == (True, {"t": {"n1": {"max": 3}}})
    assert wait(hub, f"gid=g&hub=hub&version=1&cursor={hub.head}") is None
