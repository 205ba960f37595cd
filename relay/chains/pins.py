"""Pins: the webhook revisions that a chain runs with, fixed when the chain is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from relay.registration.steps import MAX_CHAIN_DEPTH

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.registration import Shape

#: ``Registry.current``: returns number and shape of a webhook's current revision, None if it is not registered.
Current: TypeAlias = "Callable[[str, str], tuple[int, Shape] | None]"


def pins_of(plugin: str, shape: Shape, current: Current) -> dict[str, int]:
    """Return the current revision of every webhook that a chain uses, directly or through chains among its steps.

    Empty for a webhook that is not a chain. An unregistered webhook has no pin; applying a document prevents that case.
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
