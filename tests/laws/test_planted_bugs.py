"""Planted bugs: a mistake in the reference model, or in the engine, is found within 200 examples.

The model and the engine are two answers to one question, and the test that compares them is worth
what it would find. So each is broken here in a way in which such things do break, and the test,
which is the one of `test_facts_laws.py` and no copy, must fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import model
import pytest
import small_hub
import test_facts_laws as laws
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from strategies import LOGS, RULES_WITH_SEQ

Json = Any
EXAMPLES_MAX = 200
SEED = 7

compare = laws.test_facts_are_those_of_the_model.hypothesis.inner_test  # type: ignore[attr-defined]


def is_found() -> bool:
    """Whether the comparison of model and engine fails within so many examples."""

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES_MAX,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(RULES_WITH_SEQ, LOGS, st.data())
    def compared(rules: Json, log: list[Json], data: st.DataObject) -> None:
        compare(rules, log, data)

    try:
        compared()
    except (AssertionError, KeyError, ValueError):
        return True
    return False


def test_without_a_planted_bug_nothing_is_found() -> None:
    """Else the others would say nothing."""
    assert not is_found()


def in_table(name: str, table: str, value: Callable[..., Any]) -> Callable[[Any], None]:
    """A bug in one of the model's tables of lattices."""
    return lambda patch: patch.setitem(getattr(model, table), name, value)


def in_place(name: str, value: Callable[..., Any]) -> Callable[[Any], None]:
    """A bug in a function of the model."""
    return lambda patch: patch.setattr(model, name, value)


IN_THE_MODEL = {
    "min is max": in_table("min", "_JOINS", lambda a, b: max(a, b, key=lambda x: x[:-1])),
    "max compares text": in_table("max", "_JOINS", lambda a, b: max(a, b, key=lambda x: str(x[1]))),
    "or takes false for true": in_table("or", "_ELEMENTS", lambda value, event: value is False),
    "once keeps three": in_table("once", "_JOINS", model._capped(3)),
    "set keeps the first": in_table("set", "_JOINS", lambda a, b: a),
    "last is the last that came": in_table("last", "_JOINS", lambda a, b: b),
    "last keeps its own on a tie": in_table("last", "_JOINS", lambda a, b: b if b[0] > a[0] else a),
    "tasks intersect": in_table("tasks", "_JOINS", lambda a, b: a & b),
    "count counts events": in_table("count", "_ELEMENTS", lambda value, event: (1, 1)),
    "sum forgets": in_table("sum", "_JOINS", lambda a, b: b),
    "an older epoch joins": in_table("epoch", "_JOINS", lambda a, b: a),
    "finite is the latter": in_place("least_bound", lambda order, a, b: b),
    "a range lacks its end": in_place(
        "task_set", lambda text: frozenset(range(int(text[0]), int(text[-1])))
    ),
    "1 is 1.0": in_place("rank", lambda value: (0, str(float(value) if value == 1 else value))),
    "a key is not compound": in_place(
        "row_key", lambda key, event: None if isinstance(key, list) else str(model.read(key, event))
    ),
}


class DropsAnEvent(small_hub.SmallHub):
    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        events = list(events)
        return super().ingest(batch_id, events[: max(1, len(events) - 1)])


class TellsARowTooFew(small_hub.SmallHub):
    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        page = super().pull(gid, cursor, limit=limit)
        for rows in page["facts"].values():
            if len(rows) > 1:
                rows.pop(min(rows))
        return page


class Registers(small_hub.SmallHub):
    """Registers other rules than it was given."""

    def generator(self, gid: str, rules: Json, **more: Json) -> Json:
        return super().generator(gid, [self.changed(rule) for rule in rules], **more)

    def changed(self, rule: Json) -> Json:
        raise NotImplementedError


class AddsInsteadOfJoining(Registers):
    def changed(self, rule: Json) -> Json:
        text = json.dumps(rule)
        return json.loads(text.replace('{"max": "$spec.i"}', '{"sum": "$spec.i"}'))


class IgnoresConditions(Registers):
    def changed(self, rule: Json) -> Json:
        return {key: value for key, value in rule.items() if key != "where"}


class KeepsTheLeast(Registers):
    def changed(self, rule: Json) -> Json:
        return json.loads(json.dumps(rule).replace('{"max": "$spec', '{"min": "$spec'))


class StampsByArrival(small_hub.SmallHub):
    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        return super().ingest(batch_id, [event | {"at": self.head} for event in events])


class LosesEmptyText(small_hub.SmallHub):
    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        text = json.dumps(list(events)).replace('"s": "", ', "").replace('"s": ""', "")
        return super().ingest(batch_id, json.loads(text.replace(", }", "}")))


IN_THE_ENGINE = [
    DropsAnEvent,
    TellsARowTooFew,
    AddsInsteadOfJoining,
    IgnoresConditions,
    KeepsTheLeast,
    StampsByArrival,
    LosesEmptyText,
]


@pytest.mark.parametrize("bug", IN_THE_MODEL.values(), ids=IN_THE_MODEL)
def test_a_bug_in_the_model_is_found(
    bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is wrong where nobody looks would make the engine wrong there too."""
    bug(monkeypatch)
    assert is_found()


@pytest.mark.parametrize("broken", IN_THE_ENGINE)
def test_a_bug_in_the_engine_is_found(broken: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the model is for."""
    monkeypatch.setattr(laws, "SmallHub", broken)
    assert is_found()
