"""Checks API keys for records that no relay wrote, and for keys that end soon and have no successor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from relay.doctor.finding import FOREIGN_WRITER, Finding, Level, listed
from relay.errors import RelayError
from relay.store.server.availability import going_on_without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relay.store.api_keys.records import ApiKey
    from relay.wiring.runtime import Runtime

#: A key that ends within this many days is named.
WARNING_DAYS: Final = 7
_CHECK: Final = "keys"


def examine_api_keys(runtime: Runtime) -> Finding:
    """Check the record and the expiry of every API key."""
    try:
        with going_on_without():
            keys, forged = runtime.api_keys.list(), runtime.api_keys.unverified()
    except RelayError as error:
        return Finding(_CHECK, Level.PROBLEM, error.message, "See the findings above.")
    if forged:
        advice = f"{FOREIGN_WRITER}: find out who, remove these (`relay keys revoke ID`), and create new keys."
        return Finding(_CHECK, Level.PROBLEM, f"not written by this relay: {listed(forged)}", advice)
    return _ends(keys)


def _ends(keys: Sequence[ApiKey]) -> Finding:
    now_ms = time.time() * 1000
    live = [key for key in keys if not key.revoked and (key.expires_at_ms is None or key.expires_at_ms > now_ms)]
    until_ms = now_ms + WARNING_DAYS * 86_400_000
    ending = [
        key
        for key in live
        if key.expires_at_ms is not None and key.expires_at_ms < until_ms and not _is_replaced(key, live)
    ]
    if not ending:
        return Finding(_CHECK, Level.OK, f"{len(live)} live")
    named = listed([f"{key.id} of {key.plugin}" for key in ending])
    advice = "Replace them: `relay keys rotate ID`."
    return Finding(_CHECK, Level.PROBLEM, f"end within {WARNING_DAYS} days: {named}", advice)


def _is_replaced(key: ApiKey, live: Sequence[ApiKey]) -> bool:
    """Return whether a key was rotated, and a newer one like it works."""
    return key.rotated_lifetime_ms is not None and any(
        other.id != key.id and other.created_at_ms >= key.created_at_ms and _likeness(other) == _likeness(key)
        for other in live
    )


def _likeness(key: ApiKey) -> tuple[object, ...]:
    """Return what a rotation leaves as it is."""
    return key.plugin, key.name, key.scopes, key.origins
