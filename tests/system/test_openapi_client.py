"""A client that a public generator makes of the OpenAPI document runs jobs, and is told of them.

The generator is installed beside the tests, and not with them: it needs an older typer than ours.
Without a package index that answers, this is skipped.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc.access import read_access
from hpc.testing.processes import Cluster
from hpc.transport.openapi import document

GENERATOR = "openapi-python-client==0.29.1"
INSTALL_S_MAX = 60


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the generator is found."""
    folder = tmp_path_factory.mktemp("generator")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--retries", "0"]
    try:
        installed = subprocess.run(
            [*pip, "--target", str(folder), GENERATOR],
            capture_output=True,
            text=True,
            timeout=INSTALL_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{GENERATOR} was not installed within {INSTALL_S_MAX} s")
    if installed.returncode != 0:
        pytest.skip(f"{GENERATOR} cannot be installed here: {installed.stderr[-500:]}")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it formats by ruff
    return {**os.environ, "PYTHONPATH": str(folder), "PATH": tools}


def generated(env: dict[str, str], folder: Path) -> None:
    """Generate the package `hub_client` in a folder, of all that the generator knows."""
    (folder / "hub.json").write_bytes(document())
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate"),
            *("--path", "hub.json", "--output-path", "hub_client", "--meta", "none"),
        ],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    # The second form of the three bodies in JSON, and figures as text: all that it may leave out.
    left_out = re.findall(r"Unsupported content[ _]type ([^\s)]+)", said)
    assert set(left_out) == {"application/msgpack", "application/openmetrics-text"}, said
    assert len(left_out) == said.count("WARNING"), said


def test_a_client_generated_from_the_document_works(
    generator: dict[str, str], cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It submits, waits, lists, cancels, and reads a refusal, all by types of the document."""
    generated(generator, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    hub_client: Any = importlib.import_module("hub_client")
    models: Any = importlib.import_module("hub_client.models")
    routes = {
        name: importlib.import_module(f"hub_client.api.{tag}.{name}")
        for tag, names in {
            "verbs": ("ingest", "pull"),
            "reads": ("get_job", "get_job_log", "list_jobs", "list_nodes"),
        }.items()
        for name in names
    }
    access = read_access(cluster.home)
    assert access is not None
    client = hub_client.AuthenticatedClient(access.url, access.token)

    def call(name: str, *words: str, **named: Any) -> Any:
        return routes[name].sync(*words, client=client, **named)

    def send(kind: str, job_id: str, **spec: object) -> Any:
        ctx = models.Ctx(ns_id="batch", job_id=job_id)
        payload = models.Payload(ctx=ctx, spec=models.PayloadSpec.from_dict(spec))
        event = models.Event(kind=kind, payload=payload)
        return call("ingest", body=models.Batch(events=[event], id=f"{kind}-{job_id}"))

    cluster.relay("n1")
    mark = tmp_path / "mark"
    receipt = send("SubmitJob", "made", command=f"echo it ran | tee {mark}", cpu=1, memory=64)
    job = call("get_job", "made", wait=60.0).data
    log = routes["get_job_log"].sync_detailed("made", client=client).content
    sleeping = send("SubmitJob", "sleeps", command="sleep 600", cpu=1, memory=64)
    cancelled = send("CancelJob", "sleeps", reason="enough")
    ended = call("get_job", "sleeps", wait=60.0).data
    refused = send("SubmitJob", "wrong", command="true", cpu="two", memory=64)
    unknown = call("get_job", "none")
    (node,) = call("list_nodes").data
    page = call("list_jobs", state=models.State.CANCELLED)
    facts = call("pull", gid="kernel", table="jobs")

    assert (receipt.jobs, receipt.duplicate) == (["made"], False)
    assert (job.state, job.attempts[0].exit_code) == (models.State.SUCCEEDED, 0)
    assert mark.read_text() == "it ran\n"
    assert log == b"it ran\n"
    assert sleeping.first_seq < cancelled.first_seq
    assert (ended.state, ended.settled[0].reason) == (models.State.CANCELLED, "enough")
    assert isinstance(refused, models.Problem)
    assert (refused.status, refused.errors[0].field) == (422, "spec.cpu")
    assert unknown.code == models.ProblemCode.NOT_FOUND
    assert (node.node_id, node.state) == ("n1", models.NodeState.UP)
    assert [one.job_id for one in page.data] == ["sleeps"]
    assert set(facts.facts["jobs"].additional_keys) == {"made", "sleeps"}
