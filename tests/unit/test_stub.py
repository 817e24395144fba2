"""The hand-written stub of the extension against the module that was built.

mypy believes the stub, so a signature that has moved in Rust would be found by a user first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# One line for each difference that is meant, with the reason behind it.
ALLOWED = {
    r"hpc\._core\.__all__": "PyO3 lists there what it exports; nobody imports an extension by `*`",
}


def test_the_stub_says_what_the_module_is(tmp_path: Path) -> None:
    """Names, arguments, defaults and properties are those of the built extension."""
    allowed = tmp_path / "allowed.txt"
    allowed.write_text("".join(f"{name}  # {reason}\n" for name, reason in ALLOWED.items()))
    command = [sys.executable, "-m", "mypy.stubtest", "hpc._core", "--allowlist", str(allowed)]
    checked = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
