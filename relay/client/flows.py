"""The flow of each call: which requests it makes, and what it makes of their answers; without any I/O."""

from __future__ import annotations

import base64
import math
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from urllib.parse import quote

from relay.client.bulk import groups, write
from relay.client.exchange import PAUSE_FIRST_S, PAUSE_MAXIMUM_S, POLL_WAIT_S, VISIBLE, jittered
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
    from collections.abc import Iterator

    from relay.client.copies import Copy
    from relay.client.exchange import Answer, Flow, Requester
    from relay.client.frozen import Frozen

    T = TypeVar("T")
    Given: TypeAlias = Copy[T] | Frozen[T]

_WEBHOOK_MEMBERS: Final = ("description", "dataSchema", "headers", "queryParams", "payloadEncoding")
RESULT_MEMBERS: Final = ("referenceId", "status", "data", "error")
_NOT_TAKEN: Final = {
    "base64": 'takes no bytes: the webhook is not registered with payload_encoding "base64"',
    "multipart": 'takes no file: the webhook is not registered with payload "multipart"',
}
_UNREADABLE: Final = "The relay's answer cannot be read."


class WaitEnded(RelayError, TimeoutError):
    """The invocation was not final when the wait ended; it goes on, and `wait` may be called again."""

    code = "wait_ended"
    sentence = "The invocation is still unfinished."


