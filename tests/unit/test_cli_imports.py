"""What a client command imports: from Enter to prompt it may not take long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from canned_hub import TOKEN, Canned, CannedHub, answer, job

HEAVY = {
    "aiohttp", "apsw", "asyncio", "email", "h11", "http.client", "httptools", "httpx", "litestar",
    "msgspec", "multiprocessing", "psutil", "pydantic", "requests", "rich", "ssl", "textual",
    "urllib.request", "urllib3", "uvicorn", "uvloop", "hpc.config", "hpc.domain", "hpc.hub",
    "hpc.plugins", "hpc.relay", "hpc.storage", "hpc.transport.http_server",
}  # fmt: skip

LISTING = """
import json, sys
from hpc.cli.tree import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted(sys.modules)}))
"""

COMMANDS = [
    ["job", "list"],
    ["job", "info", "7"],
    ["job", "tasks", "7"],
    ["job", "attempts", "7"],
    ["job", "wait", "7"],
    ["job", "log", "7"],
    ["job", "cancel", "7"],
    ["submit", "--", "true"],
    ["submit", "--", "echo", "{}", ":::", "a", "b"],
    ["run", "--", "true"],
    ["node", "list"],
    ["ns", "list"],
    ["pull", "batch"],
    ["events"],
    ["top", "--once"],
    ["timeline", "-o", "-"],
    ["report", "-o", "-"],
    ["conflicts"],
    ["diff", "3", "4"],
    ["open", "--print"],
    ["at", "3", "job", "list"],
    ["--help"],
]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user whose Hub answers everything."""
    with CannedHub() as hub:
        receipt = {"id": "b", "first_seq": 4, "count": 1, "duplicate": False, "jobs": ["7"]}
        page = {"cursor": 4, "data": [], "next": None}
        hub.routes = {
            ("POST", "/ingest"): answer(receipt),
            ("POST", "/ui/codes"): answer({"code": "c", "expires_in": 300}, 201),
            ("GET", "/jobs/7"): answer({"cursor": 4, "data": job()}),
            ("GET", "/jobs/7/log"): Canned(body=b"out\n"),
            ("GET", "/jobs/7/tasks"): answer(page),
            ("GET", "/pull"): answer({"gid": "batch", "cursor": 4, "facts": {}, "more": False}),
            **{("GET", path): answer(page) for path in ("/jobs", "/nodes", "/events")},
            **{("GET", path): answer(page) for path in ("/namespaces", "/conflicts")},
            ("GET", "/healthz"): answer({"hub": "h", "cursor": 4, "totals": {"tasks": {}}}),
            ("GET", "/diff"): answer(
                {"gid": "kernel", "from": 3, "to": 4, "data": {}, "cursor": 4, "more": False}
            ),
        }
        yield {
            **os.environ,
            "HPC_HOME": str(tmp_path_factory.mktemp("home")),
            "HPC_HUB_URL": hub.url,
            "HPC_TOKEN": TOKEN,
        }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_client_command_imports_nothing_heavy(words: list[str], env: dict[str, str]) -> None:
    """Neither the Hub nor anything that it stands on, and no HTTP library at all."""
    ran = subprocess.run(
        [sys.executable, "-c", LISTING, *words],
        env=env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    told = json.loads(ran.stdout.splitlines()[-1])
    loaded = set(told["modules"])
    assert told["code"] == 0, ran.stderr
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("words", [["job", "list"], ["job", "cancel", "7"], ["pull", "batch"]])
def test_only_who_submits_reads_arrays(words: list[str], env: dict[str, str]) -> None:
    """Ranges, entries and placeholders cost time that no other command has use for."""
    ran = subprocess.run(
        [sys.executable, "-c", LISTING, *words],
        env=env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = set(json.loads(ran.stdout.splitlines()[-1])["modules"])
    assert {"hpc.arrays", "hpc.placeholders", "hpc.graphs"} & loaded == set()


def test_a_noun_imports_no_other_noun(env: dict[str, str]) -> None:
    """A command pays for itself only."""
    ran = subprocess.run(
        [sys.executable, "-c", LISTING, "node", "list"],
        env=env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    loaded = set(json.loads(ran.stdout.splitlines()[-1])["modules"])
    nouns = {"submit", "run", "job", "ns", "generator", "pull", "events", "hub", "relay", "monitor"}
    nouns |= {"explain", "conflicts", "diff", "at"}
    assert {f"hpc.cli.{noun}" for noun in nouns} & loaded == set()


def test_the_version_needs_no_command_tree() -> None:
    """The quickest answer of all."""
    listing = (
        "import sys, hpc.__main__ as m; sys.argv = sys.argv[:2]; m.main(); print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", listing, "--version"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    version, modules = ran.stdout.splitlines()
    assert version.startswith("hpc ")
    assert {"typer", "hpc.cli.tree", "json", "socket"} & set(modules.split()) == set()
