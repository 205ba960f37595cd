"""Who acts: the API key of a request, or the operator at a command. Entries of the audit trail name them."""

from __future__ import annotations

import os
import pwd
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote, unquote

#: What the name of an operator has before it, to tell it from the id of a key.
OPERATOR_MARK: Final = "@"
_SAFE: Final = "@+"  # what names have and entries may hold, beside letters, digits and ``_.-~``

_acting: ContextVar[str] = ContextVar("acting", default="")


def actor() -> str:
    """Return who acts here, as entries have it; empty where nobody said so."""
    return _acting.get()


def act_as_key(key_id: str) -> None:
    """Let what this thread does from now on be done by an API key."""
    _acting.set(key_id)


def act_as_operator(name: str) -> str:
    """Let what this thread does from now on be done by an operator, the system's user by default; returns the actor."""
    who = OPERATOR_MARK + quote(name or system_user(), safe=_SAFE)
    _acting.set(who)
    return who


def operator_named(who: str) -> str:
    """Return the operator's name that an entry has."""
    return unquote(who.removeprefix(OPERATOR_MARK))


def system_user() -> str:
    """Return the user that the process runs as: what the system says, not what variables of the environment say."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
