"""The Python client: the documented ``webhooks.trigger``, and the calls that belong to it.

    with Relay("https://relay.example", key) as relay:
        answer = relay.webhooks.trigger("get-randomapi", None, {}, {"pageNum": 1})
        answer["status"], answer["data"], answer["error"], answer["referenceId"]

It fails only where the documentation says so, with an error of `relay.errors`; if an endpoint answers with failure or
cannot be contacted, the answer has ``error`` true. Threads may share a `Relay`.
"""

from __future__ import annotations

import json
import random
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from relay.client.calls import (
    PAUSE_FIRST_S,
    PAUSE_MAXIMUM_S,
    POLL_WAIT_S,
    VISIBLE,
    Answer,
    WaitEnded,
    Webhooks,
    jittered,
)
from relay.client.problem import read_problem
from relay.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Relay", "WaitEnded", "Webhooks"]

#: How long `trigger` and `wait` wait at most, unless told otherwise: the longest chain (900 s) and a minute to begin.
WAIT_LIMIT_S: Final = 960.0
#: How often one request is sent at most, while the relay cannot be reached or answers 429, 502, 503 or 504. With the
#: pauses between, the tries take 4 to 8 s, by which time an API process that was restarted is back.
TRIES: Final = 6
#: The longest Retry-After, in seconds, that the client waits for; a longer one is the error's ``retry_after_s``.
RETRY_AFTER_LIMIT_S: Final = 30
CONNECT_TIMEOUT_S: Final = 5.0
#: How long the relay and the network may take beyond the wait that was asked for.
READ_MARGIN_S: Final = 15.0
POOL_CONNECTIONS: Final = 64

_NOT_NOW: Final = frozenset({429, 502, 503, 504})


class Relay:
    """A relay, as one plugin sees it.

    Args:
        base_url: the relay's address, e.g. ``https://relay.example``; its path, if any, is kept.
        key: an API key, ``whk_...``.
        timeout_s: how long `trigger` and `wait` wait for the end, in all.
        tries: how often one request may be sent; a trigger carries an Idempotency-Key, so it is accepted once only.
        ca_file: a PEM file to verify the relay with. The environment (proxies, netrc, bundles) is ignored.

    Raises:
        ValueError: ``base_url`` is not an http(s) URL or ends in ``/v1``, or ``key`` is missing or cannot be a header
            value.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = WAIT_LIMIT_S,
        tries: int = TRIES,
        ca_file: str | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._wire = HttpWire(self.base_url, key, tries, ca_file)
        self.webhooks = Webhooks(self._wire, timeout_s)
        self.trigger = self.webhooks.trigger
        self.trigger_async = self.webhooks.trigger_async
        self.trigger_many = self.webhooks.trigger_many
        self.get = self.webhooks.get
        self.wait = self.webhooks.wait

    def __repr__(self) -> str:
        return f"Relay({self.base_url!r})"  # the key stays out

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()


class HttpWire:
    """Sends HTTP requests to the relay over one session, with bounded retries; raises problems as errors."""

    def __init__(self, base_url: str, key: str, tries: int, ca_file: str | None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("base_url must be an http or https URL, without query or fragment")
        if parts.path.endswith("/v1"):
            raise ValueError("base_url must not end in /v1: the client adds it")
        if not key:
            raise ValueError("key is missing: make one with `relay keys create --plugin PLUGIN --scope trigger`")
        if not VISIBLE.match(key):
            raise ValueError("key must be visible ASCII characters")
        self._base_url = base_url
        self._tries = max(1, tries)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies, no netrc: the key goes to the relay and nowhere else
        self._session.verify = ca_file or True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # threads share no cookies
        self._session.headers.update({"Authorization": f"Bearer {key}", "User-Agent": "webhook-relay-python"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=POOL_CONNECTIONS))

    def close(self) -> None:
        self._session.close()

    def call(
        self, method: str, path: str, headers: Mapping[str, str], deadline_s: float, *, body: bytes | None = None
    ) -> Answer:
        """Send a request until it is answered with anything but 429, 502, 503 or 504, within `tries` and the deadline.

        Raises:
            Unavailable: no answer came. Any other RelayError: the answer was a problem.
        """
        for number in range(self._tries):
            outcome = self._send(method, path, headers, deadline_s, body)
            if isinstance(outcome, Answer) and outcome.status not in _NOT_NOW:
                break
            pause_s = _pause(number, outcome)
            last = number == self._tries - 1
            if last or pause_s > RETRY_AFTER_LIMIT_S + PAUSE_FIRST_S or time.monotonic() + pause_s > deadline_s:
                break
            time.sleep(pause_s)
        if not isinstance(outcome, Answer):
            raise Unavailable("The relay cannot be reached.") from outcome
        if not 200 <= outcome.status < 300:
            raise read_problem(outcome.status, outcome.document, outcome.retry_after_s)
        return outcome

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], deadline_s: float, body: bytes | None
    ) -> Answer | requests.RequestException:
        left_s = max(deadline_s - time.monotonic(), 0) + 1  # the last request gets at least a second
        sent = dict(headers, **({"Content-Type": "application/json"} if body is not None else {}))
        try:
            response = self._session.request(
                method,
                self._base_url + path,
                data=body,
                headers=sent,
                timeout=(min(CONNECT_TIMEOUT_S, left_s), min(POLL_WAIT_S + READ_MARGIN_S, left_s)),
                allow_redirects=False,  # a redirect would take key and trigger elsewhere
            )
        except requests.RequestException as fault:
            return fault
        return Answer(response.status_code, _document(response), _retry_after(response))


def _document(response: requests.Response) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return None


def _retry_after(response: requests.Response) -> int | None:
    value = response.headers.get("Retry-After", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def _pause(number: int, outcome: Answer | requests.RequestException) -> float:
    """Return the pause in seconds after try ``number`` (from 0): the relay's Retry-After, or doubling; with jitter."""
    if isinstance(outcome, Answer) and outcome.retry_after_s is not None:
        return outcome.retry_after_s + random.uniform(0, PAUSE_FIRST_S)  # noqa: S311 - spreads load, no secret
    return jittered(min(PAUSE_FIRST_S * 2**number, PAUSE_MAXIMUM_S))
