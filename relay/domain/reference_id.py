"""Reference ids: UUIDv7 (RFC 9562), which sort by time and tell their age; and the ids of replay jobs.

The last twelve of their random bits are a hash of the plugin that they were made for: its *bucket*, from which code
that has only an id finds the partition of its record.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final
from uuid import UUID

import uuid_utils

#: The prefix of a replay job's id in an alarm or a message; ids without it name invocations.
REPLAY_PREFIX: Final = "replay-"
#: The form of a UUID of any version.
UUID_PATTERN: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.ASCII)

#: How many hexadecimal digits at the end of an id are its bucket.
BUCKET_DIGITS: Final = 3
#: How many buckets there are.
BUCKETS: Final = 16**BUCKET_DIGITS


def new_reference_id(plugin: str | None = None) -> str:
    """Make a UUIDv7 (RFC 9562), which sorts by time and tells its age and, with ``plugin``, the plugin's bucket."""
    made = str(uuid_utils.uuid7())
    return made if plugin is None else _in_bucket(made, plugin)


def _in_bucket(made: str, plugin: str) -> str:
    return f"{made[:-BUCKET_DIGITS]}{bucket_of_plugin(plugin):03x}"


@lru_cache(10_000)
def bucket_of_plugin(plugin: str) -> int:
    """Return the bucket of a plugin: a hash of its name, which never changes."""
    return int.from_bytes(hashlib.sha256(plugin.encode()).digest()[:4], "big") % BUCKETS


def bucket_of(reference_id: str) -> int:
    """Return the bucket of the plugin that an id was made for; 0 for a text that is not an id."""
    try:
        return int(reference_id[-BUCKET_DIGITS:], 16)
    except ValueError:
        return 0


def reference_id_about(what: str, at_ms: int, plugin: str) -> str:
    """Return a UUIDv7 of this time and plugin, derived from a text, so that every caller gets the same one."""
    number = at_ms << 80 | int.from_bytes(hashlib.sha256(what.encode()).digest()[:10])
    number = number & ~(0xF << 76) | 7 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    return _in_bucket(str(UUID(int=number)), plugin)


def replay_named_by(text: str) -> str | None:
    """Return the id of the replay job that an alarm or a message names; None if it names an invocation."""
    replay_id = text.removeprefix(REPLAY_PREFIX)
    return replay_id if replay_id != text and reference_time_ms(replay_id) is not None else None


def reference_time_ms(reference_id: str) -> int | None:
    """Return when a reference id was made, in milliseconds since the epoch; None if it is not a UUIDv7."""
    compact = reference_id.replace("-", "")
    if len(reference_id) != 36 or len(compact) != 32 or compact[12] != "7":
        return None
    try:
        return int(compact[:12], 16)
    except ValueError:
        return None
