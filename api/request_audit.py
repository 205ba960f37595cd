"""Counts the requests for which no script writes an audit entry, and writes the counts to the trail every second.

A script that acts for a key writes its own entry (``is_audited`` in the request's context). The other requests with a
key, reads and those refused at the door, are counted by key, route and outcome. Requests without a valid key are
counted by code, for a minute. A process that is killed loses its last counts; none of those requests changed anything.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from relay.audit.entry import Act, AuditEntry
from relay.process.loops import Loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import falcon

    from relay.store.trail.writer import AuditWriter

PERIOD_S: Final = 1.0
_UNKEYED_S: Final = 60.0
#: How many kinds of requests are told apart in one period; further ones are counted by act and outcome alone.
_MOST: Final = 2_000
_PIECE: Final = 200  # entries in one script


class AlikeRequests(NamedTuple):
    """The properties by which requests are counted together."""

    act: Act
    who: str
    plugin: str
    subject: str
    outcome: str


class ActCounts:
    """Counts of alike requests since the last write."""

    def __init__(self, writer: AuditWriter) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # a stop waits for what is being written, and repeats it if that fails
        self._counts: Counter[AlikeRequests] = Counter()
        self._unkeyed: Counter[AlikeRequests] = Counter()
        self._unkeyed_s = time.monotonic()

    def start(self) -> None:
        """Start a thread that writes the counts every second."""
        loop = Loop("audit", self._iterate, time.sleep)
        threading.Thread(target=loop.run, name="audit", daemon=True).start()

    def stop(self) -> None:
        """Write the remaining counts, including those of requests without a key."""
        self._unkeyed_s = -_UNKEYED_S
        self.write()

    def add_request(self, req: falcon.Request, status: int, act: Act) -> None:
        """Count a request for which no script writes an entry, and the refused items of a list."""
        context = req.context
        key, code = context.key, context.code
        if key is None:
            if status in {401, 429} and code is not None:
                with self._lock:
                    self._unkeyed[AlikeRequests(Act.AUTHENTICATE, "", "", "", code)] += 1
            return
        for item_code, count in context.refused_items.items():
            self._add(AlikeRequests(act, key.id, key.plugin, "", item_code), count)
        if not context.is_audited:
            subject = "" if act is not Act.REQUEST else f"{req.method}:{req.uri_template}"
            self._add(AlikeRequests(act, key.id, key.plugin, subject, code or "done"))

    def _add(self, alike: AlikeRequests, count: int = 1) -> None:
        with self._lock:
            if alike not in self._counts and len(self._counts) >= _MOST:
                alike = AlikeRequests(alike.act, "", "", "", alike.outcome)
            self._counts[alike] += count

    def write(self) -> None:
        """Write the counts to the trail; keep those that the store does not take for the next time."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, Counter()
            if time.monotonic() - self._unkeyed_s >= _UNKEYED_S:
                self._unkeyed_s = time.monotonic()
                counts.update(self._unkeyed)
                self._unkeyed.clear()
        entries = {_entry(alike, count): alike for alike, count in counts.items()}
        listed = list(entries)
        for at in range(0, len(listed), _PIECE):
            self._keep(self._writer.write_all(listed[at : at + _PIECE]), entries)

    def _keep(self, left: Iterable[AuditEntry], entries: Mapping[AuditEntry, AlikeRequests]) -> None:
        with self._lock:
            for entry in left:
                self._counts[entries[entry]] += entry.count or 0

    def _iterate(self) -> None:
        time.sleep(PERIOD_S)
        self.write()


def _entry(alike: AlikeRequests, count: int) -> AuditEntry:
    return AuditEntry(0, alike.act, alike.who, alike.plugin, alike.subject, outcome=alike.outcome, count=count)
