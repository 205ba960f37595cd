"""Runs one accepted call in this process and waits until its first attempt is over."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import gevent

from relay.domain.invocation import State
from relay.errors import Conflict
from relay.process.clock import boot_time_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.domain.invocation import Invocation
    from relay.executor.pipeline import Executor
    from relay.store.ledger.invocations import InvocationStore
    from relay.store.ledger.transitions import Ready

_LOOK_S: Final = 0.02
_STOP_S: Final = 10.0
#: How many seconds a call may take beyond its own timeout: to fetch an access token, to claim and to settle.
_SPARE_S: Final = 30.0


def run_once(
    executor: Executor,
    store: InvocationStore,
    publish: Callable[[Ready], object],
    reference_id: str,
    *,
    timeout_s: float,
) -> Invocation:
    """Make one attempt of a call, unless the webhook's limits hold it back; return its record.

    A call that is not final then, because it is parked or due for a retry, is cancelled: no worker may send it later.
    """
    gevent.get_hub().NOT_ERROR += (KeyboardInterrupt,)  # or gevent prints it, before the command can say what it means
    try:
        counts = executor.run([reference_id], waits=True)  # for an access token
        until_s = boot_time_s() + timeout_s + _SPARE_S
        invocation = store.find(reference_id)
        while counts["started"] and invocation.state in {State.QUEUED, State.SENDING} and boot_time_s() < until_s:
            gevent.sleep(_LOOK_S)
            invocation = store.find(reference_id)
        if not invocation.final:
            with suppress(Conflict):  # a worker has taken it, or it has ended
                publish(store.cancel(reference_id))
            invocation = store.find(reference_id)
    finally:
        executor.drain(_STOP_S)  # also after an error: nothing may be sent once this process has given up
    return invocation
