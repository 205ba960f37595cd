"""The calls of the client, `Relay.webhooks`; a `Transport` runs their flows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay.client.bulk import copy_items
from relay.client.copies import copy_trigger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from relay.client.flows import Flows
    from relay.client.relay import Transport


class Webhooks:
    """The calls of `Relay.webhooks`. All of them raise `Unavailable` if the relay cannot be reached."""

    def __init__(self, flows: Flows, transport: Transport) -> None:
        self._flows = flows
        self._transport = transport

    def trigger(
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
        """Trigger a webhook, wait, and return its result: ``{"referenceId", "status", "data", "error"}``.

        The result's ``data`` is the endpoint's answer, or ``{"code", "message"}`` if that could not be accepted.
        Without an answer it is ``{"code", "message", "sent"}``: "no" if certainly nothing was sent, else "maybe".

        ``data`` given as bytes is sent as base64 text, and only to a webhook that is registered with
        ``payload_encoding``. Members of ``data`` may be files that were opened with mode "rb", if it is registered with
        ``payload: "multipart"``. Anything else that JSON would drop or change is refused. ``subject`` names whom the
        call concerns, such as a patient's id: it is never sent to the endpoint, and all about it can be forgotten.

        Raises:
            WebhookNotRegistered: no such webhook is registered for this plugin.
            RequestRejected: data, headers or parameters do not fit the registration, or JSON would drop or change
                them; ``faults`` say where, and the message names the first.
            WaitEnded: (a TimeoutError) not final in ``timeout_s``; it has the reference id, and the call goes on.
            RelayError: any other fault of the relay, of the key, or on the way to the relay. Every error has the
                ``idempotency_key`` that was used, and the ``reference_id`` if it is known.
        """
        copy = copy_trigger(data, headers, query_params, path_params, subject)
        return self._transport.run(self._flows.trigger(webhook_id, copy, timeout_s, idempotency_key))

    def trigger_async(  # noqa: PLR0913 - one parameter an option
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
        """Trigger a webhook without waiting; return ``{"referenceId", "state"}``.

        The call is not sent before ``delay_s`` seconds have passed, 0 to 2,592,000. Raises the errors with which the
        relay refuses a trigger, as `trigger` does.
        """
        copy = copy_trigger(data, headers, query_params, path_params, subject, delay_s)
        return self._transport.run(self._flows.trigger_async(webhook_id, copy, timeout_s, idempotency_key))

    def trigger_many(
        self, items: Iterable[Mapping[str, Any]], *, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Trigger webhooks without waiting; return for each, in order, ``{"referenceId", "state"}`` or ``{"problem"}``.

        An item has ``webhookId``, and optionally ``data``, ``headers``, ``queryParams``, ``pathParams``, ``subject``,
        ``idempotencyKey`` and ``delay`` (seconds). Any number of items is sent, in groups that the relay takes, and
        every group may take ``timeout_s``. A fault of a whole group is raised if nothing has been accepted; otherwise
        it becomes the problem of each item without an answer, so no reference id is lost. Such items may have been
        accepted: trigger them again with the ``idempotencyKey`` of the problem, or with the ``idempotency_keys`` of the
        raised error. Raises ``RequestRejected``, and sends nothing, if JSON would drop or change a value of any item.
        """
        return self._transport.run(self._flows.trigger_many(copy_items(items), timeout_s))

    def available(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """List the webhooks that may be triggered: ``id``, ``description``, ``dataSchema``, ``headers`` and so on."""
        return self._transport.run(self._flows.available(timeout_s))

    def describe(self, webhook_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the description of one webhook; raise ``WebhookNotRegistered`` if it is not registered."""
        return self._transport.run(self._flows.describe(webhook_id, timeout_s))

    def get(self, reference_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the record of an invocation as it is now; raise `NotFound`, or `Expired` after its retention."""
        return self._transport.run(self._flows.get(reference_id, timeout_s))

    def wait(self, reference_id: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait until an invocation is final; return its ``{"referenceId", "status", "data", "error"}``.

        Raises:
            RequestRejected, WebhookNotRegistered: it ended ``rejected``.
            Cancelled: it was cancelled.
            WaitEnded: (a TimeoutError) it is not final after ``timeout_s``.
            NotFound, Expired: there is no such record (any more).
        """
        return self._transport.run(self._flows.wait(reference_id, timeout_s))
