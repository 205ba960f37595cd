"""The Python client for asyncio, with the same names as the plain client, to be awaited.

    async with AsyncRelay("https://relay.example", key) as relay:
        answers = await asyncio.gather(*(relay.webhooks.trigger("order", {"n": n}) for n in range(20)))

It needs aiohttp, the extra ``asyncio``. A call that waits holds a connection, and no thread.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from relay.client.bulk import copy_items
from relay.client.copies import copy_trigger
from relay.client.exchange import Requester
from relay.client.flows import Flows
from relay.client.frozen import freeze
from relay.client.relay import TRIES, WAIT_LIMIT_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.client.async_transport import AsyncTransport

#: As many callers as one API process lets wait (its RELAY_MAX_WAITERS).
CALLERS: Final = 512


class AsyncRelay:
    """A relay, as one plugin sees it; constructed like `Relay`, and closed by ``async with`` or ``await close()``.

    It belongs to the event loop in which it makes its first call. At most ``callers`` calls are under way at once;
    further ones wait.

    Cancelling a task ends its request and closes the connection. A trigger that the relay has accepted by then is still
    carried out, as when any caller hangs up. Give an ``idempotency_key`` to be able to ask again: another `trigger`
    with the same key causes no second call, and returns the result of the first.

    Raises:
        ValueError: as `Relay`, or ``callers`` is less than 1.
        OSError: ``ca_file`` cannot be read.
        ImportError: aiohttp is not installed.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = WAIT_LIMIT_S,
        tries: int = TRIES,
        ca_file: str | None = None,
        callers: int = CALLERS,
    ) -> None:
        if callers < 1:
            raise ValueError("callers must be at least 1")
        self.base_url = base_url.rstrip("/")
        flows = Flows(Requester(self.base_url, key, tries, time.monotonic), timeout_s)
        self._transport = _transport(ca_file, callers)
        self.webhooks = AsyncWebhooks(flows, self._transport)
        self.trigger = self.webhooks.trigger
        self.trigger_async = self.webhooks.trigger_async
        self.trigger_many = self.webhooks.trigger_many
        self.get = self.webhooks.get
        self.wait = self.webhooks.wait

    def __repr__(self) -> str:
        return f"AsyncRelay({self.base_url!r})"  # the key stays out

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Begin no more calls, and close the connections once the calls that are under way have ended."""
        await self._transport.close()


class AsyncWebhooks:
    """The calls of `Webhooks` to be awaited, with the same arguments, results and errors."""

    def __init__(self, flows: Flows, transport: AsyncTransport) -> None:
        self._flows = flows
        self._transport = transport

    async def trigger(
        self,
        webhook_id: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        query_params: Mapping[str, Any] | None = None,
        *,
        path_params: Mapping[str, Any] | None = None,
        subject: str | None = None,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Trigger a webhook, wait, and return its result: ``{"referenceId", "status", "data", "error"}``."""
        given = freeze(copy_trigger, data, headers, query_params, path_params, subject, data=[data])
        flow = self._flows.trigger(webhook_id, given, timeout_s, idempotency_key)
        return await self._transport.run(flow, given.size_bytes)

    async def trigger_async(  # noqa: PLR0913 - one parameter an option
        self,
        webhook_id: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        query_params: Mapping[str, Any] | None = None,
        *,
        path_params: Mapping[str, Any] | None = None,
        subject: str | None = None,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
        delay_s: float | None = None,
    ) -> dict[str, Any]:
        """Trigger a webhook without waiting for its end; return ``{"referenceId", "state"}``."""
        given = freeze(copy_trigger, data, headers, query_params, path_params, subject, delay_s, data=[data])
        flow = self._flows.trigger_async(webhook_id, given, timeout_s, idempotency_key)
        return await self._transport.run(flow, given.size_bytes)

    async def trigger_many(
        self, items: Iterable[Mapping[str, Any]], *, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Trigger many webhooks; return for each, in order, ``{"referenceId", "state"}`` or ``{"problem"}``."""
        listed = list(items)
        given = freeze(copy_items, listed, data=(each.get("data") if type(each) is dict else each for each in listed))
        return await self._transport.run(self._flows.trigger_many(given, timeout_s), given.size_bytes)

    async def available(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """List the webhooks that may be triggered."""
        return await self._transport.run(self._flows.available(timeout_s))

    async def describe(self, webhook_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the description of one webhook."""
        return await self._transport.run(self._flows.describe(webhook_id, timeout_s))

    async def get(self, reference_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the record of an invocation as it is now."""
        return await self._transport.run(self._flows.get(reference_id, timeout_s))

    async def wait(self, reference_id: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait until an invocation is final; return its ``{"referenceId", "status", "data", "error"}``."""
        return await self._transport.run(self._flows.wait(reference_id, timeout_s))


def _transport(ca_file: str | None, callers: int) -> AsyncTransport:
    """Make a transport; import aiohttp only here, so that the plain client neither needs it nor waits for it."""
    try:
        from relay.client.async_transport import AsyncTransport  # noqa: PLC0415 - the point of this function
    except ModuleNotFoundError as error:
        raise ImportError("AsyncRelay needs aiohttp: pip install 'webhook-relay[asyncio]'") from error
    return AsyncTransport(ca_file, callers)
