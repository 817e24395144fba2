"""A real Hub answers as its OpenAPI document says, whatever it is asked.

schemathesis derives the questions from the document: values at every edge of every schema, and
just past it; with `HPC_FUZZ=100` (`make fuzz`) also random ones, and rows of requests that use what
others answered. What it cannot know of the Hub stands in schemathesis_hooks.py, which checks are
left out, and why, in schemathesis.toml.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hpc.access import read_access
from hpc.errors import Refused
from hpc.testing.processes import Cluster
from hpc.transport.openapi import document

TIMES = int(os.environ.get("HPC_FUZZ", "1"))
PHASES = ("examples", "coverage", *(("fuzzing", "stateful") if TIMES > 1 else ()))
JSON = "application/json"
HERE = Path(__file__).parent
PATHS = msgspec.json.decode(document())["paths"]
UNTOLD = {"at", "from", "to", "job_id", "none"}
"""Parameters that are taken off a query before the engine reads it, or put into it."""

FILES = {"/ui", "/ui/static/{path}"}
"""A browser's, whose query is not looked at: proxies add their own."""

pytestmark = pytest.mark.timeout(0 if TIMES > 1 else 120, method="thread")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Hub. It has no relay: a command that is made up must run nowhere."""
    with Cluster(tmp_path, lease_s=30.0) as running:
        yield running


def test_a_hub_is_as_its_document_says_and_stays_so(cluster: Cluster) -> None:
    """Clients are generated from the document; and whoever may ask may ask for anything."""
    access = read_access(cluster.home)
    hub = cluster.hub
    assert access is not None
    assert hub is not None
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(HERE / "schemathesis.toml")),
            *("run", f"{access.url}/schema", "--phases", ",".join(PHASES)),
            *("--seed", "1" if TIMES == 1 else str(int.from_bytes(os.urandom(4)))),
            *("--max-examples", str(TIMES), "--no-color"),
        ],
        env={
            **cluster.env,
            "HPC_TOKEN": access.token,
            "HPC_FUZZ_HOOKS": str(HERE / "schemathesis_hooks.py"),
            "PYTHONPATH": str(HERE.parent),
        },
        cwd=cluster.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout + asked.stderr
    # One that asks nothing finds nothing.
    cases = re.search(r"(\d+) generated", asked.stdout)
    assert cases is not None
    assert int(cases[1]) > 1000
    assert "Selected: 27/28" in asked.stdout

    assert cluster.client().submit(["true"], key="last").info()["state"] == "queued"
    assert hub.terminate() == 0
    assert "Traceback" not in hub.log.read_text()
    verified = subprocess.run(
        [sys.executable, "-m", "hpc", "log", "verify"],
        env=cluster.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


def test_the_document_has_every_parameter_that_a_route_takes(cluster: Cluster) -> None:
    """A refusal of a parameter that is not known names those that are."""
    http = cluster.http()
    for path, methods in PATHS.items():
        for method, said in methods.items():
            if path in FILES:
                continue
            told = {one["name"] for one in said["parameters"] if one.get("in") == "query"}
            query = "from=0&no_such_parameter=1" if "from" in told else "no_such_parameter=1"
            kind = next(iter(said.get("requestBody", {}).get("content", [JSON])))
            target = f"{path}?{query}".replace("{job_id}", "1")
            with pytest.raises(Refused) as refused:
                http.request(method.upper(), target, b"{}", content_type=kind)
            text = f"{refused.value}; {refused.value.hint}"
            known = re.search(r"known(?: are|:)([^;`]*)", text)
            assert known is not None, text
            names = set(re.findall(r"\w+", known[1].partition(", got")[0]))
            assert names - UNTOLD == told - UNTOLD, path
