"""Registration = shape + target: what a caller may send, and where it goes with which secrets (design, section 5)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from relay.documents import dump_json
from relay.endpoint import Endpoint, EndpointRules

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Methods that may be sent again when the outcome is unknown (RFC 9110, 9.2.2).
IDEMPOTENT_METHODS: Final = frozenset({"GET", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a caller may send: readable by the API process, so it holds nothing of the target."""

    webhook_id: str
    method: str
    fillable_headers: tuple[str, ...] = ()
    query_params: tuple[str, ...] = ()
    encoding: Literal["json", "form", "base64"] = "json"
    data_schema: Any = field(default=None, hash=False)
    hidden: bool = False
    idempotent: bool = False
    timeout_ms: int = 20_000
    reveal_url: bool = False
    description: str | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when the outcome is unknown."""
        return self.idempotent or self.method in IDEMPOTENT_METHODS

    def to_json(self) -> bytes:
        """Compact JSON, the same bytes for the same shape."""
        return dump_json(
            {
                "id": self.webhook_id,
                "method": self.method,
                "fillableHeaders": self.fillable_headers,
                "queryParams": self.query_params,
                "encoding": self.encoding,
                "dataSchema": self.data_schema,
                "hidden": self.hidden,
                "idempotent": self.idempotent,
                "timeoutMs": self.timeout_ms,
                "revealUrl": self.reveal_url,
                "description": self.description,
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """The shape that ``to_json`` wrote."""
        value = json.loads(raw)
        return cls(
            webhook_id=value["id"],
            method=value["method"],
            fillable_headers=tuple(value["fillableHeaders"]),
            query_params=tuple(value["queryParams"]),
            encoding=value["encoding"],
            data_schema=value["dataSchema"],
            hidden=value["hidden"],
            idempotent=value["idempotent"],
            timeout_ms=value["timeoutMs"],
            reveal_url=value["revealUrl"],
            description=value["description"],
        )


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


@dataclass(frozen=True, slots=True)
class Registration:
    """One webhook as registered; ``warnings`` are sentences for the person who registers it."""

    shape: Shape
    target: Target
    warnings: tuple[str, ...] = ()


def read_registrations(text: str, rules: EndpointRules, *, plugin: str | None) -> tuple[str, list[Registration]]:
    """Read a registration document whole; ``DocumentError`` names every fault."""
    raise NotImplementedError
