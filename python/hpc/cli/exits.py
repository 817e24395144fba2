"""Exit codes that come of what happens to this process, and not of an error (see tree.py)."""

from __future__ import annotations

from typing import Final

RUN_FAILED: Final = 125
"""Of `hpc run`: we have failed, not the command."""

HUNG_UP: Final = 129
"""128 + SIGHUP: its terminal was closed."""

INTERRUPTED: Final = 130
"""128 + SIGINT."""

READER_GONE: Final = 141
"""128 + SIGPIPE: nobody reads its output any more."""

TERMINATED: Final = 143
"""128 + SIGTERM."""
