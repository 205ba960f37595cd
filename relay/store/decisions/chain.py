"""Defines a chain of decisions: its entries, what binds them, and its end, where others are added. Pure.

An entry is a line: number, subject, value, and a MAC that covers them and the MAC of the previous entry.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from relay.vault import Vault

#: What the subjects of webhooks, and of their pauses, begin with.
WEBHOOK: Final = "webhook"
PAUSE: Final = "pause"
#: The value of a webhook that is paused.
PAUSED: Final = "paused"
#: The value of a subject that is gone.
GONE: Final = "gone"
#: The ending of a value that nobody can be sure of.
IN_DOUBT: Final = ".in_doubt"
_PURPOSE: Final = b"decision"
_DIGITS: Final = 18  # of the highest number


def key_subject(key_id: str) -> str:
    """Return the subject of the decisions about an API key; their value is the digest of its record."""
    return f"key/{key_id}"


def webhook_subject(plugin: str, webhook_id: str) -> str:
    """Return the subject of the decisions about which revision of a webhook is current."""
    return f"{WEBHOOK}/{plugin}/{webhook_id}"


def webhook_value(number: int, stamp: str, shape: bytes, limits: Iterable[str]) -> str:
    """Return the decision that a revision is current; ``limits`` are those in its webhook's policy."""
    return ".".join((str(number), stamp, hashlib.sha256(shape).hexdigest(), *limits))


def secret_subject(plugin: str, name: str) -> str:
    """Return the subject of the decisions about which value of a secret is current; their value is its stamp."""
    return f"secret/{plugin}/{name}"


def pause_subject(plugin: str, webhook_id: str) -> str:
    """Return the subject of the decisions about whether a webhook is paused (`PAUSED`) or not (`GONE`)."""
    return f"{PAUSE}/{plugin}/{webhook_id}"


@dataclass(frozen=True, slots=True)
class Decision:
    """An entry of a chain. Sequence numbers increase along it; after entries were dropped they have gaps."""

    seq: int
    subject: str
    value: str
    mac: str = ""

    @classmethod
    def from_text(cls, text: bytes) -> Decision | None:
        """Parse an entry; None if no relay wrote it."""
        seq, subject, value, mac = [*text.decode("latin-1").split(" ", 3), "", "", ""][:4]
        is_number = seq.isascii() and seq.isdigit() and len(seq) <= _DIGITS
        return cls(int(seq), subject, value, mac) if mac and is_number else None

    def macs(self, before: str, vault: Vault) -> tuple[str, ...]:
        """Return the MACs of the entry under each key of the ring, newest first."""
        return vault.macs(_PURPOSE, *(part.encode() for part in (before, str(self.seq), self.subject, self.value)))

    def text(self) -> str:
        """Return the entry as the server stores it."""
        return f"{self.seq} {self.subject} {self.value} {self.mac}"


@dataclass(slots=True)
class Chain:
    """Entries as they were read: their number, the last of them, and the newest genuine decision about each subject."""

    count: int = 0
    last: bytes = b""
    seq: int = 0
    newest: dict[str, Decision] = field(default_factory=dict)
    is_forged: bool = False  # an entry was altered, removed or inserted; such entries do not count
    read: list[Decision] = field(default_factory=list, compare=False)  # the genuine ones that were added last
    digest: Any = field(default_factory=hashlib.sha256, compare=False)  # of all texts

    def is_of(self, texts: Sequence[bytes]) -> bool:
        """Return whether these are the entries that it was read from."""
        return len(texts) == self.count and hashlib.sha256(b"".join(texts)).digest() == self.digest.digest()

    def add(self, texts: Iterable[bytes], vault: Vault) -> None:
        """Add entries that follow."""
        for text in texts:
            found, before = Decision.from_text(text), _mac_in(self.last)
            self.count, self.last = self.count + 1, text
            self.digest.update(text)
            is_genuine = found is not None and found.seq >= self.seq and _matches(found, before, vault)
            if found is None or not is_genuine:
                self.is_forged = True
                continue
            self.seq = found.seq
            self.newest[found.subject] = found
            self.read.append(found)

    def refuse_forged(self, name: str) -> None:
        """Raise `Conflict`, which names the chain, if entries are forged or made with a key that the ring lacks."""
        if self.is_forged:
            raise Conflict(
                f"Decisions about keys or webhooks fail verification (of `{name}`): if a key is missing in the data"
                " ring, put it back (from the back-up). If somebody else has written to the server, or the key is lost,"
                " drop them: relay vault retire --give-up-damaged."
            )

    def lacks(self, known: Mapping[str, Decision]) -> list[str]:
        """Return the subjects for which ``known`` has something newer."""
        return [subject for subject, each in known.items() if _is_older(self.newest.get(subject), each)]


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The end of a chain as it was read, where a decision may be added."""

    count: int
    last: bytes
    seq: int
    vault: Vault = field(repr=False)

    def adding(self, changes: Mapping[str, str]) -> list[bytes | int | str]:
        """Return the arguments for a script to add these decisions (``lua/lib/decisions.lua``)."""
        added = [Decision(seq, *change) for seq, change in enumerate(changes.items(), self.seq + 1)]
        return [self.count, self.last, *linked(added, _mac_in(self.last), self.vault)]


def linked(decisions: Iterable[Decision], before: str, vault: Vault) -> list[str]:
    """Return decisions as entries, each bound to the one before it; ``before`` is the MAC to bind the first to."""
    texts = []
    for decision in decisions:
        entry = replace(decision, mac=decision.macs(before, vault)[0])
        texts.append(entry.text())
        before = entry.mac
    return texts


def _mac_in(text: bytes) -> str:
    """Return the last word of an entry, which is its MAC; later entries are bound to it even if it is forged."""
    return text.decode("latin-1").rpartition(" ")[2]


def _matches(decision: Decision, before: str, vault: Vault) -> bool:
    return any(hmac.compare_digest(decision.mac.encode(), mac.encode()) for mac in decision.macs(before, vault))


def paused_by(known: Iterable[Decision]) -> frozenset[tuple[str, str]]:
    """Return the webhooks that these decisions pause, each with its plugin first."""
    found = (each.subject.split("/") for each in known if each.value == PAUSED)
    return frozenset((plugin, webhook_id) for _, plugin, webhook_id in found)


def policies_by(known: Collection[Decision]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the policy of each registered webhook according to these decisions: '1' if paused, and its limits."""
    paused, found = paused_by(known), {}
    for each in known:
        kind, *name = each.subject.split("/")
        if kind == WEBHOOK and not each.value.endswith((GONE, IN_DOUBT)):
            webhook = name[0], name[1]
            found[webhook] = ("1" if webhook in paused else "", *each.value.split(".")[3:])
    return found


def name_of(decision: Decision) -> int:
    """Return a short name for a decision, whichever key its MAC is made with."""
    return hash((decision.seq, decision.subject, decision.value))


def in_doubt(one: Decision, other: Decision) -> str:
    """Return the value, which nobody relies on, of a subject about which two decisions contradict each other.

    If they are about a pause, the webhook is paused. A revision's number stays known, so that it is not reused.
    """
    if one.subject.startswith(f"{PAUSE}/"):
        return PAUSED
    numbers = [each.value.partition(".")[0] for each in (one, other)]
    return f"{max(int(number) if number.isdecimal() else 0 for number in numbers)}{IN_DOUBT}"


def _is_older(found: Decision | None, known: Decision) -> bool:
    """Return whether the decision found is neither the known one nor a later one."""
    if found is None or found.seq < known.seq:
        return True
    return found.seq == known.seq and found.value != known.value
