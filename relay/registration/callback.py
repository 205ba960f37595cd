"""Checks that a webhook's callback takes what callbacks send. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.registration.methods import BODILESS_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.registration.shape import Shape

_POINTER: Final = "/callback"


def callback_faults(shape: Shape, lookup: Callable[[str], Shape | None]) -> Iterator[tuple[str, str]]:
    """Yield pointer and sentence of what is wrong with a webhook's callback; ``lookup`` gives the others' shapes."""
    if shape.callback is None:
        return
    if shape.callback == shape.webhook_id:
        yield _POINTER, "is the webhook itself"
        return
    told = lookup(shape.callback)
    if told is None:
        yield _POINTER, f"names `{shape.callback}`, which is not registered for this plugin"
        return
    if told.callback is not None:
        yield (
            _POINTER,
            f"names `{shape.callback}`, which has a callback itself: one that is told of ends has none",
        )
    if not told.chain and told.method in BODILESS_METHODS:
        yield _POINTER, f"names `{shape.callback}`, whose {told.method} request carries no data"
    elif told.encoding == "base64":
        yield _POINTER, f"names `{shape.callback}`, which sends bytes: a callback gets an object"
