"""The target, sealed so that a plugin never sees it: where a call goes and with which secrets, or a chain's plan."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from relay.registration.credentials import Credentials
from relay.registration.endpoint import Endpoint
from relay.registration.steps import Step
from relay.text.expressions import Expression
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
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON value of a target."""
        return cls(
            endpoint=Endpoint(*value["endpoint"]),
            headers=value["headers"],
            signing=tuple(value["signing"]),
            credentials=Credentials.from_value(value["credentials"]),
            fixed_data=value.get("fixedData", {}),
        )


@dataclass(frozen=True, slots=True)
class ChainTarget:
    """A chain's steps, in order; ``result``, over ``{input, steps}``, gives its data (default: the last step's)."""

    steps: tuple[Step, ...]
    result: Expression | None = None

    def to_json(self) -> bytes:
        """Return compact JSON, the same bytes for the same target."""
        return dump_json(
            {"steps": [step.to_value() for step in self.steps], "result": self.result and self.result.text}
        )

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> Self:
        """Read the JSON value of a target."""
        result = value["result"]
        return cls(tuple(map(Step.from_value, value["steps"])), None if result is None else Expression(result))


def target_from_json(raw: bytes) -> Target | ChainTarget:
    """Read a target of either kind, as its ``to_json`` wrote it."""
    value = json.loads(raw)
    return ChainTarget.from_value(value) if "steps" in value else Target.from_value(value)
