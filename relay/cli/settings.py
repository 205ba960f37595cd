"""``relay settings``: shows every setting, with its value and its description."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group, RenderableType
from rich.text import Text

from relay.audit.signing_keys import new_private_text
from relay.cli.output import Screen, safe, screened, table_of
from relay.cli.parameters import data_dir
from relay.errors import Conflict, SettingsError
from relay.settings import ENV_FILE, Setting, Settings
from relay.settings.kinds import Secret, as_text
from relay.settings.names import AUDIT_KEY, DATA_KEYS, FLOWER_AUTH, REDIS_URL, TARGET_KEYS
from relay.up.datadir import new_flower_auth
from relay.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_DAY_S: Final = 86_400
#: The field of each retention setting, and the records that it is for.
_KEPT: Final = {
    "retention_s": "answered under 400",
    "failed_retention_s": "ended in error",
    "rejected_retention_s": "rejected or cancelled",
}
_KEPT_COLUMNS: Final = ("what is kept", "record", "payload and result", "by")


@click.group(short_help="Show every setting and what it does.", invoke_without_command=True)
@screened
def settings(screen: Screen) -> None:
    """Show the settings that commands run with here, secrets hidden, with their defaults and descriptions."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    found = trouble = None
    try:
        found = Settings.for_command(data_dir())
    except SettingsError as error:  # the list is useful without values, too
        trouble = error
    value = [
        {
            "name": about.name,
            "value": _shown(getattr(found, field)) if found else None,
            "default": about.default,
            "secret": about.secret,
            "description": about.description,
        }
        for field, about in Settings.described()
    ]
    screen.show(value, lambda: Group(*_lines(found), *_kept(found)))
    if trouble:
        screen.note(f"No values are shown: {trouble.message}")


@settings.command()
@click.option(
    "--redis-url",
    default="redis://127.0.0.1:6379/0",
    show_default=True,
    help="The server. For one with a password, write the address into the file instead.",
)
@screened
def init(screen: Screen, redis_url: str) -> None:
    """Write relay.env, with new keys and passwords, to the data directory. It has every other setting with its default.

    For relays that `relay up` does not start: under a Procfile, in containers, on Kubernetes. An existing file is left
    as it is.
    """
    made = {
        REDIS_URL: redis_url,
        TARGET_KEYS: Vault.new_key_text(),
        DATA_KEYS: Vault.new_key_text(),
        AUDIT_KEY: new_private_text(),
        FLOWER_AUTH: new_flower_auth(),
    }
    Settings.from_environ(made)
    file = data_dir() / ENV_FILE
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as written:
            written.write(_env_text(made))
    except FileExistsError:
        raise Conflict(f"{file} exists: its keys open what was sealed with them, so that it is not replaced.") from None
    except OSError:
        raise SettingsError(f"{file} cannot be written: use another --data-dir.") from None
    said = {"file": str(file), "made": list(made)}
    screen.tell(said, f"{file} has new keys and passwords. Back it up.")


def _env_text(made: Mapping[str, str]) -> str:
    """Return the text of a file with every setting; those that were not made are comments."""
    pieces = ["# Every setting. A line that begins with # shows the default."]
    for _, about in Settings.described():
        line = f"{about.name}={made[about.name]}" if about.name in made else f"#{about.name}={about.default or ''}"
        pieces.append(f"# {about.description}\n{line}")
    return "\n\n".join(pieces) + "\n"


def _lines(found: Settings | None) -> Iterator[Text]:
    """Yield each setting with its value and, if it differs, its default; on the next line, its description."""
    for field, about in Settings.described():
        stated = _stated(getattr(found, field), about) if found else f" (default {about.default or 'none'})"
        yield Text.assemble((about.name, "bold"), safe(stated), f"\n    {about.description}")


def _stated(value: Any, about: Setting) -> str:
    if value in (None, (), ""):
        return " (not set)"
    if not about.default:
        return f" = {_shown(value)}"
    default = "the default" if value == about.read(about.default) else f"default {about.default}"
    return f" = {_shown(value)} ({default})"


def _kept(found: Settings | None) -> tuple[RenderableType, ...]:
    """Return a table of how long records are kept; nothing if there are no settings."""
    if found is None:
        return ()
    names = {field: about.name for field, about in Settings.described()}
    rows = []
    for field, what in _KEPT.items():
        record_s: int = getattr(found, field)
        contents_s = min(record_s, found.payload_retention_s or record_s)
        rows.append((what, _days(record_s), _days(contents_s), names[field]))
    return Text(), table_of(_KEPT_COLUMNS, rows)


def _days(duration_s: int) -> str:
    days, rest_s = divmod(duration_s, _DAY_S)
    return f"{days} days" if not rest_s else f"{duration_s / _DAY_S:.1f} days"


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Secret) else as_text(value)
