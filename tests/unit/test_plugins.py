"""Plugins are found by entry point; a broken one of somebody else's is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpc import plugins
from hpc.errors import NotFound, UsageError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages, with a distribution that brings two broken namespaces."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hpc.namespaces]\nabsent = no_such_module_here:X\nnumber = math:pi\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_what_ships_is_found() -> None:
    """An installed hpc is whole."""
    assert {"memory", "sqlite"} <= set(plugins.names(plugins.STORAGE))
    assert {"calls", "none", "process"} <= set(plugins.names(plugins.HANDLERS))
    assert "http" in plugins.names(plugins.TRANSPORT)
    assert plugins.namespace("batch").namespace.handler_type == "process"
    assert callable(plugins.storage("memory"))


def test_a_name_that_nobody_brings_lists_those_that_are_there() -> None:
    """A typo is mended without looking anything up."""
    with pytest.raises(NotFound, match="known: memory, sqlite"):
        plugins.storage("sqlit")


@pytest.mark.usefixtures("installed")
def test_a_broken_namespace_is_named_and_left_out() -> None:
    """Somebody else's package must not keep the Hub from starting."""
    found = plugins.namespaces()
    assert {"batch", "calls", "monitor"} <= {one.namespace.ns_id for one in found.namespaces}
    told = "\n".join(found.problems)
    assert "`absent` of hpc.namespaces (no_such_module_here:X of broken)" in told
    assert "`number` of hpc.namespaces must be an object with `namespace`" in told


@pytest.mark.usefixtures("installed")
def test_a_broken_plugin_that_was_asked_for_is_an_error() -> None:
    """What was asked for by name is never left out silently."""
    with pytest.raises(UsageError, match="ModuleNotFoundError"):
        plugins.namespace("absent")
