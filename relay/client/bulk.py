"""Makes request bodies for the API: of one trigger, or of a long list, cut into groups that the API accepts."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from relay.client.copies import Copies
from relay.client.problem import first_of
from relay.errors import Fault, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from relay.client.copies import Copy

#: The most items that one `POST /v1/triggers` takes.
GROUP_ITEMS: Final = 1_000
#: Half of the relay's default RELAY_MAX_BODY_BYTES; a relay with a lower one answers 413, and the group is halved.
GROUP_BYTES: Final = 4 * 1024 * 1024

_MEMBERS: Final = {
    "webhook_id": "webhookId",
    "query_params": "queryParams",
    "path_params": "pathParams",
    "idempotency_key": "idempotencyKey",
}


def copy_items(items: Iterable[Mapping[str, Any]]) -> Copy[list[dict[str, Any]]]:
    """Copy items as JSON carries them; data that is bytes stays bytes, and files among its members become `FileCopy`.

    Each item has the members ``webhookId``, ``data``, ``headers``, ``queryParams``, ``pathParams``, ``subject`` and
    ``idempotencyKey`` (or the same in snake_case). One without an idempotency key is given one, so that a group can be
    sent again safely.

    Raises:
        RequestRejected: an item has a member twice.
        TypeError: an item is no mapping.
    """
    copies = Copies()
    return copies.done([copies.trigger(_item(item, index), f"/{index}") for index, item in enumerate(items)])


def groups(items: Iterable[Mapping[str, Any]]) -> Iterator[list[bytes]]:
    """Write items as JSON, in groups of at most `GROUP_ITEMS` items and `GROUP_BYTES` bytes; a larger item is alone."""
    pending: list[bytes] = []
    size_bytes = 0
    for item in items:
        encoded = write(item)
        if pending and (len(pending) == GROUP_ITEMS or size_bytes + len(encoded) + 1 > GROUP_BYTES):
            yield pending
            pending, size_bytes = [], 0
        pending.append(encoded)
        size_bytes += len(encoded) + 1
    if pending:
        yield pending


def _item(item: Any, index: int) -> dict[Any, Any]:
    if not isinstance(item, Mapping):
        raise TypeError(f"An item must be a mapping with a webhookId: number {index} is a {type(item).__name__}.")
    named = {_MEMBERS.get(name, name): value for name, value in item.items()}
    if len(named) != len(item):
        faults = (Fault(f"/{index}", "has a member twice, in snake_case and in camelCase"),)
        raise RequestRejected(RequestRejected.sentence + first_of(faults), faults=faults)
    if named.get("idempotencyKey") is None:
        named["idempotencyKey"] = str(uuid.uuid4())
    return named


def write(copy: Mapping[str, Any]) -> bytes:
    """Write a copy of a trigger, or of an item, as JSON."""
    return json.dumps(copy, ensure_ascii=False, separators=(",", ":")).encode()
