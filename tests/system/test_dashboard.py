"""The dashboard of a real Hub: a browser's way in, what it may do there, and how that ends."""

from __future__ import annotations

import http.client
import json
import shlex
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from commands import succeed

from hpc.access import read_access
from hpc.testing.processes import Cluster

ACTION = {"Hpc-Action": "1", "Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}


class Browser:
    """What a browser keeps and sends of its own accord."""

    def __init__(self, url: str) -> None:
        self.url = urlsplit(url)
        self.cookie = ""

    def ask(self, method: str, path: str, document: object = None) -> tuple[int, Any]:
        """Ask as a script of the page does; status and body."""
        assert self.url.port is not None
        sent = dict(ACTION) if method != "GET" else {}
        sent |= {"Origin": f"http://{self.url.netloc}"} if method != "GET" else {}
        sent |= {"Cookie": self.cookie} if self.cookie else {}
        body = None if document is None else json.dumps(document).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", self.url.port, timeout=30)) as http_:
            http_.request(method, path, body, sent)
            answer = http_.getresponse()
            if (cookie := answer.getheader("set-cookie")) is not None:
                self.cookie = cookie.partition(";")[0]
            is_json = "json" in (answer.getheader("content-type") or "")
            said = answer.read()
            return answer.status, json.loads(said) if is_json else said

    def log_in(self) -> int:
        """Do what the page does with the fragment of its URL."""
        code = self.url.fragment.removeprefix("code=")
        return self.ask("POST", "/ui/session", {"code": code})[0]


def test_a_browser_logs_in_once_and_works_as_the_token_until_it_is_revoked(
    cluster: Cluster,
) -> None:
    """The log says who it was; the Hub's own output and its data have nothing that logs in."""
    hub = cluster.hub
    assert hub is not None
    token = succeed(cluster, "token", "create", "--role", "submit").stdout.strip()
    token_id = token.split("_")[2]
    made = subprocess.run(
        [sys.executable, "-m", "hpc", "open", "--print"],
        env={**cluster.env, "HPC_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    url = made.stdout.strip()
    browser, late = Browser(url), Browser(url)
    assert browser.url.path == "/ui/"
    assert browser.ask("GET", "/ui/")[0] == 200
    assert browser.ask("GET", "/jobs")[0] == 401
    assert (browser.log_in(), late.log_in()) == (200, 401)

    event = {
        "kind": "SubmitJob",
        "payload": {
            "ctx": {"ns_id": "batch", "job_id": "fit-1"},
            "spec": {"command": "true", "cpu": 1, "memory": 64},
        },
    }
    assert browser.ask("POST", "/ingest", {"id": "browser/1", "events": [event]})[0] == 200
    assert browser.ask("GET", "/jobs/fit-1")[1]["data"]["state"] == "queued"
    (said,) = browser.ask("GET", "/events?job=fit-1")[1]["data"]
    assert (said["by"]["token"], said["by"]["role"]) == (token_id, "submit")
    assert browser.ask("GET", "/tokens")[1]["code"] == "not_allowed"

    succeed(cluster, "token", "revoke", token_id)
    assert browser.ask("GET", "/jobs")[0] == 401
    for secret in (browser.url.fragment.removeprefix("code="), browser.cookie.partition("=")[2]):
        assert len(secret) > 40
        assert secret not in hub.log.read_text()
        kept = [path for path in cluster.home.rglob("*") if path.is_file()]
        assert kept
        assert all(secret.encode() not in path.read_bytes() for path in kept)


def test_a_session_ends_with_the_hubs_process(cluster: Cluster) -> None:
    """It is in memory alone; the page is told 401 and asks for a code, which it gets again."""
    browser = Browser(succeed(cluster, "open", "--print").stdout.strip())
    assert browser.log_in() == 200
    assert browser.ask("GET", "/nodes")[0] == 200
    hub = cluster.hub
    assert hub is not None
    assert hub.terminate() == 0
    cluster.start_hub()
    again = Browser(succeed(cluster, "open", "--print").stdout.strip())
    again.cookie = browser.cookie
    assert again.ask("GET", "/nodes")[0] == 401
    assert again.log_in() == 200
    assert again.ask("GET", "/nodes")[0] == 200


def test_a_browser_is_told_no_code_on_its_command_line(cluster: Cluster, tmp_path: Path) -> None:
    """Everybody on the machine can read that; the page that it opens is its user's alone."""
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {shlex.quote(str(seen))}\n')
    browser.chmod(0o755)
    opened = subprocess.run(
        [sys.executable, "-m", "hpc", "open"],
        env={**cluster.env, "BROWSER": f"{browser} %s"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    url = opened.stdout.strip()
    assert url.startswith(read_access(cluster.home).url)
    page = Path(urlsplit(seen.read_text().strip()).path)
    assert page.parent == cluster.home
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert f'content="0; url={url}"' in page.read_text()
    assert Browser(url).log_in() == 200
