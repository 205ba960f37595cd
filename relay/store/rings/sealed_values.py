"""Finds every value in the store that a key ring has sealed, and replaces it if it is still the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from relay.domain.invocation import Purpose
from relay.errors import StoreFault
from relay.store.keys.names import key_in, partition_root, root_of_key
from relay.store.partitions.reachable import ask_servers
from relay.store.scripting.scripts import Scripts
from relay.store.server.errors import store_errors
from relay.vault import (
    payload_owner,
    raw_owner,
    result_owner,
    secret_owner,
    secrets_owner,
    subject_key_owner,
    target_owner,
    token_owner,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from redis import Redis

_PIECE: Final = 500  # how many keys one SCAN examines
_STAMPS: Final = 4_096  # revisions whose stamps are remembered
_FROM_ANSWERS: Final = frozenset({"raw", "secrets"})  # parts that come from answers to a chain's steps
_PARTS: Final = _FROM_ANSWERS | {"payload", "result"}
#: The fields of a record that determine the owners of its contents; `step` is the step that a chain has reached.
_RECORD: Final = ("plugin", "webhook", "revision", "pins", "parent", "parentStep", "step")


@dataclass(frozen=True, slots=True)
class SealedValue:
    """The contents of a key that holds a sealed value: its kind, its plugin, and the ring that seals it.

    If the value cannot be read, or its record does not determine the owner, the members that are unknown are empty, and
    the value does not open.
    """

    key: str
    ring: str  # "target" or "data"
    kind: str  # "payload", "result", "raw", "secrets", "subject-key", "target", "token" or "secret"
    plugin: str = ""
    owner: str = ""
    sealed: bytes = b""


class SealedValues:
    """All sealed values of the store. Methods raise ``Unavailable`` when it cannot be reached."""

    def __init__(self, client: Redis) -> None:
        self._client: Any = client
        self._scripts = Scripts(client)
        self._stamp = lru_cache(_STAMPS)(self._read_stamp)

    def on_each_server(self, act: Callable[[Iterator[SealedValue | None]], object]) -> bool:
        """Do something with the values of each server that answers; return whether all of them did."""
        return ask_servers(self._client, lambda server: act(self.every(server))).complete

    def every(self, server: Any = None) -> Iterator[SealedValue | None]:
        """Yield every sealed value, and None for each key of another kind, so that the caller can show progress.

        With ``server``, the client of one server, yield only its values.

        A value that exists all the time is found at least once; a value that is written meanwhile is already sealed
        with the newest key.
        """
        for kind in ("inv:*:*", "p:*:subject-key", "target:*", "token:*", "secret:*"):
            found = (server or self._client).scan_iter(match=partition_root("*") + kind, count=_PIECE)
            while True:
                with store_errors():
                    key = next(found, None)
                if key is None:
                    break
                yield self._value(key.decode("utf-8", "replace"))

    def replace(self, value: SealedValue, sealed: bytes) -> bool:
        """Replace a value with its newly sealed form; return False if it was changed or deleted in the meantime."""
        return bool(self._scripts.run("reseal", [value.key, value.sealed, sealed], root_of_key(value.key)))

    def _value(self, key: str) -> SealedValue | None:
        kind, *names = key.removeprefix(root_of_key(key)).split(":")
        if kind == "inv" and len(names) == 2 and names[1] in _PARTS:
            return self._content(key, *names)
        if kind == "p" and len(names) == 2 and names[1] == "subject-key":
            return self._of_plugin(key, "data", "subject-key", names[0])
        is_of_revision = kind in {"target", "token"} and len(names) == 3 and names[2].isdecimal()
        if is_of_revision or (kind == "secret" and len(names) == 2):
            return self._of_plugin(key, "target", kind, *names)
        return None

    def _content(self, key: str, reference_id: str, part: str) -> SealedValue | None:
        try:
            with store_errors():
                pipeline = self._client.pipeline(transaction=True)  # a chain's secrets are bound to its present step
                pipeline.get(key)
                pipeline.hmget(key.removesuffix(f":{part}"), *_RECORD)  # the record that it belongs to
                sealed, fields = pipeline.execute()
            record = dict(zip(_RECORD, ((field or b"").decode() for field in fields), strict=True))
            owner = self._content_owner(root_of_key(key), reference_id, part, record)
        except (StoreFault, ValueError):  # of another type, or not a number
            return SealedValue(key, "target" if part in _FROM_ANSWERS else "data", part)
        if sealed is None:
            return None
        is_from_answer = part in _FROM_ANSWERS or (part == "payload" and record["parent"])
        return SealedValue(key, "target" if is_from_answer else "data", part, record["plugin"], owner, sealed)

    def _content_owner(self, root: str, reference_id: str, part: str, record: Mapping[str, str]) -> str:
        plugin, webhook, parent = record["plugin"], record["webhook"], record["parent"]
        if part == "result":
            return result_owner(plugin, reference_id)
        if part == "secrets":
            return secrets_owner(plugin, reference_id, int(record["step"] or 0))
        parent_step = int(record["parentStep"] or 0)
        if part == "raw":
            return raw_owner(plugin, reference_id, parent, parent_step)
        revision, position = int(record["revision"] or 0), (parent, parent_step) if parent else (None, None)
        purpose = Purpose(webhook, revision, record["pins"] or None, *position)
        return payload_owner(plugin, reference_id, purpose, self._stamp(root, plugin, webhook, revision))

    def _of_plugin(self, key: str, ring: str, kind: str, plugin: str, *names: str) -> SealedValue | None:
        try:
            with store_errors():
                sealed = self._client.get(key)
                owner = self._owner(root_of_key(key), kind, plugin, *names)
        except StoreFault:
            return SealedValue(key, ring, kind, plugin)
        return None if sealed is None else SealedValue(key, ring, kind, plugin, owner, sealed)

    def _owner(self, root: str, kind: str, plugin: str, *names: str) -> str:
        if kind == "subject-key":
            return subject_key_owner(plugin)
        if kind == "secret":
            return secret_owner(plugin, *names)
        webhook, number = names[0], int(names[1])
        beside = key_in(root, "revision", plugin=plugin, webhook=webhook, revision=number)
        shape, stamp = self._client.hmget(beside, "shape", "stamp")
        revision = (plugin, webhook, number, (stamp or b"").decode("latin-1"))
        return token_owner(*revision) if kind == "token" else target_owner(*revision, shape or b"")

    def _read_stamp(self, root: str, plugin: str, webhook: str, revision: int) -> str:
        with store_errors():
            key = key_in(root, "revision", plugin=plugin, webhook=webhook, revision=revision)
            return (self._client.hget(key, "stamp") or b"").decode("latin-1")
