"""``relay keys``: API keys of plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.completion import keys_like
from relay.cli.names import check_key, check_new_plugin, check_plugin
from relay.cli.output import EXIT_FAILED, NotShown, Screen, bad, brief, facts_of, lines_of, table_of
from relay.cli.parameters import create_plugin_option, plugin_option, read_duration
from relay.errors import RelayError, Unavailable
from relay.store.api_keys.rules import SCOPES, origin_fault
from relay.store.server.availability import going_on_without
from relay.store.server.errors import adding_sentence
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from relay.store.api_keys.records import ApiKey
    from relay.wiring.runtime import Runtime


def _read_origin(text: str) -> str:
    """Return an allowed origin; raise a usage error if no browser would send it."""
    fault = origin_fault(text)
    if fault is not None:
        raise click.BadParameter(f"an origin {fault}")
    return text


_COLUMNS: Final = ("id", "plugin", "scopes", "last 4", "name", "state", "last used (UTC)")
_BROWSER: Final = "A key in a browser can be read by its user: it names the plugin, but proves nothing about the user."


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


@keys.command()
@plugin_option()
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What the key may do. Can be repeated.",
)
@click.option(
    "--origin",
    "origins",
    type=_read_origin,
    metavar="ORIGIN",
    multiple=True,
    help="A web origin whose pages may use it, exactly: https://app.example.com. Can be repeated.",
)
@click.option("--name", default="", help="A label, to tell keys apart.")
@create_plugin_option
@click.option(
    "--expires", "lifetime_s", type=read_duration, metavar="DURATION", help="How long until it expires: 90d, 12h."
)
@acting(Act.KEY_CREATE)
def create(
    screen: Screen,
    plugin: str,
    scopes: tuple[str, ...],
    origins: tuple[str, ...],
    name: str,
    lifetime_s: float | None,
    *,
    create_plugin: bool,
) -> None:
    """Create a key. The secret is shown once."""
    runtime = command_runtime()
    is_new = check_new_plugin(runtime.registry, plugin, meant=create_plugin)
    text, key = runtime.api_keys.create(plugin, set(scopes), set(origins), name=name, lifetime_s=lifetime_s)
    _show_new(screen, runtime, _made(text, key))
    if is_new:
        screen.note(f"Plugin {plugin} is new: it was created.")


@keys.command()
@click.argument("key_id", metavar="ID", shell_complete=keys_like)
@click.option(
    "--overlap",
    "overlap_s",
    type=read_duration,
    default="7d",
    show_default=True,
    metavar="DURATION",
    help="How long the old key keeps working beside the new one.",
)
@acting(Act.KEY_ROTATE)
def rotate(screen: Screen, key_id: str, overlap_s: float) -> None:
    """Replace a key with a new one like it. The old one expires after an overlap."""
    runtime = command_runtime()
    check_key(runtime, key_id)
    text, key, old = runtime.api_keys.rotate(key_id, overlap_s)
    _show_new(screen, runtime, {**_made(text, key), "replaces": old.id, "replacedUntil": rfc3339(old.expires_at_ms)})


@keys.command("list")
@plugin_option(required=False)
@acting(Act.KEY_LIST)
def list_keys(screen: Screen, plugin: str | None) -> None:
    """List the keys of a plugin, or of all plugins. Of each secret the last four characters are shown."""
    runtime = command_runtime()
    if plugin is not None:
        check_plugin(runtime, plugin)
    runtime.audit_writer.write(Act.KEY_LIST, plugin=plugin or "")
    with going_on_without(), adding_sentence("API keys are among the shared keys, which do not answer.", Unavailable):
        found = runtime.api_keys.list(plugin)
    rows = [_row(key) for key in found]
    screen.show(rows, lambda: table_of(_COLUMNS, (_line(row) for row in rows)))


@keys.command()
@click.argument("key_id", metavar="ID", shell_complete=keys_like)
@acting(Act.KEY_REVOKE)
def revoke(screen: Screen, key_id: str) -> None:
    """Revoke a key; every process refuses it within a second. A record that fails verification is deleted."""
    runtime = command_runtime()
    if key_id not in runtime.api_keys.unverified():
        check_key(runtime, key_id)
    key = runtime.api_keys.revoke(key_id)
    if key is None:
        value = {"id": key_id, "removed": True}
        screen.tell(value, f"The record of key {key_id} failed verification: it is deleted.")
        return
    screen.tell(_row(key), f"Key {key.id} of plugin {key.plugin} is revoked.")


def _line(row: dict[str, Any]) -> list[object]:
    may = [*row["scopes"], *(f"from {origin}" for origin in row["origins"])]
    if row["revoked"]:
        state: object = bad("revoked")
    else:
        state = f"until {row['expiresAt'][:10]}" if row["expiresAt"] else "good"
    return [row["id"], row["plugin"], may, row["last4"], row["name"], state, brief(row["lastUsedAt"])]


def _made(text: str, key: ApiKey) -> dict[str, Any]:
    """Return what is shown of a new key: the five members of every key, and its name and end if it has them."""
    made = {"id": key.id, "key": text, "plugin": key.plugin, "scopes": _scopes(key), "origins": sorted(key.origins)}
    asked = {"name": key.name, "expiresAt": rfc3339(key.expires_at_ms)}
    return {**made, **{name: value for name, value in asked.items() if value}}


def _show_new(screen: Screen, runtime: Runtime, made: dict[str, Any]) -> None:
    """Show a new key; revoke it if that fails, because a key whose text nobody has seen is useless."""
    key_id, words = made["id"], lines_of("", f"Keep it: only its hash is stored. {_BROWSER}")
    try:
        screen.show(made, lambda: Group(facts_of(made.items()), words))
    except BaseException as error:
        with adding_sentence(
            f"The secret of key {key_id} was not shown: run `relay keys revoke {key_id}`.", RelayError
        ):
            runtime.api_keys.revoke(key_id)
        ends = f" Key {made['replaces']} still ends at {made['replacedUntil']}." if "replaces" in made else ""
        screen.note(f"The secret of key {key_id} could not be shown: the key is revoked.{ends}")
        if isinstance(error, NotShown):
            raise click.exceptions.Exit(EXIT_FAILED) from None
        raise


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "plugin": key.plugin,
        "scopes": _scopes(key),
        "origins": sorted(key.origins),
        "last4": key.last4,
        "createdAt": rfc3339(key.created_at_ms),
        "revoked": key.revoked,
        "name": key.name,
        "expiresAt": rfc3339(key.expires_at_ms),
        "lastUsedAt": rfc3339(key.last_used_at_ms),
    }


def _scopes(key: ApiKey) -> list[str]:
    """Return a key's scopes in the order in which the documentation names them."""
    return [scope for scope in SCOPES if scope in key.scopes]
