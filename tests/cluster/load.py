"""Puts a load on a relay while its servers are harmed, and checks the promises afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Self

from relay.accept.intake import TriggerRequest
from relay.domain.reference_id import new_reference_id
from relay.errors import RelayError
from relay.store.counts.measures import Measures
from tests.chaos.callers import AcceptedTrigger
from tests.chaos.evidence import AWAY, Evidence, pending_of
from tests.chaos.faults import Fault
from tests.chaos.plan import Hook
from tests.chaos.promises import Trial
from tests.receivers import json_answer, receiver, slow
from tests.timing import wait_until

PLUGINS = tuple(f"plugin-{number}" for number in range(6))
HOOKS = {hook.id: hook for hook in (Hook("post", 500, "POST", 20), Hook("put", 500, "PUT", 20))}
FINAL_S = 90


class Load:
    """Triggers an unrepeatable and a repeatable webhook of several plugins, as fast as the triggers are accepted."""

    def __init__(self, harness, *, pause_s=0.005) -> None:
        self._harness = harness
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: list[AcceptedTrigger] = []
        self._by_plugin: Counter[str] = Counter()
        self.refused = 0
        self.tried = 0
        self._began_ms = _now_ms()
        self._endpoint = receiver(slow(0.02, json_answer({"ok": True})))

    def __enter__(self) -> Self:
        self.received = self._endpoint.__enter__()
        for plugin in PLUGINS:
            post = {"id": "post", "url": self.received.url, "method": "POST"}
            put = {"id": "put", "url": self.received.url, "method": "PUT"}
            self._harness.register(post, put, plugin=plugin)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._endpoint.__exit__(None, None, None)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def go_on(self) -> None:
        """Trigger again after ``stop``."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait_for(self, more: int) -> None:
        """Wait until this many more calls were accepted."""
        wanted = len(self.accepted) + more
        wait_until(lambda: len(self.accepted) >= wanted, FINAL_S)

    def wait_for_each(self, more: int) -> None:
        """Wait until this many more calls of each plugin were accepted."""
        wanted = {plugin: self._by_plugin[plugin] + more for plugin in PLUGINS}
        wait_until(lambda: all(self._by_plugin[plugin] >= count for plugin, count in wanted.items()), FINAL_S)

    def wait_for_tries(self, more: int) -> None:
        """Wait until this many more triggers were sent, and accepted or refused."""
        wanted = self.tried + more
        wait_until(lambda: self.tried >= wanted, FINAL_S)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            self.tried = number
            number += 1
            plugin, webhook = PLUGINS[number % len(PLUGINS)], ("post", "put")[number % 2]
            call = TriggerRequest(plugin, webhook, {"data": {"n": number}}, new_reference_id(plugin), "k1")
            try:
                accepted = self._harness.runtime.dispatcher.trigger(call)
            except RelayError:
                self.refused += 1
                time.sleep(0.05)
            else:
                self._by_plugin[plugin] += 1
                self.accepted.append(AcceptedTrigger(accepted.reference_id, webhook, _now_ms()))
            time.sleep(self._pause_s)

    def check(self) -> Counter[str]:
        """Check that no promise is broken and every call is counted; return how many calls ended in each state."""
        self.stop()
        wait_until(self._is_over, FINAL_S, every_s=0.5)
        receipts = {ref: [(0, "ok")] * count for ref, count in self.received.receipts.items()}
        keys, client = self._harness.runtime.keyspace, self._harness.runtime.client
        evidence = Evidence.collect(client, PLUGINS, receipts, keys)
        harmed = Fault("server harmed", "", self._began_ms, _now_ms())
        trial = Trial(self.accepted, evidence, [harmed], {}, hooks=HOOKS)
        broken = [check for check in trial.checks() if not check.is_kept]
        assert not broken, broken
        measures = Measures(client, keys)
        counted = sum(measures.totals(plugin).get((webhook, "accepted"), 0) for plugin in PLUGINS for webhook in HOOKS)
        assert counted == len(evidence.records)
        return Counter(str(evidence.records[told.reference_id].state) for told in self.accepted)

    def _is_over(self) -> bool:
        try:
            return pending_of(self._harness.runtime.client, self._harness.runtime.keyspace) == 0
        except AWAY:
            return False


def _now_ms() -> int:
    return int(time.time() * 1000)
