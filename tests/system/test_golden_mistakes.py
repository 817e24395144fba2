"""The likeliest mistakes, and what is said of each: by the real command, to a real Hub.

What is said stands in `tests/golden/`, as text and as JSON, with placeholders for what differs from
run to run. `HPC_GOLDEN=write` writes these files anew; look at the difference before committing it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import COMMAND_S_MAX, HEEDING

from hpc import __version__
from hpc.client import Client
from hpc.testing.processes import Cluster, until

GOLDEN = Path(__file__).parents[1] / "golden"
WRITES = os.environ.get("HPC_GOLDEN") == "write"
PROGRAM = [sys.executable, "-m", "hpc"]
OTHER_VERSION = [
    sys.executable,
    "-c",
    "from hpc.transport import http_client; http_client.PROTOCOL = '2'\n"
    "from hpc.cli.tree import run; run()",
]
"""The same command, as if it spoke another protocol."""

EATS = "held = bytearray(200 << 20); import time; time.sleep(60)"

WRITES_ON = "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo epoch $n; done; exec /bin/sleep 60"

HIDDEN = {
    "at", "attempts", "batch_id", "counts", "cursor", "id", "resources", "seq", "spec",
}  # fmt: skip
"""Members of JSON that say nothing of the mistake."""

LAB = {"schema": {"Said": [{"key": "i", "expected_type": "Int"}]}}
RULE = {"on": "Said", "table": "t", "key": "$ctx.name", "join": {"said": {"once": "$spec.i"}}}


class Place(NamedTuple):
    """Where the mistakes are made.

    Attributes:
        bin: A folder with one program, `python`: the PATH of what is submitted.
        closed: A port of which nobody listens.
    """

    cluster: Cluster
    client: Client
    bin: Path
    closed: int


class Mistake(NamedTuple):
    """What is typed.

    Attributes:
        json_words: With `--json` this instead, where the command prints no such object.
        env: Beside what the Hub needs to be found; `{...}` is filled in from the place.
    """

    words: tuple[str, ...]
    json_words: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    program: list[str] = PROGRAM


def mistake(line: str, json_line: str = "", **more: Any) -> Mistake:
    """A mistake by its command line, where no word of it has a blank."""
    return Mistake(tuple(line.split()), tuple(json_line.split()), **more)


MISTAKES = {
    "01_no_hub": mistake("status", env={"HPC_HUB_URL": "http://127.0.0.1:{closed}"}),
    "02_port_taken": mistake("hub --port {port}", env={"HPC_HOME": "{folder}/another"}),
    "03_unknown_namespace": mistake("submit --ns bach -- true"),
    "03b_unknown_namespace_of_a_list": mistake("job list --ns bach"),
    "04_missing_field": mistake('submit --spec {{"command":"true","cpu":1}}'),
    "05_wrong_type": mistake('submit --spec {{"command":"true","cpu":"two","memory":64}}'),
    "05b_wrong_flag": mistake("submit --cpu two -- true"),
    "05c_unknown_field": mistake('submit --spec {{"command":"x","cpus":1,"cpu":1,"memory":1}}'),
    "06_more_than_any_relay": mistake("submit --key wide --cpu 64 -- true", "job info wide"),
    "07_no_relay": mistake("submit --key early --ns lab2 --spec {{}}", "job why early"),
    "08_command_not_found": mistake("submit --wait --key typo -- pyhton", "job wait typo"),
    "09_out_of_memory": Mistake(
        ("submit", "--wait", "--key", "eats", "--memory=32M", "--", sys.executable, "-c", EATS),
        ("job", "wait", "eats"),
    ),
    "10_time_limit": Mistake(
        ("submit", "--wait", "--key", "slow", "--time-limit=1s", "--", "/bin/sh", "-c", WRITES_ON),
        ("job", "wait", "slow"),
    ),
    "11_relay_lost": mistake("job info stranded"),
    "12_same_key": mistake("submit --key once -- false"),
    "12b_conflict": mistake("conflicts"),
    "13_bad_token": mistake("status", env={"HPC_TOKEN": "wrong"}),
    "14_other_version": mistake("status", program=OTHER_VERSION),
    "15_ambiguous_id": mistake("job info sweep"),
    "15b_unknown_job": mistake("job info strandd"),
    "15c_unknown_command": mistake("jbo list"),
    "15d_unknown_verb": mistake("job lst"),
    "15e_unknown_flag": mistake("job list --sate queued"),
    "15g_unknown_state": mistake("job list --state runing"),
    "15f_unknown_node": mistake("node drain n11"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A Hub at which these mistakes can be made: two relays, one of them dead with what it ran."""
    folder = tmp_path_factory.mktemp("golden")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    with Cluster(folder, lease_s=3.0, hub=("--reclaim", "1h")) as cluster:
        client = cluster.client()
        for ns_id in ("lab", "lab2"):
            client.control({"type": "RegisterNamespace", "ns_id": ns_id, "spec": _namespace(ns_id)})
        client.control(
            {
                "type": "RegisterGenerator",
                "gid": "lab",
                "spec": {"namespaces": ["lab"], "rules": [RULE]},
            }
        )
        for value in (1, 2):
            ctx = {"ns_id": "lab", "name": "twice"}
            client.ingest([{"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": value}}}])
        far = cluster.relay("n2")
        client.submit(["sleep", "60"], key="stranded")
        until(lambda: client.info("stranded")["state"] == "running")
        far.kill()
        cluster.relay("n1")
        for key in ("once", "sweep-1", "sweep-2"):
            client.submit(["true"], key=key, hold=True)
        until(lambda: {row["node_id"]: row["state"] for row in client.nodes()}["n2"] != "up")
        yield Place(cluster, client, folder / "bin", closed)


