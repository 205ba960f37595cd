"""Which keys of a partition, and which members of those that plugins share, belong to a bucket."""

from __future__ import annotations

from typing import Final

from relay.reference_id import bucket_of, bucket_of_plugin

#: The first part of keys whose second one is a plugin; of those whose second one is an id; of what is set aside.
_OF_PLUGIN: Final = frozenset({"p", "target", "token"})
_OF_ID: Final = frozenset({"inv", "replay"})
_ASIDE: Final = "moving"
#: Sorted sets and sets that the plugins of a partition share, by what their members name. Lanes have one each.
OF_IDS: Final = ("due_running", "due_queued", "callbacks", "expiry")
OF_WEBHOOKS: Final = ("ages", "parked_webhooks", "revisits")


def bucket_of_key(tail: str) -> int | None:
    """Return the bucket that a key is of, by what follows its root; None of what plugins share, or of what stays."""
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
    """Return the bucket that a member of a shared key names: a plugin, ``plugin/webhook``, a call's or replay's id."""
    plugin, slash, _ = member.partition("/")
    return bucket_of_plugin(plugin) if slash else bucket_of(member)
