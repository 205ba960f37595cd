"""``relay settings``: every setting, what it is and what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from relay.cli.output import screened, table_of
from relay.errors import SettingsError
from relay.setting_kinds import Secret, as_text
from relay.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from relay.cli.output import Screen


@click.command(short_help="Show every setting and what it does.")
@screened
def settings(screen: Screen, data_dir: Path) -> None:
    """Show the settings that commands run with here, secrets hidden, with their defaults and descriptions."""
    found, trouble = _settings(data_dir)
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
    rows = [(each["name"], each["value"], each["default"], each["description"]) for each in value]
    screen.show(value, lambda: table_of(("name", "value", "default", "description"), rows))
    if trouble:
        screen.note(f"No values are shown: {trouble.message}")


def _settings(data_dir: Path) -> tuple[Settings | None, SettingsError | None]:
    """The settings, or why there are none: the list is of use without them, too."""
    try:
        return Settings.for_command(data_dir), None
    except SettingsError as error:
        return None, error


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Secret) else as_text(value)
