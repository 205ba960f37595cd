"""Trigger and its check against a shape: pure, used at the door and again in the worker (design, section 6)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from relay.documents import dump_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.registration import Shape


@dataclass(frozen=True, slots=True)
class Trigger:
    """The request of a caller: data, headers, query parameters."""

    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query_params: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """The trigger that a JSON value is; ``RequestRejected`` unless it is an object of only the three members."""
        raise NotImplementedError

    def to_json(self) -> bytes:
        """Compact JSON, what is sealed as payload."""
        return dump_json({"data": self.data, "headers": dict(self.headers), "queryParams": dict(self.query_params)})

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """The trigger that ``to_json`` wrote."""
        value = json.loads(raw)
        return cls(data=value["data"], headers=value["headers"], query_params=value["queryParams"])


def check(shape: Shape, trigger: Trigger) -> Trigger:
    """The trigger in normal form: registered header spelling, query values as text; ``RequestRejected`` otherwise."""
    raise NotImplementedError
