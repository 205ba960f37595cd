"""Reads the records of invocations, and adds API processes to their waiters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.audit.actor import actor
from relay.domain.reference_id import reference_time_ms
from relay.errors import Expired, NotFound, Unavailable
from relay.store.keys.names import key_in
from relay.store.ledger.records import invocation_from
from relay.store.server.clock import time_ms_from
from relay.store.server.errors import store_errors
from relay.store.server.fields import DAMAGED, StoredFields
from relay.store.server.replies import replies_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from relay.domain.invocation import Invocation
    from relay.store.keys.keyspace import Keyspace
    from relay.store.ledger.limits import Limits
    from relay.store.scripting.scripts import Scripts


class RecordReader:
    """Reads records. Every method raises `Unavailable` while the server is away."""

    def __init__(self, client: redis.Redis, scripts: Scripts, keys: Keyspace, limits: Limits) -> None:
        self._client: Any = client  # replies are bytes; redis-py types them as bytes or str
        self._scripts = scripts
        self.keys = keys
        self._limits = limits

    def waits(self, plugin: str, webhook_id: str) -> bool:
        """Return whether a webhook has calls that are not final, even if it is not registered."""
        with store_errors():
            return bool(self._client.exists(self.keys.of_plugin("open", plugin, webhook=webhook_id)))

    def get(self, plugin: str, reference_id: str) -> Invocation:
        """Read the record of one of a plugin's invocations.

        Raises:
            NotFound: the id is unknown, or belongs to another plugin.
            Expired: the record is older than its retention.
        """
        invocation = self.find(reference_id)
        if invocation.plugin != plugin:
            raise NotFound
        return invocation

    def get_confirmed(self, plugin: str, reference_id: str) -> Invocation:
        """Read a record like `get`, but an end only once the replicas that are asked for have it.

        Raises `Unavailable` if too few of them have it, or if a failover has undone it.
        """
        invocation = self.get(plugin, reference_id)
        if invocation.final and self._scripts.waits:
            (is_final,) = self._scripts.run("ended", [reference_id], self.keys.root_of_ref(reference_id))
            if not is_final:
                raise Unavailable
        return invocation

    def find(self, reference_id: str) -> Invocation:
        """Read the record of an invocation of any plugin, for operators; raises what `get` raises."""
        if reference_time_ms(reference_id) is None:
            raise NotFound
        root = self.keys.root_of_ref(reference_id)
        record, listed = (key_in(root, kind, ref=reference_id) for kind in ("record", "steps"))
        commands = [("HGETALL", record), ("LRANGE", listed, 0, -1)]
        fields, steps, time = replies_to(self._client, commands, time_of=root)
        return self._found(reference_id, fields, steps, time_ms_from(time))

    def look_up(self, reference_id: str, plugin: str | None = None) -> Invocation:
        """Read a record like `get`, or like `find` without a plugin, and write the read to the audit trail."""
        if reference_time_ms(reference_id) is None:
            raise NotFound
        args = [reference_id, plugin or "", actor()]
        pairs, steps, now_ms = self._scripts.run("look_up", args, self.keys.root_of_ref(reference_id))
        return self._found(reference_id, dict(zip(pairs[::2], pairs[1::2], strict=True)), steps, int(now_ms))

    def join(self, plugin: str, reference_id: str, process: str) -> Invocation:
        """Add an API process to the waiters of an invocation, unless it is final; read it like `get_confirmed`."""
        if reference_time_ms(reference_id) is None:
            raise NotFound
        self._scripts.run("join", [reference_id, plugin, process], self.keys.root_of_ref(reference_id))
        return self.get_confirmed(plugin, reference_id)  # read after joining, so that an end in between is seen

    def result_of(self, reference_id: str) -> bytes | None:
        """Read the sealed data of an answer; None if no answer is stored."""
        return self._sealed(self.keys.of_ref("result", reference_id))

    def payload_of(self, reference_id: str) -> bytes | None:
        """Read the sealed trigger; None if none is stored."""
        return self._sealed(self.keys.of_ref("payload", reference_id))

    def _sealed(self, key: str) -> bytes | None:
        (sealed,) = replies_to(self._client, [("GET", key)])
        return DAMAGED if isinstance(sealed, Exception) else sealed

    def _found(
        self,
        reference_id: str,
        fields: Mapping[bytes, bytes] | Exception,
        steps: Sequence[bytes] | Exception | None,
        now_ms: int,
    ) -> Invocation:
        if not fields:
            limits = self._limits
            kept_ms = min(limits.retention_ms, limits.failed_retention_ms, limits.rejected_retention_ms)
            made_ms = reference_time_ms(reference_id)
            raise Expired if made_ms is not None and kept_ms < now_ms - made_ms else NotFound
        invocation = invocation_from(reference_id, self.keys.of_ref("record", reference_id), fields, steps)
        if invocation.expires_at_ms is not None and invocation.expires_at_ms <= now_ms:
            raise Expired
        return invocation

    def count(self, plugin: str, counter: str) -> None:
        """Add one to a plugin's counter."""
        with store_errors():
            self._client.hincrby(self.keys.of_plugin("plugin_counts", plugin), counter, 1)

    def counts(self, plugin: str) -> dict[str, int]:
        """Read a plugin's counters by name."""
        key = self.keys.of_plugin("plugin_counts", plugin)
        (found,) = replies_to(self._client, [("HGETALL", key)])
        return StoredFields(key, found).numbers()
