"""Reference ids: UUIDv7 (RFC 9562), which sort by time and tell their age; and the ids of replay jobs."""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID

import uuid_utils

#: What an alarm or a message has before the id of a replay job; all others name invocations.
REPLAY_PREFIX: Final = "replay-"


def new_reference_id() -> str:
    """Make a UUIDv7 (RFC 9562): it sorts by time and tells its age."""
    return str(uuid_utils.uuid7())


def reference_id_about(what: str, at_ms: int) -> str:
    """Return the UUIDv7 of that time that follows from a text: the same one for whoever asks again."""
    number = at_ms << 80 | int.from_bytes(hashlib.sha256(what.encode()).digest()[:10])
    number = number & ~(0xF << 76) | 7 << 76  # version
    number = number & ~(0x3 << 62) | 2 << 62  # variant
    return str(UUID(int=number))


def replay_named_by(text: str) -> str | None:
    """The id of the replay job that an alarm or a message names, None where it names an invocation."""
    replay_id = text.removeprefix(REPLAY_PREFIX)
    return replay_id if replay_id != text and reference_time_ms(replay_id) is not None else None


def reference_time_ms(reference_id: str) -> int | None:
    """When a reference id was made, in milliseconds since the epoch; None if it is not a UUIDv7."""
    compact = reference_id.replace("-", "")
    if len(reference_id) != 36 or len(compact) != 32 or compact[12] != "7":
        return None
    try:
        return int(compact[:12], 16)
    except ValueError:
        return None
