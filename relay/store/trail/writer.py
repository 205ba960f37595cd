"""Writes the audit entries of acts that no script performs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relay.audit.actor import actor
from relay.audit.entry import AuditEntry
from relay.errors import RelayError
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.scripting.scripts import Scripts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from relay.audit.entry import Act


class AuditWriter:
    """Writes entries: those about a plugin to the trail of its partition, others to the shared trail.

    Methods raise `Unavailable` while the server is away.
    """

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._scripts = Scripts(client)

    def write(
        self, act: Act, *, plugin: str = "", subject: str = "", outcome: str = "done", count: int | None = None
    ) -> None:
        """Add an entry for an act that no script performs, in the name of the current actor."""
        self.write_all([AuditEntry(0, act, actor(), plugin, subject, outcome=outcome, count=count)])

    def write_all(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries, dated by the server's clock."""
        by_root: dict[str, list[Any]] = {}
        for entry in entries:
            root = self._keys.root(entry.plugin) if entry.plugin else SHARED_ROOT
            by_root.setdefault(root, []).append(entry.words())
        for root, words in by_root.items():
            self._scripts.run("audit_add", words, root)

    @contextmanager
    def writing(self, act: Act, *, plugin: str = "", subject: str = "") -> Iterator[None]:
        """Add one entry before the body runs, and one afterwards that tells how it ended."""
        self.write(act, plugin=plugin, subject=subject, outcome="begun")
        try:
            yield
        except RelayError as error:
            self.write(act, plugin=plugin, subject=subject, outcome=error.code)
            raise
        self.write(act, plugin=plugin, subject=subject)
