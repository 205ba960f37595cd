"""The ``relay`` command, for operators and the service desk.

Exit status: 0 done, 1 failed, 2 wrong usage or a bad document. Each command is in the module of its name, which is
imported only when the command is used.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Final

import click

#: Every command, in the order of ``relay --help``; each is the attribute of that name in ``relay.cli.<name>``.
COMMANDS: Final = (
    "up",
    "doctor",
    "settings",
    "webhooks",
    "secrets",
    "keys",
    "trigger",
    "invocations",
    "replay",
    "explain",
    "vault",
    "backup",
    "restore",
    "partitions",
    "functions",
    "audit",
)
DEFAULT_DATA_DIR: Final = Path(".relay")


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List the names, in the order of ``COMMANDS``."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of that name; None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments begin with; raise an error with the nearest name if it is unknown."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="Where `relay up` keeps its files, relay.env among them.",
)
@click.version_option(package_name="webhook-relay", prog_name="relay")
@click.pass_context
def main(ctx: click.Context, data_dir: Path) -> None:
    """Let plugins call third-party endpoints without ever seeing the endpoint's URL or credentials.

    Settings are read from the environment, and those that are not set there from relay.env in the data directory.
    """
    ctx.obj = data_dir
    if sys.stdin is None:  # closed before the start; then it is as good as empty, also for options that read it
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
