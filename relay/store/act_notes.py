"""Entries of the audit trail about acts that no script does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relay.audit.actor import actor
from relay.audit.entry import AuditEntry
from relay.errors import RelayError
from relay.store.key_names import SHARED_ROOT
from relay.store.keyspace import SINGLE, Keyspace
from relay.store.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from relay.audit.entry import Act


class ActNotes:
    """What is about a plugin goes into the trail of its partition. Raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._scripts = Scripts(client)

    def note(
        self, act: Act, *, plugin: str = "", subject: str = "", outcome: str = "done", count: int | None = None
    ) -> None:
        """Add an entry of an act that no script does, by whoever acts here."""
        self.add([AuditEntry(0, act, actor(), plugin, subject, outcome=outcome, count=count)])

    def add(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries; their time is now."""
        by_root: dict[str, list[Any]] = {}
        for entry in entries:
            root = self._keys.root(entry.plugin) if entry.plugin else SHARED_ROOT
            by_root.setdefault(root, []).append(entry.words())
        for root, words in by_root.items():
            self._scripts.run("audit_add", words, root)

    @contextmanager
    def noting(self, act: Act, *, plugin: str = "", subject: str = "") -> Iterator[None]:
        """Add an entry before something is done, and one of how it ended."""
        self.note(act, plugin=plugin, subject=subject, outcome="begun")
        try:
            yield
        except RelayError as error:
            self.note(act, plugin=plugin, subject=subject, outcome=error.code)
            raise
        self.note(act, plugin=plugin, subject=subject)
