"""Runs the flows of calls on asyncio, with aiohttp: a waiting call holds a connection, but no thread."""

from __future__ import annotations

import asyncio
import io
import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import certifi
from yarl import URL

from relay.client.exchange import Answer, End, Request, advance
from relay.client.frozen import LARGE_BYTES

if TYPE_CHECKING:
    from relay.client.exchange import Flow

T = TypeVar("T")


class AsyncTransport:
    """Runs the flows of calls over one session, at most ``callers`` at once; belongs to one event loop."""

    def __init__(self, ca_file: str | None, callers: int) -> None:
        self._trusted = ssl.create_default_context(cafile=ca_file or certifi.where())
        self._callers = callers
        self._turns = asyncio.Semaphore(callers)
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False
        self._closing = asyncio.Lock()

    async def close(self) -> None:
        """Begin no more calls, and close the connections once the calls that have begun have ended."""
        self._is_closed = True
        async with self._closing, AsyncExitStack() as turns:  # two that collect turns would wait for each other
            for _ in range(self._callers):
                await turns.enter_async_context(self._turns)
            if self._session is not None:
                await self._session.close()

    async def run(self, flow: Flow[T], size_bytes: int = 0) -> T:
        """Run a call with ``size_bytes`` of data to its end; return its result, or raise its error."""
        async with self._turns:
            if self._is_closed:
                raise RuntimeError("The client is closed.")
            came: Answer | Exception | None = None
            while not isinstance(step := await _advance(flow, came, size_bytes), End):
                if isinstance(step, Request):
                    came = await self._send(step)
                else:
                    await asyncio.sleep(step)
                    came = None
            return step.result

    async def _send(self, request: Request) -> Answer | Exception:
        try:
            async with self._opened().request(
                request.method,
                URL(request.url, encoded=True),
                data=None if request.body is None else io.BytesIO(request.body),
                headers=request.headers,
                timeout=aiohttp.ClientTimeout(
                    # aiohttp has no timeout for sending alone
                    total=request.connect_timeout_s + 2 * request.read_timeout_s,
                    connect=request.connect_timeout_s,
                    sock_read=request.read_timeout_s,
                ),
                allow_redirects=False,  # a redirect would take key and trigger elsewhere
            ) as response:
                return Answer.read(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, TimeoutError) as fault:
            return fault

    def _opened(self) -> aiohttp.ClientSession:
        """Return the session; make it within the event loop to which it belongs."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._trusted),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,  # no proxies, no netrc: the key goes to the relay and nowhere else
            )
            # aiohttp would repeat a GET by itself if its connection was lost, beyond the number of tries
            self._session._retry_connection = False  # noqa: SLF001 - there is no other way
        return self._session


async def _advance(flow: Flow[T], came: Answer | Exception | None, size_bytes: int) -> Request | float | End[T]:
    """Take a call a step further: in a thread if its data is long, so that other tasks run while it is copied."""
    if size_bytes > LARGE_BYTES:
        return await asyncio.to_thread(advance, flow, came)
    return advance(flow, came)
