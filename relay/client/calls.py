"""The calls of the client, `Relay.webhooks`; an `HttpWire` carries their requests to the relay."""

from __future__ import annotations

import base64
import random
import re
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from relay.client.bulk import Group, copy_items, groups, write
from relay.client.copies import Copies
from relay.client.files import FileCopy
from relay.client.problem import first_of
from relay.domain.invocation import FINAL, Outcome, State
from relay.errors import (
    BadParameter,
    Cancelled,
    Fault,
    Internal,
    NotFound,
    RelayError,
    RequestRejected,
    TooLarge,
    WebhookNotRegistered,
)
from relay.text.json_pointers import escape_step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from relay.client.relay import HttpWire

#: How long one request asks the relay to hold its answer back; many proxies cut a connection silent for a minute.
POLL_WAIT_S: Final = 30
#: Pause between two looks at a record, if the relay has no room to wait.
PAUSE_FIRST_S: Final = 0.25
PAUSE_MAXIMUM_S: Final = 5.0
_WEBHOOK_MEMBERS: Final = ("description", "dataSchema", "headers", "queryParams", "payloadEncoding")
RESULT_MEMBERS: Final = ("referenceId", "status", "data", "error")

VISIBLE: Final = re.compile(r"[!-~]+\Z")
_NOT_TAKEN: Final = {
    "base64": 'takes no bytes: the webhook is not registered with payload_encoding "base64"',
    "multipart": 'takes no file: the webhook is not registered with payload "multipart"',
}
_UNREADABLE: Final = "The relay's answer cannot be read."


@dataclass(frozen=True, slots=True)
class Answer:
    """The relay's answer: its status, and its body read as JSON (None if it is not JSON)."""

    status: int
    document: Any
    retry_after_s: int | None = None


class WaitEnded(RelayError, TimeoutError):
    """Says that an invocation was not final when the wait was over; it goes on, and `wait` may be called again."""

    code = "wait_ended"
    sentence = "The invocation is still unfinished."


