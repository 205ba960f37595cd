"""Finds the bucket of a partition's key, or of a member of a key that its plugins share."""

from __future__ import annotations

from typing import Final

from relay.domain.reference_id import bucket_of, bucket_of_plugin
from relay.store.keys.names import PARTITIONED

#: First parts of keys whose second part is a plugin, or an id.
_OF_PLUGIN: Final = frozenset({"p", "target", "token", "secret"})
_OF_ID: Final = frozenset({"inv", "replay"})
#: Kinds of keys that the plugins of a partition share.
SETS: Final = ("plugins", "parked_webhooks", "revisits")
SORTED_SETS: Final = ("due_running", "due_queued", "callbacks", "expiry", "ages", "forgettings")
LISTS: Final = ("waiting",)
SHARED_BY_PLUGINS: Final = (*SETS, *SORTED_SETS, *LISTS)
#: Those whose members are ids; all other members begin with a plugin.
_OF_IDS: Final = frozenset({"due_running", "due_queued", "callbacks", "expiry", "waiting"})
LANE: Final = "{lane}"


def bucket_of_key(tail: str) -> int | None:
    """Return the bucket of a key, given its name without the root; None for a key of no single plugin."""
    head, _, rest = tail.partition(":")
    name = rest.partition(":")[0]
    if name and head in _OF_PLUGIN:
        return bucket_of_plugin(name)
    return bucket_of(name) if name and head in _OF_ID else None


def shared_kind(tail: str) -> str | None:
    """Return the kind of a key that plugins share, given its name without the root; None for any other key."""
    for kind in SHARED_BY_PLUGINS:
        before, lane, _ = PARTITIONED[kind].partition(LANE)
        if tail.startswith(before) if lane else tail == before:
            return kind
    return None


def bucket_of_member(kind: str, member: str) -> int:
    """Return the bucket of a member of a shared key of this kind."""
    return bucket_of(member) if kind in _OF_IDS else bucket_of_plugin(member.partition("/")[0])
