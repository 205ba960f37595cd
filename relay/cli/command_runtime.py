"""What a command is made of, until it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from relay.runtime import Runtime, cli_runtime

if TYPE_CHECKING:
    from relay.settings import Settings


def command_runtime(settings: Settings) -> Runtime:
    """Wire the runtime of the command that runs now; its connections end with the command."""
    runtime = cli_runtime(settings)
    click.get_current_context().call_on_close(runtime.close)
    return runtime
