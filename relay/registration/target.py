"""The target: where a call goes and with which secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from relay.registration.credentials import Credentials
from relay.registration.endpoint import Endpoint
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes and with which secrets; sealed wherever it is stored. ``headers`` are the pre-filled ones."""

    endpoint: Endpoint
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    signing: tuple[str, ...] = field(default=(), repr=False)  # Standard Webhooks secrets, ``whsec_...``
    credentials: Credentials = field(default=Credentials(), repr=False)
    fixed_data: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    def to_json(self) -> bytes:
        """Return compact JSON, the same bytes for the same target."""
        return dump_json(
            {
                "endpoint": self.endpoint.to_value(),
                "headers": dict(self.headers),
                "signing": self.signing,
                "credentials": self.credentials.to_value(),
                **({"fixedData": self.fixed_data} if self.fixed_data else {}),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the target that ``to_json`` wrote."""
        return cls.from_value(json.loads(raw))

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON value of a target."""
        return cls(
            endpoint=Endpoint.from_value(value["endpoint"]),
            headers=value["headers"],
            signing=tuple(value["signing"]),
            credentials=Credentials.from_value(value["credentials"]),
            fixed_data=value.get("fixedData", {}),
        )
