"""``relay settings``: shows every setting, with its value and its description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Group
from rich.text import Text

from relay.cli.output import safe, screened, table_of
from relay.errors import SettingsError
from relay.settings import Settings
from relay.settings.kinds import Secret, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import RenderableType

    from relay.cli.output import Screen
    from relay.settings import Setting


_DAY_S: Final = 86_400
#: The field of each retention setting, and the records that it is for.
_KEPT: Final = {
    "retention_s": "answered under 400",
    "failed_retention_s": "ended in error",
    "rejected_retention_s": "rejected or cancelled",
}
_KEPT_COLUMNS: Final = ("what is kept", "record", "payload and result", "by")


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
    screen.show(value, lambda: Group(*_lines(found), *_kept(found)))
    if trouble:
        screen.note(f"No values are shown: {trouble.message}")


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


def _settings(data_dir: Path) -> tuple[Settings | None, SettingsError | None]:
    """Return the settings, or the error in them: the list is useful without values, too."""
    try:
        return Settings.for_command(data_dir), None
    except SettingsError as error:
        return None, error


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, Secret) else as_text(value)
