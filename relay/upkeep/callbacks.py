"""Use case: tell the webhooks that are named as callbacks how calls have ended. Workers do it, in their sweeps.

The script that makes an end also writes down that it is to be told of. Telling is an accept like any other, of a
reference id that follows from the call's own: whoever does it again, after a crash or beside another, changes nothing.
Whom to tell stands in the call's record, which a writer of the server can alter: only what the called revision names is
told.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from relay.accept.intake import TriggerRequest
from relay.errors import NotFound, Refused, VaultError
from relay.reference_id import reference_id_about
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from relay.accept.dispatcher import Dispatcher
    from relay.store.callbacks import Callbacks, End
    from relay.store.registry import Registry

#: What stands in the records of callbacks where others have the id of their key.
CALLER: Final = "callback"
#: Ends that one script takes.
PIECE: Final = 100
#: For so long one sweep goes on telling.
TELLING_S: Final = 0.4


class Telling:
    """Tells of ends for one worker process. Raises `Unavailable` while the store is away."""

    def __init__(self, callbacks: Callbacks, dispatcher: Dispatcher, registry: Registry) -> None:
        self._callbacks = callbacks
        self._dispatcher = dispatcher
        self._registry = registry

    def tell(self) -> int:
        """Tell of what has ended, for a while; returns of how many calls."""
        until_s = time.monotonic() + TELLING_S
        told = 0
        while True:
            ends = self._callbacks.take(PIECE)
            named = [end for end in ends if self._is_named(end)]
            self._callbacks.done([end.reference_id for end in ends if end not in named])
            told += self._tell(named)
            if len(ends) < PIECE or time.monotonic() > until_s:
                return told

    def _is_named(self, end: End) -> bool:
        """Return whether the called revision names this callback; its sealed target was sealed with its shape."""
        revision = end.plugin, end.webhook_id, end.revision
        try:
            self._registry.open_target(*revision)
            if self._registry.revision(*revision).shape.callback == end.callback:
                return True
        except (NotFound, VaultError):
            pass
        event(Event.CALLBACK_UNVERIFIED, level=logging.ERROR, ref=end.reference_id, plugin=end.plugin)
        return False

    def _tell(self, ends: list[End]) -> int:
        if not ends:
            return 0
        replies = self._dispatcher.trigger_many([_call(end) for end in ends])
        # What does not fit, or is registered no more, is written down as rejected; "not now" comes again.
        done = [
            end.reference_id
            for end, reply in zip(ends, replies, strict=True)
            if not isinstance(reply, Exception) or isinstance(reply, Refused)
        ]
        self._callbacks.done(done)
        return len(done)


def _call(end: End) -> TriggerRequest:
    data = {"referenceId": end.reference_id, "status": end.status, "error": end.error}
    reference_id = reference_id_about(f"callback {end.reference_id}", end.finished_at_ms, end.plugin)
    return TriggerRequest(end.plugin, end.callback, {"data": data}, reference_id, CALLER, is_own=True)
