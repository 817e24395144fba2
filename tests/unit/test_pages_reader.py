"""`tests/pages.py`, which runs the documents: that it sees what is wrong, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pages
import pytest
from hypothesis import given
from hypothesis import strategies as st

PAGE = """Text, and `a.json`:

```json
{"n": 1}
```

*Not run by the tests: it needs a GPU.*

```
hpc run --gpus 1 -- nvidia-smi
```

- A list:

  ```console
  $ echo one \\
    two
  one two
  $ true
  ```
"""


def test_a_page_is_taken_apart(tmp_path: Path) -> None:
    """Files, reasons and commands, also within a list."""
    (page := tmp_path / "page.md").write_text(PAGE)
    file, marked, console = pages.blocks(page)
    assert pages.FILE["json"].search(file.before)
    assert (marked.not_run, console.not_run) == ("it needs a GPU", None)
    assert list(pages.commands(console.text)) == [("echo one \\\n  two", "one two\n"), ("true", "")]
    assert pages.with_something_to_run(tmp_path) == [page]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("", "", True),
        ("", "warning", False),
        ("a  b\nc", "a     b\nc\n", True),
        ("a", "a\nb", False),
        ("took … ms", "took 12 ms", True),
        ("took … ms", "took 12 s", False),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…\nd", "a\nd", True),
        ("a\n…\nd", "a\nb", False),
        ("a\n…", "a", True),
        ("at 2026-11-26T21:38:20.623Z", "at 2027-01-01T00:00:00Z", True),
        ("http://127.0.0.1:8080", "http://127.0.0.1:41", True),
        ('{"a": 1, "b": 2}', '{"b": 2,\n "a": 1}', True),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 3}', False),
    ],
)
def test_what_differs_is_seen(shown: str, printed: str, same: bool) -> None:
    """Ids, times, ports and what is left out may; a word may not."""
    assert pages.is_as_shown(printed, shown) is same


@given(st.text(st.characters(codec="ascii", categories=["L", "P", "S"]), min_size=1))
def test_a_line_is_as_it_is_shown_and_not_as_another(text: str) -> None:
    """Whatever signs of a pattern stand in it."""
    assert pages.is_as_shown(text, text)
    assert not pages.is_as_shown(text + "x", text)


def test_what_a_page_names_is_made_once(tmp_path: Path) -> None:
    """A program that the page has written itself is left as it is."""
    (tmp_path / "fit.py").write_text("mine")
    pages.make_what_it_names("./sim a.txt && python fit.py ::: d/b.txt\n", tmp_path)
    assert (tmp_path / "fit.py").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"fit.py", "sim", "a.txt"}
