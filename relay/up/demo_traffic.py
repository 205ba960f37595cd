"""Makes a little traffic for ``relay up --demo --traffic``: calls as a clinic's plugin might make; some of them fail.

It runs in its own process, until that is ended: ``python -m relay.up.demo_traffic API_URL KEY_FILE``.
"""

from __future__ import annotations

import random
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any, Final

from relay.client import Relay
from relay.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: The webhooks that the traffic triggers: their endpoints answer, are slow, refuse, fail at times, or hang up.
DOCUMENT: Final = """\
[
  {id: "get-patient", url: "http://HOST:PORT/patients", method: "GET", queryParams: ["id"],
   description: "Answers well."},
  {id: "create-invoice", url: "http://HOST:PORT/slow/350", method: "POST", responseSchema: {type: "object"},
   description: "Answers well, and slowly."},
  {id: "send-reminder", url: "http://HOST:PORT/unsteady/35/503", method: "POST", idempotent: true,
   retry: {attempts: 3, initial: 2}, description: "Is often too busy; most calls succeed when they are repeated."},
  {id: "update-record", url: "http://HOST:PORT/unsteady/12/422", method: "POST",
   description: "Refuses some of what it is sent."},
  {id: "fetch-lab-report", url: "http://HOST:PORT/slow/4000", method: "GET", timeout: 1,
   description: "Never answers in time."},
  {id: "notify-pharmacy", url: "http://HOST:PORT/hang-up", method: "POST",
   description: "Ends the connection without an answer."},
  {id: "book-and-bill", timeout: 60, description: "A chain: the invoice, then the reminder.", steps: [
     {webhook: "create-invoice", data: "input.data"},
     {webhook: "send-reminder", data: "{invoice: steps[0].status}"}]}
]
"""
#: Calls a second, on average; and the relative frequency of each webhook.
RATE: Final = 4.0
WEIGHTS: Final = {
    "get-patient": 40,
    "create-invoice": 18,
    "send-reminder": 18,
    "update-record": 14,
    "book-and-bill": 6,
    "fetch-lab-report": 2,
    "notify-pharmacy": 2,
}
_MAX_WAITING: Final = 16
_WAITED_SHARE: Final = 0.5  # of calls whose results are awaited
_WAIT_S: Final = 10.0
_PAUSE_S: Final = 2.0


def calls(dice: random.Random) -> Iterator[tuple[str, Any, dict[str, Any] | None]]:
    """Yield webhook, data and query parameters of one call after another, without end."""
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    while True:
        (name,) = dice.choices(names, weights)
        patient = dice.randrange(1000, 9999)
        if name == "get-patient":
            yield name, None, {"id": patient}
        else:
            yield name, None if name.startswith("fetch") else {"patient": patient}, None


def run(relay: Relay, dice: random.Random, until: Callable[[], bool] = lambda: False) -> None:
    """Make calls until ``until`` returns True; go on after a pause if the relay is away."""
    free = Semaphore(_MAX_WAITING)
    for webhook_id, data, query in calls(dice):
        if until():
            return
        time.sleep(min(dice.expovariate(RATE), _PAUSE_S))
        if dice.random() < _WAITED_SHARE and free.acquire(blocking=False):
            Thread(target=_wait, args=(relay, free, (webhook_id, data, None, query)), daemon=True).start()
            continue
        try:
            relay.webhooks.trigger_async(webhook_id, data, None, query)
        except RelayError:
            time.sleep(_PAUSE_S)


def _wait(relay: Relay, free: Semaphore, trigger: tuple[str, Any, None, dict[str, Any] | None]) -> None:
    try:
        with suppress(RelayError, TimeoutError):
            relay.webhooks.trigger(*trigger, timeout_s=_WAIT_S)
    finally:
        free.release()


if __name__ == "__main__":
    with Relay(sys.argv[1], Path(sys.argv[2]).read_text("utf-8").strip()) as ours:
        run(ours, random.Random())  # noqa: S311 - which call comes next is no secret
