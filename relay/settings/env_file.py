"""Reads ``relay.env`` of a data directory: the variables of ``relay up``, for other commands and its next start."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from dotenv import dotenv_values

from relay.errors import SettingsError
from relay.settings import urls
from relay.settings.names import BROKER_URL, FILE_SUFFIX, REDIS_URL, STORE_URL
from relay.settings.private_file import read_private_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENV_FILE: Final = "relay.env"


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
    for name in given:
        left.pop(name.removesuffix(FILE_SUFFIX), None)
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
