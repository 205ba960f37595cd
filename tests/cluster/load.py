"""A load on a relay while its servers are harmed, and what has to be true of it afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Self

from relay.accept.dispatcher import TriggerRequest
from relay.errors import RelayError, Unavailable
from relay.reference_id import new_reference_id
from tests.integration.worker_harness import until
from tests.receivers import json_answer, receiver, slow

PLUGINS = tuple(f"plugin-{number}" for number in range(6))
FINAL_S = 90


class Load:
    """Triggers of several plugins, as fast as they are accepted, of an unrepeatable webhook and of a repeatable one."""

    def __init__(self, harness, *, pause_s=0.005) -> None:
        self._harness = harness
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: dict[str, str] = {}  # reference id -> webhook
        self.refused = 0
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

    def wait_for(self, more: int) -> None:
        """Until so many more were accepted."""
        wanted = len(self.accepted) + more
        until(lambda: len(self.accepted) >= wanted, FINAL_S)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            plugin, webhook = PLUGINS[number % len(PLUGINS)], ("post", "put")[number % 2]
            call = TriggerRequest(plugin, webhook, {"data": {"n": number}}, new_reference_id(plugin), "k1")
            try:
                accepted = self._harness.runtime.dispatcher.trigger(call)
            except RelayError:
                self.refused += 1
                time.sleep(0.05)
            else:
                self.accepted[accepted.reference_id] = webhook
            time.sleep(self._pause_s)

    def check(self) -> Counter[str]:
        """No accepted call is lost, and no unrepeatable one was received twice; returns how many ended how."""
        self.stop()
        until(self._all_are_final, FINAL_S, every_s=0.5)
        received = Counter(request.header("webhook-id") for request in self.received.requests)
        doubled = [ref for ref, webhook in self.accepted.items() if webhook == "post" and received[ref] > 1]
        assert doubled == []
        ends = {ref: self._harness.record(ref) for ref in self.accepted}
        delivered = [ref for ref, end in ends.items() if end.state == "delivered"]
        assert [ref for ref in delivered if not received[ref]] == []
        return Counter(str(end.state) for end in ends.values())

    def _all_are_final(self) -> bool:
        try:
            return all(self._harness.record(ref).state.final for ref in self.accepted)
        except Unavailable:
            return False