class Flows:
    """Makes the flows of one client's calls."""

    def __init__(self, requester: Requester, timeout_s: float) -> None:
        self._requester = requester
        self._timeout_s = timeout_s
        self._taken: set[tuple[str, str]] = set()  # ids of webhooks, with what they are known to take

    def trigger(
        self, webhook_id: str, trigger: Given[dict[str, Any]], timeout_s: float | None, idempotency_key: str | None
    ) -> Flow[dict[str, Any]]:
        """Trigger a webhook, and wait for its result."""
        deadline_s, key = self._deadline(timeout_s), _idempotency_key(idempotency_key)
        with _naming(key=key):
            prefer = f"wait={self._to_ask(deadline_s)}"
            answer = yield from self._post(webhook_id, trigger, key, prefer, deadline_s)
            if answer.status != 202:
                return _members(answer.document, RESULT_MEMBERS)
            reference_id: str = _members(answer.document, ("referenceId",))["referenceId"]
            return (yield from self._ended(reference_id, deadline_s))

    def trigger_async(
        self, webhook_id: str, trigger: Given[dict[str, Any]], timeout_s: float | None, idempotency_key: str | None
    ) -> Flow[dict[str, Any]]:
        """Trigger a webhook without waiting."""
        deadline_s, key = self._deadline(timeout_s), _idempotency_key(idempotency_key)
        with _naming(key=key):
            answer = yield from self._post(webhook_id, trigger, key, "respond-async", deadline_s)
            return _members(answer.document, ("referenceId", "state"))

    def trigger_many(self, items: Given[list[dict[str, Any]]], timeout_s: float | None) -> Flow[list[dict[str, Any]]]:
        """Trigger webhooks in groups, each of which may take the whole time."""
        results: list[dict[str, Any]] = []
        copied = items.checked()
        for index, item in enumerate(copied):
            yield from self._encode(item.get("webhookId"), item, self._deadline(timeout_s), f"/{index}")
        waiting = list(groups(copied))[::-1]
        while waiting:
            group = waiting.pop()
            try:
                results += yield from self._send_group(group, self._deadline(timeout_s))
            except TooLarge as error:
                if len(group) > 1:
                    middle = len(group) // 2
                    waiting += [group[middle:], group[:middle]]
                else:
                    results.append({"problem": _problem(error)})
            except RelayError as error:
                keys = [item["idempotencyKey"] for item in copied]
                if not any("referenceId" in result for result in results):
                    error.idempotency_keys = tuple(keys)
                    raise
                unanswered = keys[len(results) :]
                return results + [{"problem": _problem(error) | {"idempotencyKey": key}} for key in unanswered]
        return results

    def available(self, timeout_s: float | None) -> Flow[list[dict[str, Any]]]:
        """List the webhooks that may be triggered."""
        answer = yield from self._requester.request("GET", "/v1/webhooks", {}, self._deadline(timeout_s))
        webhooks: list[dict[str, Any]] = _members(answer.document, ("webhooks",))["webhooks"]
        return webhooks

    def describe(self, webhook_id: str, timeout_s: float | None) -> Flow[dict[str, Any]]:
        """Look up the description of one webhook."""
        return (yield from self._describe(webhook_id, self._deadline(timeout_s)))

    def get(self, reference_id: str, timeout_s: float | None) -> Flow[dict[str, Any]]:
        """Look up a record as it is now."""
        return (yield from self._get(reference_id, 0, self._deadline(timeout_s)))

    def wait(self, reference_id: str, timeout_s: float | None) -> Flow[dict[str, Any]]:
        """Wait until an invocation is final."""
        return (yield from self._ended(reference_id, self._deadline(timeout_s)))

    def _deadline(self, timeout_s: float | None) -> float:
        given_s = self._timeout_s if timeout_s is None else timeout_s
        if math.isnan(given_s):
            raise BadParameter("timeout_s must be a number of seconds.")
        return self._requester.clock() + given_s

    def _to_ask(self, deadline_s: float) -> int:
        """Return the whole seconds for which to ask the relay to wait, never past the deadline."""
        return max(0, int(min(POLL_WAIT_S, deadline_s - self._requester.clock())))

    def _post(
        self, webhook_id: str, trigger: Given[dict[str, Any]], key: str, prefer: str, deadline_s: float
    ) -> Flow[Answer]:
        headers = {"Idempotency-Key": key, "Prefer": prefer}
        path = f"/v1/webhooks/{_webhook_segment(webhook_id)}/trigger"
        copy = trigger.checked()
        yield from self._encode(webhook_id, copy, deadline_s)
        return (yield from self._requester.request("POST", path, headers, deadline_s, write(copy)))

    def _encode(self, webhook_id: Any, copy: dict[str, Any], deadline_s: float, at: str = "") -> Flow[None]:
        """Write data that is bytes, or files in it, as base64 text, if the webhook takes it."""
        data = copy.get("data")
        if isinstance(data, bytes):
            yield from self._check_taken("base64", webhook_id, deadline_s, f"{at}/data")
            copy["data"] = base64.b64encode(data).decode("ascii")
        elif isinstance(data, dict):
            files = {name: value for name, value in data.items() if isinstance(value, FileCopy)}
            if files:
                place = f"{at}/data/{escape_step(next(iter(files)))}"
                yield from self._check_taken("multipart", webhook_id, deadline_s, place)
            copy["data"] = data | {name: file.to_value() for name, file in files.items()}

    def _check_taken(self, kind: str, webhook_id: Any, deadline_s: float, at: str) -> Flow[None]:
        """Raise ``RequestRejected`` unless the webhook is registered with this payload encoding, or this payload."""
        if (webhook_id, kind) in self._taken:
            return
        described = yield from self._describe(webhook_id, deadline_s)
        if kind not in (described["payloadEncoding"], described.get("payload")):
            faults = (Fault(at, _NOT_TAKEN[kind]),)
            raise RequestRejected(RequestRejected.sentence + first_of(faults), faults=faults)
        self._taken.add((webhook_id, kind))

    def _describe(self, webhook_id: object, deadline_s: float) -> Flow[dict[str, Any]]:
        answer = yield from self._requester.request(
            "GET", f"/v1/webhooks/{_webhook_segment(webhook_id)}", {}, deadline_s
        )
        _members(answer.document, ("id", *_WEBHOOK_MEMBERS))
        return dict(answer.document)

    def _send_group(self, group: list[bytes], deadline_s: float) -> Flow[list[dict[str, Any]]]:
        body = b"[" + b",".join(group) + b"]"
        answer = yield from self._requester.request("POST", "/v1/triggers", {}, deadline_s, body)
        results: list[dict[str, Any]] = _members(answer.document, ("results",))["results"]
        if len(results) != len(group):
            raise Internal(_UNREADABLE)
        return results

    def _get(self, reference_id: str, asked_s: int, deadline_s: float) -> Flow[dict[str, Any]]:
        segment = _segment(reference_id)
        if segment is None:
            raise NotFound(None if reference_id else "The reference id is missing.")
        headers = {"Prefer": f"wait={asked_s}"} if asked_s else {}
        with _naming(reference_id):
            answer = yield from self._requester.request("GET", f"/v1/invocations/{segment}", headers, deadline_s)
            _members(answer.document, ("referenceId", "state", "result"))
        return dict(answer.document)

    def _ended(self, reference_id: str, deadline_s: float) -> Flow[dict[str, Any]]:
        """Wait until an invocation is final; return its result, or raise the error that it ended with."""
        with _naming(reference_id):
            return _result((yield from self._final(reference_id, deadline_s)))

    def _final(self, reference_id: str, deadline_s: float) -> Flow[dict[str, Any]]:
        """Long-poll until the record is final; pause between polls if the relay has no room to wait."""
        pause_s = PAUSE_FIRST_S
        while True:
            asked_s, began_s = self._to_ask(deadline_s), self._requester.clock()
            record = yield from self._get(reference_id, asked_s, deadline_s)
            if record["state"] in FINAL:
                return record
            now_s = self._requester.clock()
            if now_s >= deadline_s:
                raise WaitEnded
            if now_s - began_s < asked_s / 2 or not asked_s:
                yield min(jittered(pause_s), deadline_s - now_s)
                pause_s = min(2 * pause_s, PAUSE_MAXIMUM_S)


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
        raise Cancelled
    if state == State.REJECTED:
        raise _rejection(record)
    return {"referenceId": reference_id, **_members(result, RESULT_MEMBERS[1:])}


def _rejection(record: dict[str, Any]) -> type[RelayError]:
    """Return the error of a ``rejected`` record: its webhook was not registered, or the trigger did not fit it."""
    attempts = record.get("attempts") or [{}]
    unknown = attempts[-1].get("outcome") == Outcome.WEBHOOK_NOT_REGISTERED or record.get("revision", 0) is None
    return WebhookNotRegistered if unknown else RequestRejected


def _problem(error: RelayError) -> dict[str, Any]:
    return {"code": error.code, "detail": error.message}
