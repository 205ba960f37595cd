"""The plan of an accepted chain: its steps, and the pinned shapes of the webhooks that they call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.registration import ChainTarget, Shape, Step
    from relay.text.expressions import Expression


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """The steps that ``progress`` goes through. ``shapes`` has one per step; None if its revision is missing."""

    steps: tuple[Step, ...]
    shapes: tuple[Shape | None, ...]
    result: Expression | None = None

    @classmethod
    def of(cls, target: ChainTarget, shapes: Mapping[str, Shape]) -> Self:
        """Make the plan of a registered chain; ``shapes`` are those of the pinned revisions, by webhook id."""
        return cls(target.steps, tuple(shapes.get(step.webhook) for step in target.steps), target.result)
