"""docs/reference/ says what the code says: after a change to either, `make reference`."""

from __future__ import annotations

import pytest
import reference_pages


@pytest.mark.parametrize("name", sorted(reference_pages.PAGES))
def test_the_page_says_what_the_code_says(name: str) -> None:
    """A reference that is a week behind is believed all the same."""
    assert (reference_pages.FOLDER / name).read_text("utf-8") == reference_pages.page(name), (
        "stale: make reference"
    )


def test_each_folder_has_the_pages_that_are_made_and_no_others() -> None:
    """One that nobody makes any more would stay for ever."""
    there = {path.name for path in reference_pages.FOLDER.iterdir()}
    assert there == set(reference_pages.PAGES)


def test_every_command_every_kind_and_every_route_is_told() -> None:
    """The tables of the core are read as text, so something must have been found in them."""
    kinds = [row[0].strip("`") for row in reference_pages.kernel_rows()]
    assert len(kinds) == 18
    assert reference_pages.kernel_table("domain/event.rs", "required_ctx")["SetPriority"] == [
        "job_id",
        "priority",
    ]
    page = reference_pages.page("events.md")
    assert "| `JobFinished` | admin, relay |" in page
    assert "`hpc job log`" in reference_pages.page("cli.md")