def _namespace(ns_id: str) -> dict[str, Any]:
    """`lab` has a kind whose values contradict each other; to `lab2` jobs can be submitted."""
    return LAB if ns_id == "lab" else {"schema": {"SubmitJob": []}}


def ran(place: Place, made: Mistake, *, as_json: bool) -> subprocess.CompletedProcess[str]:
    """What became of it."""
    names = {"closed": place.closed, "port": place.cluster.port, "folder": place.cluster.folder}
    words = [word.format_map(names) for word in made.words] if made.words else []
    if as_json and made.json_words:
        words = list(made.json_words)
    if as_json:
        words.insert(words.index("--") if "--" in words else len(words), "--json")
    env = {name: value.format_map(names) for name, value in made.env.items()}
    return subprocess.run(
        [*made.program, *words],
        env={**place.cluster.env, "PATH": str(place.bin), **env},
        cwd=place.cluster.folder,
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def hidden(place: Place, text: str) -> str:
    """The same with placeholders for what differs from run to run, and from machine to machine."""
    for found, shown in (
        (str(place.cluster.folder), "FOLDER"),
        (sys.executable, "PYTHON"),
        (re.escape(__version__), "VERSION"),
        (rf"\b({place.closed}|{place.cluster.port})\b", "PORT"),
        (r"\bpid \d+ \([^)]*\)", "pid PID (PROGRAM)"),
        (r"\bheard \d+ s ago", "heard N s ago"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"\b\d+ +TIME", "SEQ TIME"),
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "BATCH"),
    ):
        text = re.sub(found, shown, text)
    return text


def plain(value: Any) -> Any:
    """A JSON value without what says nothing of the mistake."""
    if isinstance(value, dict):
        return {key: "…" if key in HIDDEN else plain(of) for key, of in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def _pretty(text: str) -> str:
    shown = json.dumps(plain(json.loads(text)), indent=1, ensure_ascii=False) if text else ""
    return f"{shown}\n" if shown else ""


def told(place: Place, done: subprocess.CompletedProcess[str], *, as_json: bool) -> str:
    """Exit code and both streams, as they stand in a golden file."""
    out, err = done.stdout, done.stderr
    if as_json:
        out, err = _pretty(out), _pretty(err)
    return hidden(place, f"exit code {done.returncode}\n-- stdout\n{out}-- stderr\n{err}")


@pytest.mark.parametrize("form", ["txt", "json"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_as_it_was(place: Place, name: str, form: str) -> None:
    """A message is what a user has; it changes by intent and never by accident."""
    is_json = form == "json"
    text = told(place, ran(place, MISTAKES[name], as_json=is_json), as_json=is_json)
    file = GOLDEN / f"{name}.{form}"
    if WRITES:
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
    assert "Traceback" not in text


def test_a_wait_that_is_interrupted_leaves_the_job_alone(place: Place) -> None:
    """Who presses Ctrl-C is told what goes on, and how to end it."""
    with subprocess.Popen(
        [*HEEDING, "job", "wait", "stranded"],
        env=place.cluster.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        first = waiting.stderr.readline()  # it looks at the job after some seconds, and so waits
        waiting.send_signal(signal.SIGINT)
        _, rest = waiting.communicate(timeout=COMMAND_S_MAX)
    assert waiting.returncode == 130
    assert hidden(place, first) == (
        "note: job stranded is running on n2, which is unreachable since TIME: it goes on there, "
        "or runs elsewhere once that is given up (now: hpc node lost n2)\n"
    )
    assert rest == "detached; job stranded goes on. cancel it: hpc job cancel stranded\n"
    assert place.client.info("stranded")["state"] == "running"


def test_every_golden_file_has_its_mistake() -> None:
    """One that nobody compares with says nothing."""
    named = {f"{name}.{form}" for name in MISTAKES for form in ("txt", "json")}
    assert {path.name for path in GOLDEN.iterdir()} == named
