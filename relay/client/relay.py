"""The Python client: the documented ``webhooks.trigger``, and the calls that belong to it.

    with Relay("https://relay.example", key) as relay:
        answer = relay.webhooks.trigger("get-randomapi", None, {}, {"pageNum": 1})
        answer["status"], answer["data"], answer["error"], answer["referenceId"]

It fails only where the documentation says so, with an error of `relay.errors`; if an endpoint answers with failure or
cannot be contacted, the answer has ``error`` true. Threads may share a `Relay`, and so may forked processes.
"""

from __future__ import annotations

import os
import time
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Final, Self, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from relay.client.calls import Webhooks
from relay.client.exchange import Answer, End, Request, Requester, advance
from relay.client.flows import Flows, WaitEnded

if TYPE_CHECKING:
    from relay.client.exchange import Flow

__all__ = ["Relay", "WaitEnded", "Webhooks"]

#: How long `trigger` and `wait` wait at most, unless told otherwise: the longest chain (900 s) and a minute to begin.
WAIT_LIMIT_S: Final = 960.0
#: How many times one request is sent at most, if the relay cannot be reached or answers 429, 502, 503 or 504. With the
#: pauses between, the tries take 4 to 8 s, by which time an API process that was restarted is back.
TRIES: Final = 6
POOL_CONNECTIONS: Final = 64
PART_BYTES: Final = 64 * 1024

T = TypeVar("T")


class Relay:
    """A relay, as one plugin sees it.

    Args:
        base_url: the relay's address, e.g. ``https://relay.example``; its path, if any, is kept.
        key: an API key, ``whk_...``.
        timeout_s: how long `trigger` and `wait` wait for the end, in all.
        tries: how many times a request may be sent; a trigger carries an Idempotency-Key, so it is accepted only once.
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
        flows = Flows(Requester(self.base_url, key, tries, time.monotonic), timeout_s)
        self._transport = Transport(ca_file)
        self.webhooks = Webhooks(flows, self._transport)
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
        self._transport.close()


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests reads the target even of a redirect that is not followed, and raises if it cannot."""


class Transport:
    """Runs the flows of calls over one session."""

    def __init__(self, ca_file: str | None) -> None:
        self._ca_file = ca_file
        self._session = _new_session(ca_file)
        self._process = os.getpid()

    def close(self) -> None:
        self._session.close()

    def run(self, flow: Flow[T]) -> T:
        """Run a call to its end; return its result, or raise its error."""
        step = advance(flow)
        while not isinstance(step, End):
            if isinstance(step, Request):
                step = advance(flow, self._send(step))
            else:
                time.sleep(step)
                step = advance(flow)
        return step.result

    def _send(self, request: Request) -> Answer | Exception:
        end_s = time.monotonic() + request.connect_timeout_s + request.read_timeout_s
        body = bytearray()
        try:
            with self._own_session().request(
                request.method,
                request.url,
                data=request.body,
                headers=dict(request.headers),
                timeout=(request.connect_timeout_s, request.read_timeout_s),  # of which each read has all
                allow_redirects=False,  # a redirect would take key and trigger elsewhere
                stream=True,
            ) as response:
                while part := response.raw.read1(PART_BYTES, decode_content=True):
                    if time.monotonic() > end_s:
                        return requests.ReadTimeout("The answer takes too long.")
                    body += part
        except (requests.RequestException, HTTPError) as fault:
            return fault
        return Answer.read(response.status_code, response.headers, bytes(body))

    def _own_session(self) -> requests.Session:
        """Return the session; after a fork a new one: processes that share a connection get each other's answers."""
        if self._process != os.getpid():
            self._session = _new_session(self._ca_file)
            self._process = os.getpid()
        return self._session


def _new_session(ca_file: str | None) -> requests.Session:
    session = _Session()
    session.trust_env = False  # no proxies, no netrc: the key goes to the relay and nowhere else
    session.verify = ca_file or True
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # threads share no cookies
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=POOL_CONNECTIONS))
    return session
