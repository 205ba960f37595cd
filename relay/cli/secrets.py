"""``relay secrets``: a plugin's secrets, to which the registrations of its webhooks refer by name."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

import click

from relay.audit.entry import Act
from relay.cli.command import acting, command_runtime
from relay.cli.completion import secrets_like
from relay.cli.names import check_new_plugin, check_plugin, no_secret
from relay.cli.output import Screen, moment, table_of
from relay.cli.parameters import create_plugin_option, plugin_option, read_secret
from relay.errors import BadParameter, Conflict, NotFound
from relay.settings import look_up_secret
from relay.text.ids import SECRET_NAME_PATTERN, SECRET_NAME_RULE
from relay.text.timestamps import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.store.registry.secrets import SecretSetting
    from relay.store.registry.webhooks import Registry

_COLUMNS: Final = ("name", "set (UTC)", "by", "used by")


def _read_name(text: str) -> str:
    """Return a secret's name; raise a usage error if it is malformed."""
    if not SECRET_NAME_PATTERN.match(text):
        raise click.BadParameter(f"a secret's name {SECRET_NAME_RULE}")
    return text


_NAME = click.argument("secret", metavar="NAME", type=_read_name, shell_complete=secrets_like)


@click.group()
def secrets() -> None:
    """Set, list and remove a plugin's secrets. Registrations refer to them as ${secret:NAME}."""


@secrets.command("set")
@_NAME
@plugin_option()
@click.option("--file", type=click.File("rb"), help="File that holds the value [default: standard input or a prompt].")
@create_plugin_option
@acting(Act.SECRET_SET)
def set_one(screen: Screen, secret: str, plugin: str, file: IO[bytes] | None, *, create_plugin: bool) -> None:
    """Set a secret. Every webhook that refers to it uses the new value within two seconds.

    The value is read from --file, standard input or a prompt; a line break at its end is dropped. It is refused if it
    does not fit where a webhook uses it.
    """
    runtime = command_runtime()
    is_new = check_new_plugin(runtime.registry, plugin, meant=create_plugin)
    value = read_secret(f"Value of {secret}", file)
    if not value:
        raise BadParameter("The value is empty: nothing was changed.")
    change = runtime.registry.secrets.set(plugin, secret, value)
    users = runtime.registry.secrets.users(plugin, secret)
    shown = {"plugin": plugin, "name": secret, "change": change, "webhooks": users}
    used = f", used by {', '.join(users)}" if users else ""
    screen.tell(shown, f"Secret {secret} of plugin {plugin}: {change}{used}.")
    if is_new:
        screen.note(f"Plugin {plugin} is new: it was created.")


@secrets.command("list")
@plugin_option()
@acting(Act.SECRET_LIST)
def list_secrets(screen: Screen, plugin: str) -> None:
    """List a plugin's secrets. Each says when and by whom it was set, and which webhooks refer to it, not its value."""
    runtime = command_runtime()
    check_plugin(runtime, plugin)
    runtime.audit_writer.write(Act.SECRET_LIST, plugin=plugin)
    found = runtime.registry.secrets
    settings = found.settings(plugin, found.names(plugin))
    rows = [_row(name, each, found.users(plugin, name)) for name, each in settings.items()]
    lines = [(row["name"], moment(row["setAt"]), row["by"], row["webhooks"]) for row in rows]
    screen.show(rows, lambda: table_of(_COLUMNS, lines))


@secrets.command()
@_NAME
@plugin_option()
@acting(Act.SECRET_REMOVE, noted=(Conflict, NotFound))
def remove(screen: Screen, secret: str, plugin: str) -> None:
    """Remove a secret. Refused while registrations refer to it; the message names them."""
    runtime = command_runtime()
    if not runtime.registry.secrets.remove(plugin, secret):
        raise no_secret(runtime, plugin, secret)
    value = {"plugin": plugin, "name": secret, "removed": True}
    screen.tell(value, f"Secret {secret} of plugin {plugin} is removed.")


def look_up_in(registry: Registry) -> Callable[[str, str, str], str]:
    """Return the function that looks up references of registrations, by plugin, kind and name."""

    def look_up(plugin: str, kind: str, name: str) -> str:
        if kind != "secret":
            return look_up_secret(kind, name)
        if not SECRET_NAME_PATTERN.match(name):
            raise ValueError(f"names a secret, whose name {SECRET_NAME_RULE}")
        try:
            (found,) = registry.secrets.values(plugin, [name])
        except NotFound:
            raise ValueError(
                f"names the secret {name}, which is not set: `relay secrets set {name} --plugin {plugin}`"
            ) from None
        return found.value

    return look_up


def _row(name: str, settings: Sequence[SecretSetting], users: list[str]) -> dict[str, Any]:
    last = settings[-1] if settings else None  # without one, that is damaged
    return {"name": name, "setAt": rfc3339(last and last.at_ms), "by": last and last.by, "webhooks": users}