class Webhooks:
    """The calls of `Relay.webhooks`. All of them raise `Unavailable` if the relay cannot be reached."""

    def __init__(self, wire: HttpWire, timeout_s: float) -> None:
        self._wire = wire
        self._timeout_s = timeout_s
        self._taken: set[tuple[str, str]] = set()  # ids of webhooks, with what they are known to take

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
        ``payload: "multipart"``. What else JSON would drop or change is refused. ``subject`` names whom the call
        concerns, such as a patient's id: it is never sent to the endpoint, and all that concerns it can be forgotten.

        Raises:
            WebhookNotRegistered: no such webhook is registered for this plugin.
            RequestRejected: data, headers or parameters do not fit the registration, or JSON would drop or change
                them; ``faults`` say where, and the message names the first.
            WaitEnded: (a TimeoutError) not final in ``timeout_s``; it has the reference id, and the call goes on.
            RelayError: any other fault of the relay, of the key, or on the way to the relay. Every error has the
                ``idempotency_key`` that was used, and the ``reference_id`` if it is known.
        """
        deadline_s, key = self._deadline(timeout_s), _idempotency_key(idempotency_key)
        with _naming(key=key):
            prefer = f"wait={_to_ask(deadline_s)}"
            trigger = {"data": data, "headers": headers, "queryParams": query_params, "pathParams": path_params}
            trigger["subject"] = subject
            answer = self._post(webhook_id, trigger, key, prefer, deadline_s)
            if answer.status != 202:
                return _members(answer.document, RESULT_MEMBERS)
            reference_id: str = _members(answer.document, ("referenceId",))["referenceId"]
            return _result(self._final(reference_id, deadline_s))

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
        deadline_s, key = self._deadline(timeout_s), _idempotency_key(idempotency_key)
        with _naming(key=key):
            trigger = {"data": data, "headers": headers, "queryParams": query_params, "pathParams": path_params}
            trigger |= {"subject": subject, "delay": delay_s}
            answer = self._post(webhook_id, trigger, key, "respond-async", deadline_s)
            return _members(answer.document, ("referenceId", "state"))

    def trigger_many(
        self, items: Iterable[Mapping[str, Any]], *, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Trigger webhooks without waiting; return for each, in order, ``{"referenceId", "state"}`` or ``{"problem"}``.

        An item has ``webhookId``, and perhaps ``data``, ``headers``, ``queryParams``, ``pathParams``, ``subject``,
        ``idempotencyKey`` and ``delay`` (seconds). Any number of items is sent, in groups that the relay takes. A fault
        of a whole group is raised if nothing has been accepted; otherwise it becomes the problem of each item not sent,
        so no reference id is lost. Every group may take ``timeout_s``. Raises ``RequestRejected``, and sends nothing,
        if JSON would drop or change a value of any item.
        """
        results: list[dict[str, Any]] = []
        copied = copy_items(items)
        for index, item in enumerate(copied):
            self._encode(item.get("webhookId"), item, self._deadline(timeout_s), f"/{index}")
        waiting = list(groups(copied))[::-1]
        while waiting:
            group = waiting.pop()
            try:
                results += self._send_group(group, self._deadline(timeout_s))
            except TooLarge as error:
                if len(group.items) > 1:
                    waiting += group.halves()[::-1]
                else:
                    results.append({"problem": _problem(error)})
            except RelayError as error:
                if not any("referenceId" in result for result in results):
                    raise
                unsent = sum(len(each.items) for each in waiting) + len(group.items)
                return results + [{"problem": _problem(error)} for _ in range(unsent)]
        return results

    def available(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """List the webhooks that may be triggered: ``id``, ``description``, ``dataSchema``, ``headers`` and so on."""
        answer = self._wire.call("GET", "/v1/webhooks", {}, self._deadline(timeout_s))
        webhooks: list[dict[str, Any]] = _members(answer.document, ("webhooks",))["webhooks"]
        return webhooks

    def describe(self, webhook_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the description of one webhook; raise ``WebhookNotRegistered`` if it is not registered."""
        return self._describe(webhook_id, self._deadline(timeout_s))

    def _describe(self, webhook_id: object, deadline_s: float) -> dict[str, Any]:
        answer = self._wire.call("GET", f"/v1/webhooks/{_webhook_segment(webhook_id)}", {}, deadline_s)
        _members(answer.document, ("id", *_WEBHOOK_MEMBERS))
        return dict(answer.document)

    def get(self, reference_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the record of an invocation as it is now; raise `NotFound`, or `Expired` after its retention."""
        return self._get(reference_id, 0, self._deadline(timeout_s))

    def wait(self, reference_id: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Wait until an invocation is final; return its ``{"referenceId", "status", "data", "error"}``.

        Raises:
            RequestRejected, WebhookNotRegistered: it ended ``rejected``.
            Cancelled: it was cancelled.
            WaitEnded: (a TimeoutError) it is not final after ``timeout_s``.
            NotFound, Expired: there is no such record (any more).
        """
        return _result(self._final(reference_id, self._deadline(timeout_s)))

    def _deadline(self, timeout_s: float | None) -> float:
        return time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)

    def _post(self, webhook_id: str, trigger: Mapping[str, Any], key: str, prefer: str, deadline_s: float) -> Answer:
        headers = {"Idempotency-Key": key, "Prefer": prefer}
        path = f"/v1/webhooks/{_webhook_segment(webhook_id)}/trigger"
        copies = Copies()
        copy = copies.trigger(trigger)
        copies.check()
        self._encode(webhook_id, copy, deadline_s)
        return self._wire.call("POST", path, headers, deadline_s, body=write(copy))

    def _encode(self, webhook_id: Any, copy: dict[str, Any], deadline_s: float, at: str = "") -> None:
        """Write data that is bytes, or files in it, as base64 text, if the webhook takes it."""
        data = copy.get("data")
        if isinstance(data, bytes):
            self._check_taken("base64", webhook_id, deadline_s, f"{at}/data")
            copy["data"] = base64.b64encode(data).decode("ascii")
        elif isinstance(data, dict):
            files = {name: value for name, value in data.items() if isinstance(value, FileCopy)}
            if files:
                self._check_taken("multipart", webhook_id, deadline_s, f"{at}/data/{escape_step(next(iter(files)))}")
            copy["data"] = data | {name: file.to_value() for name, file in files.items()}

    def _check_taken(self, kind: str, webhook_id: Any, deadline_s: float, at: str) -> None:
        """Raise ``RequestRejected`` unless the webhook is registered with this payload encoding, or this payload."""
        if (webhook_id, kind) in self._taken:
            return
        described = self._describe(webhook_id, deadline_s)
        if kind not in (described["payloadEncoding"], described.get("payload")):
            faults = (Fault(at, _NOT_TAKEN[kind]),)
            raise RequestRejected(RequestRejected.sentence + first_of(faults), faults=faults)
        self._taken.add((webhook_id, kind))

    def _send_group(self, group: Group, deadline_s: float) -> list[dict[str, Any]]:
        answer = self._wire.call("POST", "/v1/triggers", {}, deadline_s, body=group.body)
        results: list[dict[str, Any]] = _members(answer.document, ("results",))["results"]
        if len(results) != len(group.items):
            raise Internal(_UNREADABLE)
        return results

    def _get(self, reference_id: str, asked_s: int, deadline_s: float) -> dict[str, Any]:
        segment = _segment(reference_id)
        if segment is None:
            raise NotFound(None if reference_id else "The reference id is missing.")
        headers = {"Prefer": f"wait={asked_s}"} if asked_s else {}
        with _naming(reference_id):
            record = self._wire.call("GET", f"/v1/invocations/{segment}", headers, deadline_s).document
            _members(record, ("referenceId", "state", "result"))
        return dict(record)

    def _final(self, reference_id: str, deadline_s: float) -> dict[str, Any]:
        """Long-poll until the record is final; pause between polls if the relay has no room to wait."""
        pause_s = PAUSE_FIRST_S
        while True:
            asked_s, began_s = _to_ask(deadline_s), time.monotonic()
            record = self._get(reference_id, asked_s, deadline_s)
            if record["state"] in FINAL:
                return record
            now_s = time.monotonic()
            if now_s >= deadline_s:
                raise WaitEnded(reference_id=reference_id)
            if now_s - began_s < asked_s / 2 or not asked_s:
                time.sleep(min(jittered(pause_s), deadline_s - now_s))
                pause_s = min(2 * pause_s, PAUSE_MAXIMUM_S)


def jittered(pause_s: float) -> float:
    """Return between half of a pause and all of it, so that clients do not come back together."""
    return pause_s * random.uniform(0.5, 1)  # noqa: S311 - spreads load, no secret


def _to_ask(deadline_s: float) -> int:
    """Return the whole seconds for which to ask the relay to wait, never past the deadline."""
    return max(0, min(POLL_WAIT_S, int(deadline_s - time.monotonic())))


@contextmanager
def _naming(reference_id: str | None = None, key: str | None = None) -> Iterator[None]:
    """Add the reference id and the idempotency key to a ``RelayError``, unless it has them already."""
    try:
        yield
    except RelayError as error:
        error.reference_id = error.reference_id or reference_id
        error.idempotency_key = error.idempotency_key or key
        raise


def _webhook_segment(webhook_id: object) -> str:
    segment = _segment(webhook_id)
    if segment is None:
        raise WebhookNotRegistered("The id of the webhook is missing." if webhook_id in (None, "") else None)
    return segment


def _segment(identifier: object) -> str | None:
    """Return an id as a path segment; None if it cannot be one, for example because of a slash (even as `%2F`)."""
    if not isinstance(identifier, str) or "/" in identifier or not identifier.strip("."):
        return None
    try:
        return quote(identifier, safe="")
    except UnicodeEncodeError:
        return None


def _idempotency_key(key: str | None) -> str:
    if key is not None and not VISIBLE.match(key):
        raise BadParameter("An idempotency key must be visible ASCII characters.")
    return key or str(uuid.uuid4())


def _members(document: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(document, dict) or not all(name in document for name in names):
        raise Internal(_UNREADABLE)
    return {name: document[name] for name in names}


def _result(record: dict[str, Any]) -> dict[str, Any]:
    """Return the four members of a final record, or raise the error that it ended with."""
    reference_id, state, result = record["referenceId"], record["state"], record["result"]
    if state == State.CANCELLED:
        raise Cancelled(reference_id=reference_id)
    if state == State.REJECTED:
        raise _rejection(record)(reference_id=reference_id)
    return {"referenceId": reference_id, **_members(result, RESULT_MEMBERS[1:])}


def _rejection(record: dict[str, Any]) -> type[RelayError]:
    """Return the error of a ``rejected`` record: its webhook was not registered, or the trigger did not fit it."""
    attempts = record.get("attempts") or [{}]
    unknown = attempts[-1].get("outcome") == Outcome.WEBHOOK_NOT_REGISTERED or record.get("revision", 0) is None
    return WebhookNotRegistered if unknown else RequestRejected


def _problem(error: RelayError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.message}
