"""A request to the relay and its answer, as values: what is sent, and whether an answer calls for another try.

There is no I/O here. A call's `Flow` is a generator: it yields a `Request` and is sent the `Answer`, or the fault
that prevented one; or it yields how many seconds to wait; it returns the call's result. Each client does the I/O in
its own way.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

from relay.client.problem import read_problem
from relay.errors import Unavailable

#: How long one request asks the relay to hold its answer back; many proxies cut a connection silent for a minute.
POLL_WAIT_S: Final = 30
#: Pause between two tries of a request, or two looks at a record if the relay has no room to wait.
PAUSE_FIRST_S: Final = 0.25
PAUSE_MAXIMUM_S: Final = 5.0
#: The longest Retry-After, in seconds, that the client waits for; a longer one is the error's ``retry_after_s``.
RETRY_AFTER_LIMIT_S: Final = 30
CONNECT_TIMEOUT_S: Final = 5.0
#: How long the relay and the network may take beyond the wait that was asked for.
READ_MARGIN_S: Final = 15.0

VISIBLE: Final = re.compile(r"[!-~]+\Z")
_NOT_NOW: Final = frozenset({429, 502, 503, 504})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the relay, to be sent once, and how long it may take to connect and to hear from the relay."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)  # one is the key
    body: bytes | None = field(repr=False)
    connect_timeout_s: float
    read_timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The relay's answer: its status, and its body read as JSON (None if it is not JSON)."""

    status: int
    document: Any
    retry_after_s: int | None = None

    @classmethod
    def read(cls, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        """Read an answer as it came."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        after = headers.get("Retry-After", "")
        return cls(status, document, int(after) if after.isascii() and after.isdigit() and len(after) < 10 else None)


@dataclass(frozen=True, slots=True)
class End(Generic[T]):
    """The result of a call."""

    result: T


#: The flow of a call, which `advance` takes a step further.
Flow: TypeAlias = Generator[Request | float, Answer | Exception | None, T]


def advance(flow: Flow[T], came: Answer | Exception | None = None) -> Request | float | End[T]:
    """Give a call what its last step brought, if there was one, and return the next; raise the call's error."""
    try:
        return flow.send(came)
    except StopIteration as end:
        return End(end.value)


class Requester:
    """Asks one relay, as one plugin; ``clock`` returns seconds.

    Raises:
        ValueError: ``base_url`` is not an http(s) URL or ends in ``/v1``, or ``key`` is missing or cannot be a header
            value.
    """

    def __init__(self, base_url: str, key: str, tries: int, clock: Callable[[], float]) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("base_url must be an http or https URL, without query or fragment")
        if parts.path.endswith("/v1"):
            raise ValueError("base_url must not end in /v1: the client adds it")
        if not key:
            raise ValueError("key is missing: create one with `relay keys create --plugin PLUGIN --scope trigger`")
        if not VISIBLE.match(key):
            raise ValueError("key must be visible ASCII characters")
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": "webhook-relay-python"}
        self._tries = max(1, tries)
        self.clock = clock

    def request(
        self, method: str, path: str, headers: Mapping[str, str], deadline_s: float, body: bytes | None = None
    ) -> Flow[Answer]:
        """Send a request until it is answered with anything but 429, 502, 503 or 504, within `tries` and the deadline.

        Raises:
            Unavailable: no answer came. Any other RelayError: the answer was a problem.
        """
        sent = {**self._headers, **headers, **({"Content-Type": "application/json"} if body is not None else {})}
        for number in range(1, self._tries + 1):
            left_s = max(deadline_s - self.clock(), 0) + 1  # the last request gets at least a second
            times_s = min(CONNECT_TIMEOUT_S, left_s), min(POLL_WAIT_S + READ_MARGIN_S, left_s)
            came = yield Request(method, self._base_url + path, sent, body, *times_s)
            if isinstance(came, Answer) and came.status not in _NOT_NOW:
                break
            pause_s = _pause(number, came)
            too_long = pause_s > RETRY_AFTER_LIMIT_S + PAUSE_FIRST_S or self.clock() + pause_s > deadline_s
            if number == self._tries or too_long:
                break
            yield pause_s
        if not isinstance(came, Answer):
            raise Unavailable("The relay cannot be reached.") from came
        if not 200 <= came.status < 300:
            raise read_problem(came.status, came.document, came.retry_after_s)
        return came


def _pause(number: int, came: Answer | Exception | None) -> float:
    """Return the pause in seconds after try ``number`` (from 1): the relay's Retry-After, or doubling; with jitter."""
    if isinstance(came, Answer) and came.retry_after_s is not None:
        return came.retry_after_s + random.uniform(0, PAUSE_FIRST_S)  # noqa: S311 - spreads load, no secret
    return jittered(min(PAUSE_FIRST_S * 2 ** (number - 1), PAUSE_MAXIMUM_S))


def jittered(pause_s: float) -> float:
    """Return between half of a pause and all of it, so that clients do not come back together."""
    return pause_s * random.uniform(0.5, 1)  # noqa: S311 - spreads load, no secret
