"""A namespace from another package, used against a Hub that was already running.

The package is `examples/hello`, installed as a user would, in a virtual environment of its own. The
Hub's environment never has it: what the Hub knows of it came over the wire.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elsewhere import EXAMPLES, Elsewhere

from hpc.errors import NotFound, Refused
from hpc.testing.processes import Cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub in an environment without the example, whoever has installed it here."""
    bare = Elsewhere(tmp_path / "hub-venv", dict(os.environ))
    with Cluster(tmp_path, python=bare.python) as running:
        yield running


@pytest.fixture
def elsewhere(cluster: Cluster, tmp_path: Path) -> Elsewhere:
    """An environment with the example installed, made after the Hub has started."""
    there = Elsewhere(tmp_path / "venv", cluster.env)
    there.install("hello")
    return there


def people(cluster: Cluster) -> dict[str, Any]:
    """The table that the example's generator keeps."""
    with cluster.client() as client:
        facts: dict[str, Any] = client.pull("hello", table="people")["facts"]
    return facts.get("people", {})


def test_a_package_brings_a_namespace_to_a_running_hub(
    cluster: Cluster, elsewhere: Elsewhere
) -> None:
    """The promise of plugins: a new kind of event needs no change and no restart of the Hub."""
    hub = cluster.hub
    assert hub is not None
    found = "import importlib.util; print(importlib.util.find_spec('hpc_hello'))"
    assert subprocess.check_output([cluster.python, "-c", found]) == b"None\n"
    with cluster.client() as client:
        greeting = {"who": "Ada", "words": 2}
        event = {"kind": "Greeted", "payload": {"ctx": {"ns_id": "hello"}, "spec": greeting}}
        with pytest.raises(NotFound, match="hello"):
            client.ingest([event])

        elsewhere.run("-m", "hpc", "ns", "register", "--plugin", "hello")
        elsewhere.run("-m", "hpc_hello", "Ada", "good", "morning")
        printed = elsewhere.run("-m", "hpc_hello", "Ada", "see you tomorrow, then")

        assert printed == "Ada: 2 greetings, 6 words\n"
        row = people(cluster)["Ada"]
        assert (row["greetings"], row["words"], row["longest"]) == (2, 6, 4)

        with pytest.raises(Refused) as refused:
            client.ingest([{**event, "payload": {"ctx": {"ns_id": "hello"}, "spec": {"words": 1}}}])
        assert refused.value.field == "spec.who"
        assert people(cluster)["Ada"] == row

    assert hub.popen.poll() is None, "the Hub that was running before is the one that answered"


def test_the_namespace_outlives_the_hub_that_was_told_of_it(
    cluster: Cluster, elsewhere: Elsewhere
) -> None:
    """Registrations are events: a Hub that starts again knows them without the package."""
    elsewhere.run("-m", "hpc", "ns", "register", "--plugin", "hello")
    elsewhere.run("-m", "hpc_hello", "Ada", "good", "morning")
    before = people(cluster)
    assert cluster.hub is not None
    cluster.hub.kill()
    cluster.start_hub()

    assert people(cluster) == before
    again = elsewhere.run("-m", "hpc", "ns", "register", "--plugin", "hello", "--json")
    assert [answer["duplicate"] for answer in json.loads(again)["data"]] == [True, True]
    assert elsewhere.run("-m", "hpc_hello", "Ada", "hi") == "Ada: 2 greetings, 3 words\n"


def test_the_example_stays_small() -> None:
    """An example that has to be studied is none."""
    lines = (EXAMPLES / "hello" / "hpc_hello.py").read_text("utf-8").splitlines()
    assert len(lines) <= 60
