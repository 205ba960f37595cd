"""The target: where a call goes and with which secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from relay.documents import dump_json
from relay.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Target:
    """Where it goes and with which secrets; sealed wherever it is stored. ``headers`` are the pre-filled ones."""

    endpoint: Endpoint
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def to_json(self) -> bytes:
        """Compact JSON, the same bytes for the same target."""
        where = self.endpoint
        return dump_json(
            {
                "endpoint": [where.scheme, where.host, where.port, where.path, where.query],
                "headers": dict(self.headers),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """The target that ``to_json`` wrote."""
        value = json.loads(raw)
        return cls(endpoint=Endpoint(*value["endpoint"]), headers=value["headers"])
