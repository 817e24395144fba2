"""Entry point of the command `hpc`; answers `--version` before anything heavy is imported."""

from __future__ import annotations

import gc
import sys

from hpc._core import __version__


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        print(f"hpc {__version__}")
        return
    # What is loaded here stays: to look through it for cycles again and again costs a twentieth of
    # a command. `tree.main` has the collector look from when the command is built.
    gc.disable()
    try:
        from hpc.cli.tree import run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:  # while modules were loaded
        sys.exit(130)


if __name__ == "__main__":
    main()
