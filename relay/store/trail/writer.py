"""Writes the audit entries of acts that no script performs."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from relay.audit.actor import actor
from relay.audit.entry import AuditEntry
from relay.errors import RelayError
from relay.store.keys.keyspace import SINGLE, Keyspace
from relay.store.keys.names import SHARED_ROOT
from relay.store.partitions.reachable import ask_first, ask_groups
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import adding_sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from relay.audit.entry import Act
    from relay.store.partitions.spreading import Spread

_DONE: Final = "The act itself is done: only the entry that says so may be missing from the audit trail."


class AuditWriter:
    """Writes entries: those about a plugin to the trail of its partition, others to the shared trail.

    While the shared keys are silent, an act's entry is written to the trail of a partition instead.

    Unless stated otherwise, methods raise `Unavailable` while the server is away.
    """

    def __init__(self, client: redis.Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client = client
        self._scripts = Scripts(client)

    def write(
        self, act: Act, *, plugin: str = "", subject: str = "", outcome: str = "done", count: int | None = None
    ) -> None:
        """Add an entry for an act that no script performs, in the name of the current actor."""
        entry = AuditEntry(0, act, actor(), plugin, subject, outcome=outcome, count=count)
        if plugin:
            self._scripts.run("audit_add", [entry.words()], self._keys.root(plugin))
        else:
            ask_first(self._client, self._keys, lambda root: self._scripts.run("audit_add", [entry.words()], root))

    def write_all(self, entries: Sequence[AuditEntry]) -> list[AuditEntry]:
        """Add entries, dated by the server's clock; return those whose trail does not accept them now."""

        def add(group: Spread[AuditEntry]) -> None:
            self._scripts.run("audit_add", [entry.words() for entry in group.items], group.root)

        return ask_groups(self._client, entries, self._root, add)[1]

    def _root(self, entry: AuditEntry) -> str:
        return self._keys.root(entry.plugin) if entry.plugin else SHARED_ROOT

    @contextmanager
    def writing(self, act: Act, *, plugin: str = "", subject: str = "") -> Iterator[None]:
        """Add one entry before the body runs, and one afterwards that says how it ended."""
        self.write(act, plugin=plugin, subject=subject, outcome="begun")
        try:
            yield
        except RelayError as error:
            with suppress(RelayError):  # the act's own error is reported
                self.write(act, plugin=plugin, subject=subject, outcome=error.code)
            raise
        with adding_sentence(_DONE, RelayError):
            self.write(act, plugin=plugin, subject=subject)
