"""Hands this process's environment on to children, and looks up secrets in it; reads that of ``relay up``.

``relay up`` writes it to ``relay.env`` in its data directory, for other commands and its next start.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dotenv import dotenv_values

from relay.errors import SettingsError
from relay.process.foreign import foreign_names
from relay.settings import urls
from relay.settings.names import BROKER_URL, FILE_SUFFIX, PREFIX, REDIS_URL, STORE_URL
from relay.settings.private_file import read_private_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ENV_FILE: Final = "relay.env"


def child_environ(extra: Mapping[str, str], without: Iterable[str] = ()) -> dict[str, str]:
    """Return this process's environment for a child, with ``extra`` and without the names in ``without``.

    Of a secret in ``extra``, in either form, both forms are replaced. Leaves out variables that the child's libraries
    would obey unasked (`relay.process.foreign`).
    """
    dropped = {form for name in without for form in (name, name + FILE_SUFFIX)}
    dropped |= foreign_names(os.environ) - extra.keys()
    return {name: text for name, text in {**not_given(os.environ, extra), **extra}.items() if name not in dropped}


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


def read_env_file(path: Path) -> dict[str, str]:
    """Read the variables of the file; none if it does not exist. Raises ``SettingsError`` if others may read it."""
    if not path.exists():
        return {}
    try:
        read_private_file(path)
    except SettingsError as error:
        raise SettingsError(f"{ENV_FILE} in the data directory {error.message}") from None
    return {name: text for name, text in dotenv_values(path, interpolate=False).items() if text is not None}


def not_given(saved: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the file's variables that the environment does not replace: one given in either form replaces both forms.

    If another Redis is given, addresses that merely follow from the file's Redis are left out as well.
    """
    left = dict(saved)
    for name in (each.removesuffix(FILE_SUFFIX) for each in given):
        left.pop(name, None)
        left.pop(name + FILE_SUFFIX, None)
    if REDIS_URL not in left:
        for name in derived_addresses(saved):
            left.pop(name, None)
    return left


def derived_addresses(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return which of the broker's and the store's addresses merely follow from RELAY_REDIS_URL."""
    redis_url = variables.get(REDIS_URL, "")
    expected = {STORE_URL: redis_url}
    with suppress(ValueError):
        expected[BROKER_URL] = urls.broker_url(redis_url).reveal()
    return tuple(name for name, text in expected.items() if text and variables.get(name) == text)
