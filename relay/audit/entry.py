"""An entry of the audit trail: as scripts write it (a line of ten words), and as people and programs read it. Pure.

The words, which may be empty, are separated by one blank, in this order: time (ms, the server's), act, who (the id of a
key, or ``@`` and an operator), plugin, subject, revision, outcome, count, sizes in bytes and references; sizes and
references are comma-separated. None of them holds contents, an address or a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, unquote

from relay.text.timestamps import read_rfc3339, rfc3339


class Act(StrEnum):
    """Every act that the audit trail records."""

    TRIGGER = "trigger"  # triggers that came together and are alike: accepted, known or refused
    LOOK_UP = "look_up"  # an invocation's record, with its result
    REQUEST = "request"  # other requests with a key, counted for a second; subject: the route
    AUTHENTICATE = "authenticate"  # requests without a good key, counted for a minute
    LIST = "list"  # records without contents, by a command
    EXPORT = "export"  # records; subject `contents` if payloads and results were included
    CANCEL = "cancel"
    FORGET = "forget"
    FORGET_SUBJECT = "forget_subject"  # names no subject; count: how many invocations were forgotten in the end
    KEY_CREATE = "key_create"
    KEY_ROTATE = "key_rotate"  # references: the new key
    KEY_REVOKE = "key_revoke"
    KEY_LIST = "key_list"
    WEBHOOK_APPLY = "webhook_apply"
    WEBHOOK_ROLLBACK = "webhook_rollback"
    WEBHOOK_SET_SECRET = "webhook_set_secret"  # noqa: S105 - the name of an act
    WEBHOOK_REMOVE = "webhook_remove"
    WEBHOOK_SHOW = "webhook_show"  # with its address
    WEBHOOK_PAUSE = "webhook_pause"
    WEBHOOK_RESUME = "webhook_resume"
    WEBHOOK_CLOSE_BREAKER = "webhook_close_breaker"
    SECRET_SET = "secret_set"  # noqa: S105 - the name of an act
    SECRET_LIST = "secret_list"  # noqa: S105
    SECRET_REMOVE = "secret_remove"  # noqa: S105
    REPLAY_PLAN = "replay_plan"
    REPLAY_START = "replay_start"
    REPLAY_PAUSE = "replay_pause"
    REPLAY_RESUME = "replay_resume"
    REPLAY_CANCEL = "replay_cancel"
    VAULT_STATUS = "vault_status"
    VAULT_ADD = "vault_add"
    VAULT_PROMOTE = "vault_promote"
    VAULT_RESEAL = "vault_reseal"
    VAULT_RETIRE = "vault_retire"
    AUDIT_LIST = "audit_list"
    AUDIT_EXPORT = "audit_export"
    AUDIT_VERIFY = "audit_verify"
    AUDIT_TAIL = "audit_tail"
    PARTITION_SHOW = "partition_show"
    PARTITION_DIVIDE = "partition_divide"  # subject: the number of partitions
    FUNCTIONS_LOAD = "functions_load"
    BACKUP = "backup"
    RESTORE = "restore"  # subject: the backup's id, or `finish`
    DECISIONS_RESTORE = "decisions_restore"  # a process found older decisions and wrote back what it remembers
    DOCTOR = "doctor"
    REPLACED = "replaced"  # an entry that no relay writes, because it is too long; subject: its SHA-1; sizes: its size


_WORDS: Final = 10
_OPERATOR_MARK: Final = "@"  # the prefix of an operator's name, which tells it from the id of a key
_SAFE: Final = "@+"  # characters of names that entries keep as they are, besides letters, digits and ``_.-~``
_MAX_MS: Final = 253_402_300_800_000  # the year 10000
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z", re.ASCII)
_TEXT: Final = re.compile(r"[!-~]*\Z", re.ASCII)  # visible ASCII
#: Members that hold one text each, in the order of the words 4, 5 and 7.
_TEXTS: Final = ("plugin", "subject", "outcome")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. Texts may be empty; ``who`` is the id of a key, or ``@`` and the encoded name of an operator."""

    at_ms: int
    act: str
    who: str = ""
    plugin: str = ""
    subject: str = ""
    revision: int | None = None
    outcome: str = ""
    count: int | None = None
    sizes: tuple[int, ...] = ()
    references: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the entry as scripts write it."""
        return f"{self.at_ms} {self.words()}"

    def words(self) -> str:
        """Return the entry without its time, which the server adds."""
        numbers = ["" if number is None else str(number) for number in (self.revision, self.count)]
        first = [self.act, self.who, self.plugin, self.subject, numbers[0], self.outcome, numbers[1]]
        return " ".join([*first, ",".join(map(str, self.sizes)), ",".join(self.references)])

    def members(self) -> dict[str, Any]:
        """Return the entry as the members of a JSON object; empty ones are left out."""
        who = {"operator": name_of(self.who)} if self.who[:1] == _OPERATOR_MARK else {"key": self.who}
        found = {
            "at": rfc3339(self.at_ms),
            "act": self.act,
            **who,
            "plugin": self.plugin,
            "subject": self.subject,
            "revision": self.revision,
            "outcome": self.outcome,
            "count": self.count,
            "sizes": list(self.sizes),
            "references": list(self.references),
        }
        return {name: value for name, value in found.items() if value not in ("", None, [])}


def entry_from(raw: bytes) -> AuditEntry | None:
    """Read an entry; None if it is not exactly as the relay writes entries."""
    words = raw.decode("latin-1").split(" ")
    if len(words) != _WORDS or not all(_TEXT.match(word) for word in words):
        return None
    at, act, who, plugin, subject, revision, outcome, count, sizes, references = words
    numbers = [*filter(None, (at, revision, count)), *filter(None, sizes.split(","))]
    if not (at and act) or not all(_NUMBER.match(number) for number in numbers) or int(at) >= _MAX_MS:
        return None
    entry = AuditEntry(
        int(at),
        act,
        who,
        plugin,
        subject,
        int(revision) if revision else None,
        outcome,
        int(count) if count else None,
        tuple(int(size) for size in sizes.split(",") if size),
        tuple(reference for reference in references.split(",") if reference),
    )
    return entry if entry.text() == " ".join(words) and _from_members(entry.members()) == entry else None


def line_of(seq: int, raw: bytes) -> dict[str, Any]:
    """Return an entry as a line of an export; one that the relay would not write is shown as it is."""
    entry = entry_from(raw)
    return {"seq": seq, **({"raw": raw.decode("latin-1")} if entry is None else entry.members())}


def raw_from(line: dict[str, Any]) -> bytes:
    """Return the exact entry that a line of an export was made from; raise ``ValueError`` if it was made from none."""
    members = {name: value for name, value in line.items() if name != "seq"}
    if members.keys() == {"raw"}:
        return str(members["raw"]).encode("latin-1")
    try:
        raw = _from_members(members).text().encode("latin-1")
    except TypeError:
        raise ValueError("is not an audit entry") from None
    if line_of(line.get("seq", 0), raw) != line:
        raise ValueError("is not an audit entry")
    return raw


def operator_text(name: str) -> str:
    """Return an operator's name as entries have it."""
    return _OPERATOR_MARK + quote(name, safe=_SAFE, errors="surrogateescape")


def name_of(who: str) -> str:
    """Return the name of an operator, or the id of a key, as entries have it."""
    return unquote(who[1:]) if who[:1] == _OPERATOR_MARK else who


def _from_members(members: dict[str, Any]) -> AuditEntry:
    try:
        operator = members.get("operator")
        who = members.get("key", "") if operator is None else operator_text(operator)
        return AuditEntry(
            at_ms=read_rfc3339(members["at"]),
            act=members["act"],
            who=who,
            revision=members.get("revision"),
            count=members.get("count"),
            sizes=tuple(members.get("sizes", ())),
            references=tuple(members.get("references", ())),
            **{name: members.get(name, "") for name in _TEXTS},
        )
    except (KeyError, TypeError, AttributeError):
        raise ValueError("is not an audit entry") from None
