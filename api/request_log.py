"""Writes the log events of requests, with ids and codes only, never a path, a header's value or a body.

A request refused for lack of a key gets no event of its own, because anyone can send any number of them: they are
counted, and the counts are written once a minute. Accepted calls are gathered for a moment and share an event.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

import falcon

from relay.audit.entry import Act
from relay.authentication.unkeyed_refusals import UnkeyedRefusals
from relay.process.loops import Loop
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from relay.authentication.source_address import SourceAddresses

PERIOD_S: Final = 0.25
#: Calls in one event, so that its line stays shorter than the 16 KiB at which Docker and Kubernetes cut lines.
MOST_CALLS: Final = 100


class AcceptedCalls:
    """The accepted calls that no event has reported yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[tuple[str, int, float, str, str]] = []
        self._most = MOST_CALLS

    def add(self, reference_id: str, status: int, took_ms: float, plugin: str, key_id: str) -> None:
        """Add the answer to a call; write all if there are enough."""
        with self._lock:
            self._calls.append((reference_id, status, took_ms, plugin, key_id))
            is_full = len(self._calls) >= self._most
        if is_full:
            self.write()

    def write(self) -> None:
        """Write an event about the calls, unless there are none."""
        with self._lock:
            calls, self._calls = self._calls, []
        if calls:
            event(Event.CALLS_ACCEPTED, calls=calls)

    def stop(self) -> None:
        """Write what was gathered, and from now on each call at once: the process is about to end."""
        self._most = 1
        self.write()


class RequestLog:
    """Reports each request once it is answered."""

    def __init__(self, addresses: SourceAddresses) -> None:
        self._refusals = UnkeyedRefusals()
        self._addresses = addresses
        self._accepted = AcceptedCalls()
        self.stop = self._accepted.stop

    def start(self) -> None:
        """Start a thread that writes what was gathered, four times a second."""
        loop = Loop("log", self._iterate, time.sleep)
        threading.Thread(target=loop.run, name="log", daemon=True).start()

    def _iterate(self) -> None:
        time.sleep(PERIOD_S)
        self._accepted.write()
        self._refusals.write_if_due()

    def add(self, req: falcon.Request, status: int, act: Act) -> None:
        """Report a request: count it if it was refused for lack of a key, gather it if it is an accepted call."""
        context = req.context
        key, code = context.key, context.code
        if key is None and code is not None and status < 500:
            self._refusals.add(code, self._addresses.of(req.env))
            return
        took_ms = round((time.monotonic() - context.started_s) * 1000, 1)
        if act is Act.TRIGGER and code is None and context.reference_id is not None:
            self._accepted.add(context.reference_id, status, took_ms, key.plugin, key.id)
            return
        event(
            Event.REQUEST,
            method=req.method if req.method in falcon.HTTP_METHODS else None,
            route=req.uri_template,
            status=status,
            code=code,
            plugin=None if key is None else key.plugin,
            key=None if key is None else key.id,
            reference_id=context.reference_id,
            items=context.item_count,
            ms=took_ms,
        )
