"""Defines the form of ids: those of webhooks, and the names of plugins."""

from __future__ import annotations

import re
from typing import Final

#: ASCII, no normalisation; ``\\Z``, because ``$`` lets a final newline through.
ID_PATTERN: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
ID_RULE: Final = "must be 1 to 64 of a-z, 0-9, `_` and `-`, beginning and ending with a letter or digit"
