"""A chain's target: its steps and its result. It is sealed like any target, so a plugin never sees the plan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Self

from relay.registration.steps import Step
from relay.registration.target import Target
from relay.text.expressions import Expression
from relay.text.strict_json import dump_json


@dataclass(frozen=True, slots=True)
class ChainTarget:
    """A chain's steps, in order; ``result``, over ``{input, steps}``, gives its data (default: the last step's)."""

    steps: tuple[Step, ...]
    result: Expression | None = None

    def to_json(self) -> bytes:
        """Return compact JSON, the same bytes for the same target."""
        return dump_json(
            {
                "steps": [step.to_value() for step in self.steps],
                "result": None if self.result is None else self.result.text,
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the target that ``to_json`` wrote."""
        value = json.loads(raw)
        result = value["result"]
        return cls(tuple(map(Step.from_value, value["steps"])), None if result is None else Expression(result))


def target_from_json(raw: bytes) -> Target | ChainTarget:
    """Read a target of either kind, as its ``to_json`` wrote it."""
    return ChainTarget.from_json(raw) if "steps" in json.loads(raw) else Target.from_json(raw)
