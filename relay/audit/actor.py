"""Remembers who acts, to be named in the audit trail: the API key of a request, or the operator of a command."""

from __future__ import annotations

import os
import pwd
from contextvars import ContextVar

from relay.audit.entry import operator_text

_acting: ContextVar[str] = ContextVar("acting", default="")


def actor() -> str:
    """Return who acts in this thread, as entries have it; empty if no actor was set."""
    return _acting.get()


def act_as_key(key_id: str) -> None:
    """Make an API key the actor of this thread from now on."""
    _acting.set(key_id)


def act_as_operator(name: str) -> str:
    """Make an operator (the system's user by default) the actor of this thread from now on; return the actor."""
    who = operator_text(name or system_user())
    _acting.set(who)
    return who


def system_user() -> str:
    """Return the user that the process runs as, according to the system and not to environment variables."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
