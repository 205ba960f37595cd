"""Hands this process's environment on to children, and looks up secrets in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from relay.process.foreign import foreign_names
from relay.settings.env_file import ENV_FILE, read_env_file
from relay.settings.names import FILE_SUFFIX, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def child_environ(extra: Mapping[str, str], without: Iterable[str] = ()) -> dict[str, str]:
    """Return this process's environment for a child, with ``extra`` and without the names in ``without``.

    Leaves out variables that the child's libraries would obey unasked (`relay.process.foreign`).
    """
    dropped = {form for name in without for form in (name, name + FILE_SUFFIX)} | {name + FILE_SUFFIX for name in extra}
    dropped |= foreign_names(os.environ) - extra.keys()
    return {name: text for name, text in {**os.environ, **extra}.items() if name not in dropped}


def look_up_secret(kind: str, name: str) -> str:
    """Return the value of ``${env:NAME}`` or ``${file:PATH}`` in a registration. Raises ``ValueError``."""
    if kind == "env":
        text = os.environ.get(name)
        if not text:
            raise ValueError(f"names the environment variable {name}, which is not set")
        return text
    try:
        return Path(name).expanduser().read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError):
        raise ValueError("names a file that cannot be read as text") from None


def default_plugin(data_dir: str | Path) -> str | None:
    """Return the plugin for commands that are given none: the environment's, else that of the data directory."""
    name = f"{PREFIX}PLUGIN"
    return os.environ.get(name) or read_env_file(Path(data_dir) / ENV_FILE).get(name) or None
