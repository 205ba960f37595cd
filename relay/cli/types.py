"""``relay webhooks types``: the types of a plugin's webhooks, for editors and compilers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.names import check_plugin
from relay.cli.parameters import plugin_option
from relay.declarations.calls import calls_of
from relay.declarations.python import python_of
from relay.declarations.typescript import typescript_of

if TYPE_CHECKING:
    from relay.cli.output import Screen

_LANGUAGES: Final = {"ts": typescript_of, "python": python_of}


@click.command()
@plugin_option()
@click.option(
    "--language",
    type=click.Choice(list(_LANGUAGES)),
    default="ts",
    show_default=True,
    help="TypeScript (`webhooks.d.ts`, to be put beside webhooks.js), or a module for Python.",
)
@acting(Act.WEBHOOK_SHOW)
def types(screen: Screen, plugin: str, language: str) -> None:
    """Write the types of a plugin's webhooks to standard output.

    With them an editor completes ids, headers, queryParams and data, and a call that does not fit fails to compile.
    """
    runtime = command_runtime()
    check_plugin(runtime, plugin)
    runtime.audit_writer.write(Act.WEBHOOK_SHOW, plugin=plugin)
    shapes = (each.shape for each in runtime.registry.shapes(plugin))
    text = _LANGUAGES[language](plugin, calls_of(shapes))
    screen.write({"plugin": plugin, "language": language, "text": text}, text)
