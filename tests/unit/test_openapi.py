"""The OpenAPI document: whole, valid, and of the same words as the sources."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from openapi_spec_validator import OpenAPIV31SpecValidator

from hpc.testing.small_hub import SmallHub
from hpc.transport.authorisation import ROUTES
from hpc.transport.openapi import document
from hpc.transport.openapi_refusals import REFUSALS

ROOT = Path(__file__).parents[2]
DOCUMENT = msgspec.json.decode(document())
OPERATIONS: dict[tuple[str, str], dict[str, Any]] = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
RAISED = re.compile(r"""\bproblem\(\s*(\d{3}),\s*"(\w+)"|\bProblem::new\(\s*(\d{3}),\s*"(\w+)\"""")
BY_CLASS = {
    (503, "storage"),
    (503, "storage_damaged"),
    (503, "storage_foreign"),
    (503, "storage_locked"),
    (400, "bad_request"),
    (404, "not_found"),
    (422, "not_well_formed"),
}
"""Codes that are raised by an error's class, or by a function of the engine's own."""


def test_the_document_is_valid_openapi() -> None:
    """Generators refuse what is not, each in its own way."""
    assert [str(error) for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []


def test_every_route_is_described_by_its_method_and_no_other_is() -> None:
    """A route that comes or goes without the document fails here."""
    assert set(OPERATIONS) == {
        (method, path) for path, rule in ROUTES.items() for method in rule.methods
    }


def test_only_what_is_open_says_that_it_needs_no_token() -> None:
    """A generated client sends none where the document says so."""
    is_open = {path for (_, path), said in OPERATIONS.items() if "security" in said}
    assert is_open == {path for path, rule in ROUTES.items() if rule.is_open or rule.is_page}


def test_every_code_that_is_raised_stands_in_the_document_beside_its_status() -> None:
    """Programs decide by codes."""
    sources = [*ROOT.glob("python/hpc/**/*.py"), *ROOT.glob("rust/hpc-core/src/**/*.rs")]
    found = [match for source in sources for match in RAISED.findall(source.read_text("utf-8"))]
    raised = {(int(a or c), b or d) for a, b, c, d in found}

    told = {(status, code) for status, refusal in REFUSALS.items() for code in refusal.codes}
    assert len(found) > 30
    assert told == raised | BY_CLASS


def test_ctx_has_the_fields_that_the_engine_knows() -> None:
    """`hold`, `after` and its kin were missing once."""
    event = {"kind": "SubmitJob", "payload": {"ctx": {"no_such_field": 1}, "spec": {}}}
    status, answer = SmallHub().offer("b1", [event])

    (error,) = [error for error in answer["errors"] if error["field"] == "ctx.no_such_field"]
    fields = error["hint"].removeprefix("known: ").split(", ")
    assert status == 422
    assert sorted(DOCUMENT["components"]["schemas"]["Ctx"]["properties"]) == fields
