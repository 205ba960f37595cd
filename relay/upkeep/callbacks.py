"""Triggers the webhooks that are named as callbacks when calls have ended. Runs in workers, as part of their sweeps.

The script that makes a call final also lists its callback as due. To send it, a worker accepts a call under
a reference id that is derived from the ended call's id, so that a repetition, after a crash or by another worker,
changes nothing. The call's record names the callback, but somebody who can write to the server can alter that, so a
callback is sent only if the called revision names it as well.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from relay.accept.intake import TriggerRequest
from relay.domain.invocation import OwnCaller
from relay.domain.reference_id import reference_id_about
from relay.errors import NotFound, Refused, VaultError
from relay.registration.callback import MEMBERS
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from relay.accept.dispatcher import Dispatcher
    from relay.store.ledger.callbacks import Callbacks, End
    from relay.store.partitions.reachable import Partitions
    from relay.store.registry.webhooks import Registry

#: How many ends one script takes.
PIECE: Final = 100
#: How long one sweep spends on sending callbacks, in seconds.
SENDING_S: Final = 0.4


class CallbackSender:
    """Sends due callbacks, for one worker process. Raises `Unavailable` while the store is away."""

    def __init__(
        self, partitions: Partitions, callbacks: Callbacks, dispatcher: Dispatcher, registry: Registry
    ) -> None:
        self._partitions = partitions
        self._callbacks = callbacks
        self._dispatcher = dispatcher
        self._registry = registry

    def send_due(self) -> int:
        """Send due callbacks, for at most about `SENDING_S`; return how many were sent."""
        until_s = time.monotonic() + SENDING_S
        return sum(self._partitions.ask(lambda partition: self._tell_in(partition, until_s)))

    def _tell_in(self, partition: int, until_s: float) -> int:
        sent = 0
        while True:
            ends = self._callbacks.take(partition, PIECE)
            named = [end for end in ends if self._is_named(end)]
            self._callbacks.delete(partition, [end.reference_id for end in ends if end not in named])
            sent += self._send(partition, named)
            if len(ends) < PIECE or time.monotonic() > until_s:
                return sent

    def _is_named(self, end: End) -> bool:
        """Return whether the called revision names this callback; its target opens only if its shape is unaltered."""
        revision = end.plugin, end.webhook_id, end.revision
        with suppress(NotFound, VaultError):
            self._registry.open_target(*revision)
            if self._registry.revision(*revision).shape.callback == end.callback:
                return True
        event(Event.CALLBACK_UNVERIFIED, level=logging.ERROR, ref=end.reference_id, plugin=end.plugin)
        return False

    def _send(self, partition: int, ends: list[End]) -> int:
        if not ends:
            return 0
        replies = self._dispatcher.trigger_many([_call(end) for end in ends])
        # A callback that does not match, or is no longer registered, is recorded as rejected; one that cannot be
        # accepted now is tried again.
        done = [
            end.reference_id
            for end, reply in zip(ends, replies, strict=True)
            if not isinstance(reply, Exception) or isinstance(reply, Refused)
        ]
        self._callbacks.delete(partition, done)
        return len(done)


def _call(end: End) -> TriggerRequest:
    data = dict(zip(MEMBERS, (end.reference_id, end.status, end.error), strict=True))
    reference_id = reference_id_about(f"callback {end.reference_id}", end.finished_at_ms, end.plugin)
    return TriggerRequest(end.plugin, end.callback, {"data": data}, reference_id, OwnCaller.CALLBACK)
