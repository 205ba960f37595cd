"""Makes the runtime of a command, and closes it when the command ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from relay.store.server.availability import leaving_out_longer
from relay.wiring.runtime import Runtime, cli_runtime

if TYPE_CHECKING:
    from relay.settings import Settings


def command_runtime(settings: Settings) -> Runtime:
    """Return a runtime for the command that runs now; its connections are closed when the command ends."""
    runtime = cli_runtime(settings)
    context = click.get_current_context()
    context.with_resource(leaving_out_longer())
    context.call_on_close(runtime.close)
    return runtime
