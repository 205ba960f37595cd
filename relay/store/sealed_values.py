"""Everything in the store that a key ring seals, one value at a time: found, and replaced if it is still the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from relay.errors import StoreFault
from relay.invocation import Purpose
from relay.store.key_names import PARTITIONED, partition_root, root_of_key
from relay.store.keyspace import SINGLE, Keyspace
from relay.store.plugin_names import places_at_rest
from relay.store.scripts import Scripts
from relay.store.server_errors import store_errors
from relay.vault import payload_owner, raw_owner, result_owner, secrets_owner, target_owner, token_owner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

_PIECE: Final = 500  # keys that one SCAN looks at
_TOLD: Final = frozenset({"raw", "secrets"})  # of what endpoints told a chain
_PARTS: Final = _TOLD | {"payload", "result"}
_RECORD: Final = ("plugin", "webhook", "revision", "pins", "parent", "parentStep", "step")


@dataclass(frozen=True, slots=True)
class SealedValue:
    """What lies where a sealed value belongs: under which key, what it is and of which plugin, and which ring seals it.

    Where the value cannot be read, or its record does not say whose it is, what cannot be known is empty. It does not
    open then.
    """

    key: str
    ring: str  # "target" or "data"
    kind: str  # "payload", "result", "raw", "secrets", "target" or "token"
    plugin: str = ""
    owner: str = ""
    sealed: bytes = b""


class _Record(NamedTuple):
    """What a record says of whose its contents are; empty text for what it does not say."""

    plugin: str
    webhook: str
    revision: str
    pins: str
    parent: str
    parent_step: str
    step: str  # of a chain: at which step it is

    def owner(self, part: str, reference_id: str) -> str:
        if part == "result":
            return result_owner(self.plugin, reference_id)
        if part == "raw":
            return raw_owner(self.plugin, reference_id, self.parent, int(self.parent_step or 0))
        if part == "secrets":
            return secrets_owner(self.plugin, reference_id, int(self.step or 0))
        place = (self.parent, int(self.parent_step or 0)) if self.parent else (None, None)
        purpose = Purpose(self.webhook, int(self.revision or 0), self.pins or None, *place)
        return payload_owner(self.plugin, reference_id, purpose)


class SealedValues:
    """All sealed values of one server. Methods raise ``Unavailable`` when it cannot be reached."""

    def __init__(self, client: Redis, keys: Keyspace = SINGLE) -> None:
        self._keys = keys
        self._client: Any = client
        self._scripts = Scripts(client)

    def places(self) -> list[dict[bytes, bytes]]:
        """Return `places_at_rest`: values of a plugin that is moved meanwhile may be missed by a walk through all."""
        with store_errors():
            return places_at_rest(self._client, self._keys)

    def count(self) -> int:
        """Return about how many keys there are to look at."""
        with store_errors():
            return int(self._client.dbsize())

    def every(self) -> Iterator[SealedValue | None]:
        """Find every sealed value; None stands for a key of something else, so that progress can be told.

        What is there all the time is found at least once; what comes meanwhile is sealed with the newest key already.
        """
        for kind in ("inv:*:*", "target:*", "token:*"):
            found = self._client.scan_iter(match=partition_root("*") + kind, count=_PIECE)
            while True:
                with store_errors():
                    key = next(found, None)
                if key is None:
                    break
                yield self._value(key.decode("utf-8", "replace"))

    def replace(self, value: SealedValue, sealed: bytes) -> bool:
        """Put a value sealed anew in the place of the old one; False if that has changed or gone meanwhile."""
        return bool(self._scripts.run("reseal", [value.key, value.sealed, sealed], root_of_key(value.key)))

    def _value(self, key: str) -> SealedValue | None:
        kind, *names = key.removeprefix(root_of_key(key)).split(":")
        if kind == "inv" and len(names) == 2 and names[1] in _PARTS:
            return self._content(key, *names)
        if kind in {"target", "token"} and len(names) == 3 and names[2].isdecimal():
            return self._secret(key, kind, *names)
        return None

    def _content(self, key: str, reference_id: str, part: str) -> SealedValue | None:
        try:
            with store_errors():
                pipeline = self._client.pipeline(transaction=True)  # a chain's secrets go with the step that it is at
                pipeline.get(key)
                pipeline.hmget(key.removesuffix(f":{part}"), *_RECORD)  # the record beside it
                sealed, fields = pipeline.execute()
            record = _Record(*((field or b"").decode() for field in fields))
            owner = record.owner(part, reference_id)
        except (StoreFault, ValueError):  # not what belongs there: another type, no number
            return SealedValue(key, "target" if part in _TOLD else "data", part)
        if sealed is None:
            return None
        is_told = part in _TOLD or (part == "payload" and record.parent)
        return SealedValue(key, "target" if is_told else "data", part, record.plugin, owner, sealed)

    def _secret(self, key: str, kind: str, plugin: str, webhook: str, revision: str) -> SealedValue | None:
        number = int(revision)
        try:
            with store_errors():
                sealed = self._client.get(key)
                beside = PARTITIONED["revision"].format(plugin=plugin, webhook=webhook, revision=number)
                shape = self._client.hget(root_of_key(key) + beside, "shape") or b""
        except StoreFault:
            return SealedValue(key, "target", kind, plugin)
        if sealed is None:
            return None
        owner = (
            token_owner(plugin, webhook, number) if kind == "token" else target_owner(plugin, webhook, number, shape)
        )
        return SealedValue(key, "target", kind, plugin, owner, sealed)
