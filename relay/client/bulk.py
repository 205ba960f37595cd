"""Makes request bodies for the API: of one trigger, or of a long list, cut into groups that the API accepts."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from relay.errors import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The most items that one `POST /v1/triggers` takes.
GROUP_ITEMS: Final = 1_000
#: Half of the relay's default RELAY_MAX_BODY_BYTES; a relay with a lower one answers 413, and the group is halved.
GROUP_BYTES: Final = 4 * 1024 * 1024

_MEMBERS: Final = {"webhook_id": "webhookId", "query_params": "queryParams", "idempotency_key": "idempotencyKey"}


@dataclass(frozen=True, slots=True)
class Group:
    """Items, each already JSON text, that are sent as one array."""

    items: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        """The JSON array."""
        return b"[" + b",".join(self.items) + b"]"

    def halves(self) -> tuple[Group, Group]:
        """Split the group into two smaller ones, in order; only for a group of more than one item."""
        middle = len(self.items) // 2
        return Group(self.items[:middle]), Group(self.items[middle:])


def trigger_body(data: Any, headers: Any, query_params: Any, delay_s: float | None) -> bytes:
    """Write one trigger as the body of `POST /v1/webhooks/{webhookId}/trigger`.

    Raises:
        RequestRejected: a value in it cannot be written as JSON.
    """
    return _json({"data": data, "headers": headers, "queryParams": query_params, "delay": delay_s})


def groups(items: Iterable[Mapping[str, Any]]) -> Iterator[Group]:
    """Cut items into groups of at most `GROUP_ITEMS` items and `GROUP_BYTES` bytes; a larger item gets its own group.

    Each item has the members ``webhookId``, ``data``, ``headers``, ``queryParams`` and ``idempotencyKey`` (or the same
    in snake_case). One without an idempotency key is given one, so that a group can be sent again safely.

    Raises:
        RequestRejected: an item cannot be written as JSON.
    """
    pending: list[bytes] = []
    size_bytes = 0
    for item in items:
        encoded = _json(_item(item))
        if pending and (len(pending) == GROUP_ITEMS or size_bytes + len(encoded) + 1 > GROUP_BYTES):
            yield Group(tuple(pending))
            pending, size_bytes = [], 0
        pending.append(encoded)
        size_bytes += len(encoded) + 1
    if pending:
        yield Group(tuple(pending))


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise TypeError("An item must be a mapping with a webhookId.")
    named = {_MEMBERS.get(name, name): value for name, value in item.items()}
    if named.get("idempotencyKey") is None:
        named["idempotencyKey"] = str(uuid.uuid4())
    return named


def _json(members: dict[str, Any]) -> bytes:
    present = {name: _plain(value) for name, value in members.items() if value is not None}
    try:
        return json.dumps(present, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as fault:  # UnicodeEncodeError, a lone surrogate, is a ValueError
        raise RequestRejected("The trigger holds a value that cannot be written as JSON.") from fault


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):  # for payload_encoding "base64"
        return base64.b64encode(value).decode("ascii")
    return dict(value) if isinstance(value, Mapping) else value
