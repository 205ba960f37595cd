"""``relay keys``: API keys of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group
from rich.text import Text

from relay.cli.output import facts_of, moment, safe, screened, table_of
from relay.cli.parameters import plugin_option
from relay.runtime import cli_runtime
from relay.settings import Settings
from relay.store.keys import SCOPES, origin_fault
from relay.text.moments import rfc3339

if TYPE_CHECKING:
    from pathlib import Path

    from relay.cli.output import Screen
    from relay.store.keys import ApiKey


class OriginType(click.ParamType[str]):
    """An allowed origin, exactly as browsers write it."""

    name = "origin"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The origin itself; a usage error if no browser would send it."""
        fault = origin_fault(value)
        if fault is not None:
            self.fail(f"an origin {fault}", param, ctx)
        return str(value)


_COLUMNS: Final = ("id", "plugin", "scopes", "origins", "ends in", "created (UTC)", "revoked")
_BROWSER: Final = "A key in a browser can be read by its user: it names the plugin, it proves nothing about the user."


@click.group()
def keys() -> None:
    """API keys: make them, list them, revoke them."""


@keys.command()
@plugin_option()
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="What the key may do.")
@click.option(
    "--origin",
    "origins",
    type=OriginType(),
    multiple=True,
    help="A web origin whose pages may use it, exactly: https://app.example.com. May be given several times.",
)
@screened
def create(screen: Screen, data_dir: Path, plugin: str, scopes: tuple[str, ...], origins: tuple[str, ...]) -> None:
    """Make a key. Its text is shown now and never again."""
    runtime = cli_runtime(Settings.for_command(data_dir))
    text, key = runtime.api_keys.create(plugin, set(scopes), set(origins))
    made = {"id": key.id, "key": text, "plugin": key.plugin, "scopes": _scopes(key), "origins": sorted(key.origins)}
    screen.show(made, lambda: Group(facts_of(made.items()), Text(f"\nKeep it: only its hash is stored. {_BROWSER}")))


@keys.command("list")
@plugin_option(required=False)
@screened
def list_keys(screen: Screen, data_dir: Path, plugin: str | None) -> None:
    """The keys of a plugin, or of all. A key shows the last four characters of its secret."""
    found = cli_runtime(Settings.for_command(data_dir)).api_keys.list(plugin)
    rows = [_row(key) for key in found]
    screen.show(rows, lambda: table_of(_COLUMNS, (_line(row) for row in rows)))


@keys.command()
@click.argument("key_id", metavar="ID")
@screened
def revoke(screen: Screen, data_dir: Path, key_id: str) -> None:
    """End a key for good; every process refuses it within a second."""
    key = cli_runtime(Settings.for_command(data_dir)).api_keys.revoke(key_id)
    screen.show(_row(key), lambda: Text(safe(f"Key {key.id} of plugin {key.plugin} is revoked.")))


def _line(row: dict[str, Any]) -> list[object]:
    names = ("id", "plugin", "scopes", "origins", "last4")
    return [*(row[name] for name in names), moment(row["createdAt"]), row["revoked"]]


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "plugin": key.plugin,
        "scopes": _scopes(key),
        "origins": sorted(key.origins),
        "last4": key.last4,
        "createdAt": rfc3339(key.created_at_ms),
        "revoked": key.revoked,
    }


def _scopes(key: ApiKey) -> list[str]:
    """In the order in which the documentation names them."""
    return [scope for scope in SCOPES if scope in key.scopes]
