"""Checks that the webhook named as a callback accepts what callbacks send. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from relay.registration.fixed_data import setting_faults
from relay.registration.methods import BODILESS_METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from relay.registration.shape import Shape

#: The members of a callback's data.
MEMBERS: Final = ("referenceId", "status", "error")
_POINTER: Final = "/callback"


def callback_faults(shape: Shape, lookup: Callable[[str], Shape | None]) -> Iterator[tuple[str, str]]:
    """Yield each fault of a webhook's callback, as pointer and sentence; ``lookup`` returns the shapes of others."""
    if shape.callback is None:
        return
    if shape.callback == shape.webhook_id:
        yield _POINTER, "is the webhook itself"
        return
    callback = lookup(shape.callback)
    if callback is None:
        yield _POINTER, f"names `{shape.callback}`, which is not registered for this plugin"
        return
    if callback.callback is not None:
        yield (
            _POINTER,
            f"names `{shape.callback}`, which has a callback itself: a callback's webhook must have none",
        )
    if callback.path_params:
        yield _POINTER, f"names `{shape.callback}`, whose path its caller has to fill: a callback gives only data"
    if callback.method in BODILESS_METHODS:
        yield _POINTER, f"names `{shape.callback}`, whose {callback.method} request carries no data"
    elif callback.encoding in {"base64", "multipart"}:
        yield _POINTER, f"names `{shape.callback}`, which sends bytes or files: a callback gets an object"
    elif any(setting_faults(callback.fixed_members, dict.fromkeys(MEMBERS))):
        yield _POINTER, f"names `{shape.callback}`, whose `fixedData` sets what a callback gives: {', '.join(MEMBERS)}"
