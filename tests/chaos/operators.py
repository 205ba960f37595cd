"""Operators: threads that cancel calls, poll records, pause webhooks and revoke keys, and record what they were told.

They act as commands do, on the store, and as plugins do, over HTTP.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import requests

from relay.errors import Conflict, NotFound, RelayError
from tests.chaos.history import LOST, Operation
from tests.chaos.models import HONOURED_S, end_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from relay.wiring.runtime import Runtime
    from tests.chaos.callers import Callers
    from tests.chaos.history import History

STEP_S = (0.02, 0.1)
PAUSED_S = (3.2, 5.0)
RECENT = 40  # how far back among the accepted calls operators look for one to cancel or poll
PATIENCE_S = 10.0
REVOKED = "revocable"  # the name of the keys that are made to be revoked
#: The acts of each thread: only one pauses and resumes, so that acts on a webhook never overlap.
ACTS = (("poll", "poll", "cancel"), ("pause",), ("revoke",))


class Operators:
    """Act at random until they are stopped."""

    def __init__(self, url: str, runtime: Runtime, callers: Callers, history: History, seed: int) -> None:
        self._url = url
        self._runtime = runtime
        self._callers = callers
        self._history = history
        self._random = random.Random(seed + 2)
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(acts,)) for acts in ACTS]
        self.failure: BaseException | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def leave_nothing_paused(self) -> None:
        """Resume every webhook: a resume that was confirmed may be lost with the power of a server."""
        for plugin in self._callers.keys:
            for hook in self._callers.plan.hooks:
                self._runtime.traffic.resume(plugin, hook.id)

    def _run(self, acts: tuple[str, ...]) -> None:
        try:
            while not self._ending.wait(self._random.uniform(*STEP_S)):
                getattr(self, f"_{self._random.choice(acts)}")()
        except BaseException as error:  # noqa: BLE001 - the run reports it
            self.failure = error

    def _recorded(self, kind: str, name: str, act: str, do: Callable[[], Any], *, since_s: float | None = None) -> Any:
        """Do something, and record it with its times. ``since_s``: it may have taken effect from then on."""
        began_s = time.time()
        try:
            told = do()
        except (RelayError, requests.RequestException) as error:
            told = "refused" if isinstance(error, Conflict) else "unknown" if isinstance(error, NotFound) else LOST
        if told is not None:
            self._history.add(kind, name, Operation(act, told, since_s or began_s, time.time()))
        return told

    def _call(self) -> tuple[str, str] | None:
        """Choose a call that was accepted lately, and a plugin's key."""
        told = self._callers.told
        if not told:
            return None
        each = told[-self._random.randint(1, min(RECENT, len(told)))]
        return each.reference_id, each.plugin

    def _poll(self) -> None:
        if chosen := self._call():
            ref, plugin = chosen
            self._recorded("call", ref, "poll", lambda: self._record(ref, plugin))

    def _record(self, ref: str, plugin: str) -> str | None:
        headers = {"Authorization": f"Bearer {self._callers.keys[plugin]}"}
        answer = requests.get(f"{self._url}/v1/invocations/{ref}", headers=headers, timeout=PATIENCE_S)
        if answer.status_code == 404:
            return "unknown"
        if not answer.ok:
            return None  # not now
        record = answer.json()
        result = record["result"]
        return end_of(record["state"], result and (result["status"], result["error"]))

    def _cancel(self) -> None:
        if chosen := self._call():
            ref, plugin = chosen

            def cancel() -> str:
                self._runtime.publisher.publish_ready(self._runtime.store.cancel(ref, plugin=plugin))
                return "cancelled"

            self._recorded("call", ref, "cancel", cancel)

    def _pause(self) -> None:
        plugin, hook = self._random.choice(list(self._callers.keys)), self._random.choice(self._callers.plan.hooks).id
        name = f"{plugin}/{hook}"

        def act(do: Callable[[str, str], object]) -> str:
            do(plugin, hook)
            return "done"

        self._recorded("webhook", name, "pause", lambda: act(self._runtime.traffic.pause))
        self._ending.wait(self._random.uniform(*PAUSED_S))
        while self._recorded("webhook", name, "resume", lambda: act(self._runtime.traffic.resume)) != "done":
            time.sleep(STEP_S[1])

    def _revoke(self) -> None:
        """Make a key, use it, revoke it, and go on using it."""
        plugin = self._random.choice(list(self._callers.keys))
        with suppress(RelayError):
            text, key = self._runtime.api_keys.create(plugin, ["trigger"], [], name=REVOKED)

            def revoke() -> str:
                self._runtime.api_keys.revoke(key.id)
                return "done"

            self._use(key.id, text)
            told = self._recorded("key", key.id, "revoke", revoke)
            self._use(key.id, text)
            if told == "done":
                time.sleep(HONOURED_S)
                self._use(key.id, text)

    def _use(self, key_id: str, text: str) -> None:
        def use() -> str | None:
            headers = {"Authorization": f"Bearer {text}"}
            answer = requests.get(f"{self._url}/v1/webhooks", headers=headers, timeout=PATIENCE_S)
            return {200: "valid", 401: "revoked"}.get(answer.status_code)

        # A process may accept a key for this much longer, as if the request had come that much earlier.
        with suppress(requests.RequestException):
            self._recorded("key", key_id, "use", use, since_s=time.time() - HONOURED_S)
