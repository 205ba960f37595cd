"""Finds what a shipped audit trail says was done since the backup, and does again what can be done again.

The trail holds no contents: for a webhook that was changed, it only tells that the restored registration is an old one.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING, Any, Final

from relay.audit.entry import Act, raw_from
from relay.audit.packed_file import lines_in
from relay.errors import BadParameter, Conflict, Expired, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from relay.backup.unfinished import Unfinished
    from relay.wiring.runtime import Runtime


class DoneSince(StrEnum):
    """What was done since the backup, and is done again."""

    KEY_REVOKED = "key revoked"
    KEY_ROTATED = "key rotated"
    REMOVED = "webhook removed"
    CHANGED = "webhook changed"
    PAUSED = "webhook paused"
    SECRET_SET = "secret set"  # noqa: S105 - a kind of act
    SECRET_REMOVED = "secret removed"  # noqa: S105
    CANCELLED = "invocations cancelled"
    REPLAY_STOPPED = "replay stopped"
    FORGOTTEN = "invocations forgotten"


#: What doing it again means.
ACTIONS: Final = {
    DoneSince.KEY_REVOKED: "revoke the key again",
    DoneSince.KEY_ROTATED: "revoke the key: its successor is not in the backup, create another one",
    DoneSince.REMOVED: "remove the webhook again",
    DoneSince.CHANGED: "pause the webhook until its present registration has been applied again",
    DoneSince.PAUSED: "pause the webhook again",
    DoneSince.SECRET_SET: "pause the webhooks that use it until its present value has been set again",
    DoneSince.SECRET_REMOVED: "remove the secret again",
    DoneSince.CANCELLED: "end these calls, even the repeatable ones",
    DoneSince.REPLAY_STOPPED: "end its unfinished calls, even the repeatable ones",
    DoneSince.FORGOTTEN: "delete their payloads again",
}
#: Acts and their outcomes. A key that was rotated and then revoked, or the other way round, has ended in any case.
_KEYS: Final = {(Act.KEY_REVOKE, "revoked"): DoneSince.KEY_REVOKED, (Act.KEY_ROTATE, "rotated"): DoneSince.KEY_ROTATED}
_WEBHOOKS: Final = {
    (Act.WEBHOOK_REMOVE, "removed"): DoneSince.REMOVED,
    **{
        (act, outcome): DoneSince.CHANGED
        for act in (Act.WEBHOOK_APPLY, Act.WEBHOOK_ROLLBACK, Act.WEBHOOK_SET_SECRET)
        for outcome in ("created", "changed")
    },
}
_SECRETS: Final = {
    (Act.SECRET_SET, "created"): DoneSince.SECRET_SET,
    (Act.SECRET_SET, "changed"): DoneSince.SECRET_SET,
    (Act.SECRET_REMOVE, "removed"): DoneSince.SECRET_REMOVED,
}
_STOPS: Final = {
    (Act.WEBHOOK_PAUSE, "paused"): DoneSince.PAUSED,
    (Act.REPLAY_PAUSE, "paused"): DoneSince.REPLAY_STOPPED,
    (Act.REPLAY_CANCEL, "cancelled"): DoneSince.REPLAY_STOPPED,
}
_RESUMES: Final = {
    (Act.WEBHOOK_RESUME, "resumed"): DoneSince.PAUSED,
    (Act.REPLAY_RESUME, "running"): DoneSince.REPLAY_STOPPED,
}
_INVOCATIONS: Final = {(Act.CANCEL, "cancelled"): DoneSince.CANCELLED, (Act.FORGET, "forgotten"): DoneSince.FORGOTTEN}
_LOST: Final = {
    (Act.TRIGGER, "accepted"): "triggers",
    (Act.KEY_CREATE, "created"): "keys",
    (Act.KEY_ROTATE, "rotated"): "keys",
    (Act.REPLAY_START, "started"): "replays",
}


@dataclass(frozen=True, slots=True)
class Undoing:
    """One thing that was done since the backup, to a key, a webhook, a secret or invocations of a plugin."""

    kind: DoneSince
    plugin: str
    subject: str
    references: tuple[str, ...] = ()


@dataclass(slots=True)
class SubjectsForgotten:
    """How many jobs to forget a subject of a plugin were begun and ended since the backup, and when the last was.

    The trail names no subject, so that these cannot be done again.
    """

    begun: int = 0
    ended: int = 0
    invocations: int = 0
    last_at: str = ""


class ShippedTrail:
    """The entries of a shipped trail after those that the backup has: lines of `relay audit export` or `tail`.

    ``trails`` has the number of the backup's last entry in each trail. Raises ``BadParameter`` as `check_trail`.
    """

    def __init__(self, file: IO[bytes], trails: Mapping[str, int]) -> None:
        self._keys: dict[tuple[str, str], DoneSince] = {}
        self._webhooks: dict[tuple[str, str], DoneSince] = {}
        self._stopped: defaultdict[DoneSince, set[tuple[str, str]]] = defaultdict(set)
        self._secrets: dict[tuple[str, str], DoneSince] = {}
        self._references: defaultdict[tuple[DoneSince, str], list[str]] = defaultdict(list)
        #: Counts of what is lost: triggers accepted, keys made, replays started since.
        self.lost: Counter[str] = Counter()
        self.subjects: defaultdict[str, SubjectsForgotten] = defaultdict(SubjectsForgotten)  # by plugin
        #: How many entries follow the backup, by trail.
        self.following = Counter(dict.fromkeys(trails, 0))
        for line in _entries(file):
            if line["seq"] > trails.get(line["trail"], 0):
                self.following[line["trail"]] += 1
                self._take(line)

    def undoings(self, runtime: Runtime) -> Iterator[Undoing]:
        """Yield what concerns the store as it is at that moment: what was yielded before may have been done again."""
        keys = {key.id for key in runtime.api_keys.list() if not key.revoked}
        yield from (Undoing(kind, plugin, key) for (plugin, key), kind in self._keys.items() if key in keys)
        for name, kind in self._webhooks.items():
            if runtime.registry.current(*name) is not None:
                yield Undoing(kind, *name)
        for name in sorted(self._stopped[DoneSince.PAUSED]):
            if runtime.registry.current(*name) is not None and not runtime.policies.traffic(*name).paused:
                yield Undoing(DoneSince.PAUSED, *name)
        for name, kind in self._secrets.items():
            if name[1] in runtime.registry.secrets.names(name[0]):
                yield Undoing(kind, *name)
        for name in sorted(self._stopped[DoneSince.REPLAY_STOPPED]):
            if calls := runtime.replay_store.open_calls(name[1]):
                yield Undoing(DoneSince.REPLAY_STOPPED, *name, tuple(calls))
        for (kind, plugin), references in self._references.items():
            yield Undoing(kind, plugin, f"{len(references)} invocations", tuple(references))

    def _take(self, line: Mapping[str, Any]) -> None:
        act, name = (line.get("act"), line.get("outcome", "")), (line.get("plugin", ""), line.get("subject", ""))
        if act in _LOST:
            self.lost[_LOST[act]] += line.get("count", 1)
        if act in _KEYS:
            self._keys[name] = _KEYS[act]
        elif act in _WEBHOOKS:
            self._webhooks.pop(name, None)  # in the order of the last acts: what used one was removed before it
            self._webhooks[name] = _WEBHOOKS[act]
        elif act in _SECRETS:
            self._secrets[name] = _SECRETS[act]
        elif act in _STOPS:
            self._stopped[_STOPS[act]].add(name)
        elif act in _RESUMES:
            self._stopped[_RESUMES[act]].discard(name)
        elif act in _INVOCATIONS:
            self._references[_INVOCATIONS[act], name[0]] += line.get("references", ())
        elif act[0] == Act.FORGET_SUBJECT and act[1] in {"started", "forgotten"}:
            subjects = self.subjects[name[0]]
            subjects.begun += act[1] == "started"
            subjects.ended += act[1] == "forgotten"
            subjects.invocations += line.get("count", 0)
            subjects.last_at = max(subjects.last_at, line.get("at", ""))


class Redoing:
    """Does again what was done since the backup. A webhook that is still used, and so not removed, is paused.

    What is refused is tried again once something else has been done.
    """

    def __init__(self, runtime: Runtime, unfinished: Unfinished) -> None:
        self._runtime = runtime
        self._unfinished = unfinished
        #: What was refused, and why: a webhook or a chain needs it.
        self.refused: dict[Undoing, Conflict] = {}

    def do(self, undoing: Undoing) -> None:
        """Do one thing again, or note that it was refused."""
        if self._is_done(undoing):
            while any(self._is_done(each) for each in list(self.refused)):
                pass

    def _is_done(self, undoing: Undoing) -> bool:
        try:
            _undo(self._runtime, self._unfinished, undoing)
        except Conflict as error:
            if undoing.kind is DoneSince.REMOVED:
                self._runtime.policies.pause(undoing.plugin, undoing.subject)
            self.refused[undoing] = error
            return False
        self.refused.pop(undoing, None)
        return True


def _undo(runtime: Runtime, unfinished: Unfinished, undoing: Undoing) -> None:
    """Do one thing again. Raises ``Conflict``: what was removed is still used by a webhook, or `_forget` raises it."""
    name = undoing.plugin, undoing.subject
    match undoing.kind:
        case DoneSince.KEY_REVOKED | DoneSince.KEY_ROTATED:
            runtime.api_keys.revoke(undoing.subject)
        case DoneSince.REMOVED:
            runtime.registry.remove(*name)
        case DoneSince.CHANGED | DoneSince.PAUSED:
            runtime.policies.pause(*name)
        case DoneSince.SECRET_SET:
            for webhook in runtime.registry.secrets.users(*name):
                runtime.policies.pause(undoing.plugin, webhook)
        case DoneSince.SECRET_REMOVED:
            runtime.registry.secrets.remove(*name)
        case DoneSince.CANCELLED | DoneSince.REPLAY_STOPPED:
            unfinished.end(undoing.references)
        case DoneSince.FORGOTTEN:
            unfinished.end(undoing.references)
            _forget(runtime, undoing)


def _forget(runtime: Runtime, undoing: Undoing) -> None:
    """Delete payloads and results again; raise ``Conflict`` if the chains of some, which are steps, still need them."""
    needed = []
    for reference_id in undoing.references:
        try:
            with suppress(NotFound, Expired):  # it was accepted after the backup, or is past its retention
                runtime.store.forget(undoing.plugin, reference_id)
        except Conflict:
            needed.append(reference_id)
    if needed:
        raise Conflict(f"The chains of these steps have not ended: forget them once they have: {', '.join(needed)}.")


def check_trail(file: IO[bytes]) -> None:
    """Read a shipped trail to its end; raise ``BadParameter``, which names the first line that is wrong."""
    for _ in _entries(file):
        pass


def _entries(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    if not file.seekable():
        raise BadParameter("The trail's file is read twice, and cannot be: give a file, and no pipe.")
    for number, text in enumerate(lines_in(file), 1):
        line = _parsed(number, text)
        if "seq" in line:  # others are signatures
            yield line


def _parsed(number: int, text: bytes) -> dict[str, Any]:
    """Return the members of a line; of an empty line, none."""
    if not text.strip():
        return {}
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # also if it is not UTF-8
        line = None
    if not isinstance(line, dict):
        raise _fault(number, "is no JSON object, or was cut off")
    if "seq" in line and not _is_entry(line):
        raise _fault(number, "is not an entry as the relay writes it")
    return line


def _is_entry(line: Mapping[str, Any]) -> bool:
    try:
        raw_from({name: value for name, value in line.items() if name != "trail"})
    except ValueError:
        return False
    return type(line["seq"]) is int and isinstance(line.get("trail"), str)


def _fault(number: int, what: str) -> BadParameter:
    return BadParameter(
        f"Line {number} of the file {what}: it has to be a line of `relay audit export` or `relay audit tail`."
    )
