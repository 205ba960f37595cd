"""Defines what is signed: checkpoints over entries, and the beginning of a trail that has dropped its oldest. Pure.

The head of a chain is SHA-256(head before, SHA-256(entry)), starting from 32 zero bytes. A checkpoint holds the heads
before and after its entries, and eight bytes of each one's hash, so that the first wrong entry can be named.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from relay.audit.signing_keys import AuditSigner, PublicKeys

#: The head of an empty chain.
NOTHING: Final = bytes(32)
_TAG_BYTES: Final = 8


def leaf_of(entry: bytes) -> bytes:
    """Hash an entry."""
    return hashlib.sha256(entry).digest()


def tag_of(entry: bytes) -> bytes:
    """Return the part of an entry's hash that a checkpoint keeps."""
    return leaf_of(entry)[:_TAG_BYTES]


def tags_in(text: bytes) -> list[bytes]:
    """Split joined tags into a list of tags."""
    return [text[at : at + _TAG_BYTES] for at in range(0, len(text), _TAG_BYTES)]


def head_after(head: bytes, entries: Iterable[bytes]) -> bytes:
    """Return the head of a chain after these entries have been added to it."""
    for entry in entries:
        head = hashlib.sha256(head + leaf_of(entry)).digest()
    return head


@dataclass(frozen=True, slots=True)
class Breach:
    """A change that a worker has found in signed entries: the number of the first wrong one, and what is wrong."""

    seq: int
    what: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint over entries ``first`` to ``last``, numbered from 1; over none if ``last`` is ``first - 1``."""

    first: int
    last: int
    before: bytes
    head: bytes
    tags: bytes
    at_ms: int
    breach: Breach | None = None

    @classmethod
    def over(cls, first: int, before: bytes, entries: list[bytes], at_ms: int, breach: Breach | None) -> Checkpoint:
        """Make a checkpoint over the entries that follow a head."""
        tags = b"".join(map(tag_of, entries))
        return cls(first, first + len(entries) - 1, before, head_after(before, entries), tags, at_ms, breach)

    def members(self, trail: str, key_id: str) -> dict[str, Any]:
        """Return the members of the checkpoint, to be signed as JSON."""
        breach = {} if self.breach is None else {"breach": {"seq": self.breach.seq, "what": self.breach.what}}
        return {
            "trail": trail,
            "first": self.first,
            "last": self.last,
            "before": self.before.hex(),
            "head": self.head.hex(),
            "tags": base64.b64encode(self.tags).decode(),
            "at": self.at_ms,
            "key": key_id,
            **breach,
        }


@dataclass(frozen=True, slots=True)
class Signed:
    """Signed members of a checkpoint (`Checkpoint.members`), or of a beginning (`beginning_members`)."""

    members: dict[str, Any]
    signature: bytes

    @classmethod
    def by(cls, signer: AuditSigner, members: dict[str, Any]) -> Signed:
        """Sign these members."""
        return cls(members, signer.sign(_payload(members)))

    def is_by(self, keys: PublicKeys, trail: str) -> bool:
        """Return whether this was signed with one of these keys, for this trail."""
        if self.members.get("trail") != trail:
            return False
        try:
            payload = _payload(self.members)
        except TypeError:  # numbers that are too large, which no signer writes
            return False
        return keys.verifies(str(self.members.get("key")), payload, self.signature)

    def to_bytes(self) -> bytes:
        """Return members and signature, on a line each."""
        return _payload(self.members) + b"\n" + base64.b64encode(self.signature)

    @classmethod
    def from_bytes(cls, text: bytes) -> Signed:
        """Read what ``to_bytes`` returned; anything else counts as unsigned."""
        payload, _, signature = text.partition(b"\n")
        try:
            found = cls(orjson.loads(payload), base64.b64decode(signature, validate=True))
        except ValueError:
            return cls({}, b"")
        return found if isinstance(found.members, dict) else cls({}, b"")

    def checkpoint(self) -> Checkpoint | None:
        """Read a checkpoint from its members; None if they are not those of a checkpoint."""
        found = self.members
        try:
            breach = found.get("breach")
            return Checkpoint(
                int(found["first"]),
                int(found["last"]),
                bytes.fromhex(found["before"]),
                bytes.fromhex(found["head"]),
                base64.b64decode(found["tags"], validate=True),
                int(found["at"]),
                None if breach is None else Breach(int(breach["seq"]), str(breach["what"])),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def beginning(self) -> tuple[int, bytes] | None:
        """Return the number of the first entry and the head before it; None if the members are not a beginning's."""
        if self.members.get("begins") is not True:  # a checkpoint as a beginning would hide the entries before it
            return None
        try:
            return int(self.members["first"]), bytes.fromhex(self.members["before"])
        except (KeyError, TypeError, ValueError):
            return None


def beginning_members(trail: str, first: int, before: bytes, at_ms: int, key_id: str) -> dict[str, Any]:
    """Return the members to sign for a trail's new beginning."""
    return {"begins": True, "trail": trail, "first": first, "before": before.hex(), "at": at_ms, "key": key_id}


def _payload(members: dict[str, Any]) -> bytes:
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
