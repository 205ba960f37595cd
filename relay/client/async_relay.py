"""The Python client for asyncio, with the same names as the plain client, to be awaited.

    async with AsyncRelay("https://relay.example", key) as relay:
        answers = await asyncio.gather(*(relay.webhooks.trigger("order", {"n": n}) for n in range(20)))

It runs the plain client in its own threads: a waiting call holds a thread, but does not block the event loop.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

from relay.client.bulk import copy_items
from relay.client.copies import copy_trigger
from relay.client.courses import Courses
from relay.client.exchange import Asker
from relay.client.relay import POOL_CONNECTIONS, TRIES, WAIT_LIMIT_S, HttpWire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.client.exchange import Course

T = TypeVar("T")


class AsyncRelay:
    """A relay, as one plugin sees it; made as `Relay` is, and closed with ``async with`` or ``await close()``.

    At most ``callers`` requests are under way at once; further ones wait. Cancelling a task gives up its answer only: a
    trigger that is under way goes on, as it does when a caller hangs up.

    Raises:
        ValueError: as `Relay`.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = WAIT_LIMIT_S,
        tries: int = TRIES,
        ca_file: str | None = None,
        callers: int = POOL_CONNECTIONS,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        courses = Courses(Asker(self.base_url, key, tries, time.monotonic), timeout_s)
        self._wire = HttpWire(ca_file)
        self._threads = ThreadPoolExecutor(callers, thread_name_prefix="relay-client")
        self.webhooks = AsyncWebhooks(courses, self._wire, self._threads)
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
        """Start no more requests, and close the connections once those under way have their answers."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._threads.shutdown)
        self._wire.close()


class AsyncWebhooks:
    """The calls of `Webhooks` to be awaited, with the same arguments, results and errors."""

    def __init__(self, courses: Courses, wire: HttpWire, threads: ThreadPoolExecutor) -> None:
        self._courses = courses
        self._wire = wire
        self._threads = threads

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
        copy = copy_trigger(data, headers, query_params, path_params, subject)
        return await self._done(self._courses.trigger(webhook_id, copy, timeout_s, idempotency_key))

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
        copy = copy_trigger(data, headers, query_params, path_params, subject, delay_s)
        return await self._done(self._courses.trigger_async(webhook_id, copy, timeout_s, idempotency_key))

    async def trigger_many(
        self, items: Iterable[Mapping[str, Any]], *, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Trigger many webhooks; return for each, in order, ``{"referenceId", "state"}`` or ``{"problem"}``."""
        return await self._done(self._courses.trigger_many(copy_items(items), timeout_s))

    async def available(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """List the webhooks that may be triggered."""
        return await self._done(self._courses.available(timeout_s))

    async def describe(self, webhook_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the description of one webhook."""
        return await self._done(self._courses.describe(webhook_id, timeout_s))

    async def get(self, reference_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the record of an invocation as it is now."""
        return await self._done(self._courses.get(reference_id, timeout_s))

    async def wait(self, reference_id: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait until an invocation is final; return its ``{"referenceId", "status", "data", "error"}``."""
        return await self._done(self._courses.wait(reference_id, timeout_s))

    async def _done(self, course: Course[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._wire.run, course)
