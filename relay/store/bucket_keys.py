"""Finds the bucket that a key of a partition, or a member of a shared key, belongs to."""

from __future__ import annotations

from typing import Final

from relay.reference_id import bucket_of, bucket_of_plugin

#: First parts of keys by what the second part is: a plugin; an id; the bucket of entries that are set aside.
_OF_PLUGIN: Final = frozenset({"p", "target", "token"})
_OF_ID: Final = frozenset({"inv", "replay"})
_ASIDE: Final = "moving"
#: Sets and sorted sets that the plugins of a partition share, by what their members name. A template with a lane
#: stands for one key per lane.
OF_IDS: Final = ("due_running", "due_queued", "callbacks", "expiry")
OF_WEBHOOKS: Final = ("ages", "parked_webhooks", "revisits")


def bucket_of_key(tail: str) -> int | None:
    """Return the bucket of a key, given its name without the root; None for keys that are shared, or never moved."""
    head, _, rest = tail.partition(":")
    name = rest.partition(":")[0]
    if not name:
        return None
    if head in _OF_PLUGIN:
        return bucket_of_plugin(name)
    if head in _OF_ID:
        return bucket_of(name)
    return int(name) if head == _ASIDE else None


def bucket_of_member(member: str) -> int:
    """Return the bucket of a member of a shared key: a ``plugin/webhook``, or the id of a call or a replay."""
    plugin, slash, _ = member.partition("/")
    return bucket_of_plugin(plugin) if slash else bucket_of(member)
