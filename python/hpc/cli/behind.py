"""Flags of ours behind the command of `hpc submit` and `hpc run`: they are the command's.

As Slurm and HyperQueue have it; but who typed one may have meant us, and is told. A `--` before the
command says that it was meant so.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

from hpc.cli import output


class BehindCommand(TyperCommand):
    """A command whose last words are a command line of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own
        """Parse as typer does, and say which flag of ours goes to the command."""
        is_said = "--" in args
        rest: list[str] = super().parse_args(ctx, args)
        flags = {flag for parameter in self.params for flag in parameter.opts}
        words = (word.partition("=")[0] for word in (ctx.params.get("words") or ())[1:])
        ours = next((word for word in words if word.startswith("--") and word in flags), None)
        if ours is not None and not is_said:
            output.say(
                f"note: `{ours}` stands behind the command and goes to it; "
                f"before it, it is hpc's: {ctx.command_path} {ours} ... -- CMD"
            )
        return rest
