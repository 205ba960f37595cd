"""The plan of an accepted chain: its steps, and the revisions of the webhooks that they call, pinned at acceptance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

from relay.registration.steps import MAX_CHAIN_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from relay.registration import ChainTarget, Shape, Step
    from relay.text.expressions import Expression


@dataclass(frozen=True, slots=True)
class ChainPlan:
    """The steps that ``progress`` runs through. ``shapes`` has one per step; None if its revision is missing."""

    steps: tuple[Step, ...]
    shapes: tuple[Shape | None, ...]
    result: Expression | None = None

    @classmethod
    def of(cls, target: ChainTarget, shapes: Mapping[str, Shape]) -> Self:
        """Make the plan of a registered chain; ``shapes`` are those of the pinned revisions, by webhook id."""
        return cls(target.steps, tuple(shapes.get(step.webhook) for step in target.steps), target.result)


#: ``Registry.current``: returns number and shape of a webhook's current revision, None if it is not registered.
Current: TypeAlias = "Callable[[str, str], tuple[int, Shape] | None]"


def pins_of(plugin: str, shape: Shape, current: Current) -> dict[str, int]:
    """Return the current revision of every webhook that a chain uses, directly or through chains among its steps.

    Empty for a webhook that is not a chain. An unregistered webhook has no pin; applying documents prevents that case.
    """
    pins: dict[str, int] = {}
    level = set(shape.uses)
    for _ in range(MAX_CHAIN_DEPTH):
        found = {webhook_id: current(plugin, webhook_id) for webhook_id in sorted(level - pins.keys())}
        pins |= {webhook_id: each[0] for webhook_id, each in found.items() if each is not None}
        level = {used for each in found.values() if each is not None for used in each[1].uses}
        if not level:
            break
    return pins
