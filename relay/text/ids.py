"""Defines the form of ids: those of webhooks, and the names of plugins."""

from __future__ import annotations

import re
from typing import Final

#: ASCII, no normalisation; ``\\Z``, because ``$`` lets a final newline through.
ID_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
ID_RULE: Final = "must be 1 to 64 of a-z, 0-9, `_` and `-`, beginning and ending with a letter or digit"
#: The names of a plugin's secrets, to which registrations refer.
SECRET_NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\Z")
SECRET_NAME_RULE: Final = "must be 1 to 64 of letters, digits and `._-`, beginning with a letter, a digit or `_`"  # noqa: S105 - a rule
