"""Remembers who acts, to be named in the audit trail: the API key of a request, or the operator of a command."""

from __future__ import annotations

import os
import pwd
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote, unquote

#: The prefix of an operator's name, which tells it from the id of a key.
OPERATOR_MARK: Final = "@"
_SAFE: Final = "@+"  # characters that entries keep as they are, besides letters, digits and ``_.-~``

_acting: ContextVar[str] = ContextVar("acting", default="")


def actor() -> str:
    """Return who acts in this thread, as entries have it; empty if no actor was set."""
    return _acting.get()


def act_as_key(key_id: str) -> None:
    """Make an API key the actor of this thread from now on."""
    _acting.set(key_id)


def act_as_operator(name: str) -> str:
    """Make an operator (the system's user by default) the actor of this thread from now on; return the actor."""
    who = OPERATOR_MARK + quote(name or system_user(), safe=_SAFE)
    _acting.set(who)
    return who


def operator_named(who: str) -> str:
    """Return the name of the operator that an entry has as its actor."""
    return unquote(who.removeprefix(OPERATOR_MARK))


def system_user() -> str:
    """Return the user that the process runs as, as the system says, not as environment variables say."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
