"""The README, and the pages of `docs/guides/`: what stands there is what happens."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest

PAGES = [
    pages.ROOT / "README.md",
    *pages.with_something_to_run(pages.ROOT / "docs" / "guides"),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_the_page_shows_is_what_happens(page: Path, tmp_path: Path) -> None:
    """A newcomer types it in; a first example that fails is the last one that is read."""
    pages.run(page, tmp_path)
