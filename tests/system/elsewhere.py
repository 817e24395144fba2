"""Another environment: what a user has who installs a package beside hpc."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import hpc

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Elsewhere:
    """A fresh virtual environment that borrows what is installed here, but for the examples."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.env = env
        # Copying hpc and its dependencies would take a network; links do not.
        borrowed = folder / "borrowed"
        borrowed.mkdir()
        ours = tuple(f"hpc_{example.name}" for example in EXAMPLES.iterdir())
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not entry.name.startswith(ours):
                (borrowed / entry.name).symlink_to(entry)
        (own,) = folder.glob("lib/python*/site-packages")
        paths = [borrowed, Path(hpc.__file__).parents[1]]
        (own / "borrowed.pth").write_text("".join(f"{path}\n" for path in paths))

    def install(self, example: str) -> None:
        """Install an example; nothing is downloaded: the build backend is borrowed too."""
        alone = ["--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
        self.run("-m", "pip", "install", *alone, *quiet, os.fspath(EXAMPLES / example))

    def run(self, *words: str) -> str:
        """Run Python there and return what it prints.

        Raises:
            CalledProcessError: It failed; its stderr is shown.
        """
        ran = subprocess.run(
            [self.python, *words],
            env=self.env,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=100,
        )
        return ran.stdout
