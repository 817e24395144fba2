"""Entry point of the command `hpc`; answers `--version` before anything heavy is imported."""

from __future__ import annotations

import sys

from hpc._core import __version__


def main() -> None:
    """Run the command line."""
    if sys.argv[1:] == ["--version"]:
        print(f"hpc {__version__}")
        return
    try:
        from hpc.cli.tree import run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:  # while modules were loaded
        sys.exit(130)


if __name__ == "__main__":
    main()
