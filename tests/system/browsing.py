"""A browser for the dashboard: Chromium without a window, logged in as a person would be.

What a page must never do is looked at as every page is left: an error or a violation of the policy
on its console, a request to anywhere else than the Hub that it came from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import axe_playwright_python as axe
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from hpc.testing.processes import Cluster

PATIENCE_MS: Final = 20_000
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")

AXE: Final = (Path(axe.__file__).parent / "axe.min.js").read_text("utf-8")

VIOLATIONS: Final = "addEventListener('securitypolicyviolation', e => console.error(e.blockedURI))"
OF_THE_NETWORK: Final = "Failed to load resource"

HIDE: Final = """() => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""A script after which nobody sees the tab; with `false` in the place of `true` somebody does."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium; a test without it is skipped."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no {', '.join(NAMES)} here: apt-get install chromium")
    # Its sandbox does not work for root, which is who runs tests in a container.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    expect.set_options(timeout=PATIENCE_MS)  # else 5 s, which a slow machine may take
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=args)
        try:
            yield browser
        finally:
            browser.close()


def link(cluster: Cluster, base: str | None = None) -> str:
    """The URL of the dashboard with a code that is good once."""
    code = cluster.http().request("POST", "/ui/codes").json()["code"]
    return f"{base or f'http://127.0.0.1:{cluster.port}'}/ui/#code={code}"


@contextmanager
def looking(
    browser: Browser,
    url: str,
    *,
    network_may_fail: bool = False,
    **options: Any,
) -> Iterator[Page]:
    """Open a URL in a window of its own, and say at its end whether all was as it must be.

    Args:
        browser: What opens it.
        url: With a code, or of a page that asks for one.
        network_may_fail: Whether requests that fail, which the console tells, are part of the test.
        options: Of the window, such as `color_scheme`.
    """
    faults: list[str] = []
    asked: list[str] = []

    def said(message: ConsoleMessage) -> None:
        is_network = message.text.startswith(OF_THE_NETWORK)
        if message.type == "error" and not (network_may_fail and is_network):
            faults.append(message.text)

    context = browser.new_context(**options)
    try:
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(VIOLATIONS)
        page = context.new_page()
        page.on("console", said)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page
        assert faults == [], faults  # told in full: this file is none that pytest rewrites
        here = urlsplit(url).netloc
        assert [one for one in asked if urlsplit(one).netloc not in {here, ""}] == []
    finally:
        context.close()


def show(page: Page, place: str) -> None:
    """Go to a page by its fragment, and wait until it is there."""
    page.evaluate("place => { location.hash = place }", place)
    page.locator(f'main[data-place="{place}"] h1').first.wait_for()
    page.locator(".loading").wait_for(state="detached")


def check_axe(page: Page, place: str, theme: str = "light") -> None:
    """Have axe find nothing wrong with the page, in which `AXE` was run before."""
    # What a theme changes is colours; all else was looked at in the other one.
    rules = {"runOnly": ["color-contrast"]} if theme == "dark" else {}
    options = {"resultTypes": ["violations"], **rules}
    found = page.evaluate("options => axe.run(document, options)", options)
    told = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]
    assert told == [], place
