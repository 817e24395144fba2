"""What a Hub and a relay with jobs of every kind answer is as the OpenAPI document says.

tests/fuzz/test_openapi_fuzz.py asks far more, of a Hub where nothing runs.
"""

from __future__ import annotations

from typing import Any

import msgspec
from closed import close
from jsonschema import Draft202012Validator

from hpc.testing.processes import Cluster
from hpc.transport.openapi import document

CLAIM = {
    "node_id": "n2",
    "host": "h",
    "place": "p",
    "session": "s1",
    "epoch": 1,
    "n": 1,
    "ns": ["batch"],
    "resources": {"cpus": 64, "memory_mib": 64_000},
}
TWICE = {
    "namespaces": ["batch"],
    "rules": [
        {"on": "SubmitJob", "table": "all", "key": "any", "join": {"cwd": {"once": "$spec.cwd"}}}
    ],
}
ASKED = {
    "/jobs": "JobPage",
    "/jobs/good": "JobAnswer",
    "/jobs/bad": "JobAnswer",
    "/jobs/good/tasks": "TaskPage",
    "/jobs/bad/tasks": "TaskPage",
    "/jobs/ended/tasks": "TaskPage",
    "/jobs/large/why": "WhyAnswer",
    "/nodes": "NodePage",
    "/namespaces": "NamespacePage",
    "/tokens": "TokenPage",
    "/events?limit=10000": "EventPage",
    "/explain?gid=kernel&table=jobs&key=good&column=succeeded": "Explained",
    "/explain?gid=kernel&table=nodes&key=n1&column=drained": "Explained",
    "/explain?gid=twice&table=all&key=any&column=cwd&why_not=true": "Explained",
    "/conflicts": "ConflictPage",
    "/diff?from=0": "Diff",
    "/pull?gid=kernel": "Facts",
    "/pull?gid=twice&cursor=9999": "Facts",
    "/healthz?full=true": "Health",
}


def as_told(name: str, answer: Any) -> None:
    """Fail if an answer is not of a schema, closed."""
    whole = msgspec.json.decode(document())
    close(whole["components"]["schemas"])
    schema = {"$ref": f"#/components/schemas/{name}", "components": whole["components"]}
    wrong = list(Draft202012Validator(schema).iter_errors(answer))
    assert not wrong, f"{name}: {wrong[0].json_path}: {wrong[0].message}"


def test_every_answer_about_jobs_is_as_the_document_says(cluster: Cluster) -> None:
    """A generated client fails on a field that is missing, and lacks one that is not told."""
    cluster.relay("n1")
    client, http = cluster.client(), cluster.http()

    def post(path: str, **body: Any) -> Any:
        return http.post(path, body).json()

    as_told("Registered", post("/control", type="RegisterGenerator", gid="twice", spec=TWICE))
    token = {"role": "read", "sha256": "0" * 64, "label": "l"}
    as_told("Registered", post("/control", type="RegisterToken", token_id="abcdefgh", spec=token))
    good = client.submit(["true"], key="good", tasks="0-2", cwd="/")
    bad = client.submit(["false"], key="bad", cwd="/tmp")
    ended = client.submit(["sleep", "600"], key="ended", name="long")
    for job in (good, bad):
        job.wait()
    ended.cancel(reason="enough")
    ended.wait()
    client.submit(["true"], key="behind", after=["bad"])
    client.submit(["true"], key="large", cpu=64)
    drained = {"kind": "NodeDrained", "payload": {"ctx": {"node_id": "n1"}, "spec": {}}}
    as_told("Receipt", post("/ingest", events=[drained]))

    for path, name in ASKED.items():
        as_told(name, http.get(path).json())
    grants = post("/claim", **CLAIM)
    assert [grant["job_id"] for grant in grants["grants"]] == ["large"]
    as_told("Grants", grants)
    as_told("NodePage", http.get("/nodes").json())
    (conflict,) = http.get("/conflicts").json()["data"]
    assert conflict["values"] == ["/", "/tmp"]
