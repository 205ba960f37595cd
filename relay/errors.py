"""Every error of the relay, in one tree; each class has a stable code and a default sentence.

    RelayError
    |-- Refused                     the caller's fault; nothing was sent
    |   |-- MalformedJson           malformed_json
    |   |-- BadParameter            bad_parameter
    |   |-- Unauthenticated         unauthenticated
    |   |-- Forbidden               forbidden
    |   |-- WebhookNotRegistered    webhook_not_registered
    |   |-- NotFound                not_found
    |   |-- MethodNotAllowed        method_not_allowed
    |   |-- MisdirectedRequest      misdirected_request
    |   |-- Conflict                conflict
    |   |   `-- Cancelled           cancelled
    |   |-- RequestTimeout          request_timeout
    |   |-- Expired                 expired
    |   |-- TooLarge                too_large
    |   |-- UnsupportedMediaType    unsupported_media_type
    |   |-- RequestRejected         request_rejected
    |   `-- IdempotencyKeyReused    idempotency_key_reused
    |-- Busy                        try again after ``retry_after_s``
    |   |-- RateLimited             rate_limited
    |   |-- OverCapacity            over_capacity
    |   `-- Unavailable             unavailable
    |-- Internal                    internal
    |-- StoreFault                  internal
    |-- DocumentError               bad_document (a registration file; never over HTTP)
    |-- SettingsError               bad_settings
    `-- VaultError                  vault

The codes are the contract; the sentences may improve. No message ever holds a URL, a
header value, a payload or another plugin's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

#: How many faults of a registration document are named.
MAX_FAULTS: Final = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input: where (a JSON pointer, RFC 6901) and what."""

    pointer: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = self.pointer or "document"
        if self.line is not None:
            where = f"{where} (line {self.line}, column {self.column})"
        return f"{where}: {self.message}"


class RelayError(Exception):
    """Root of the tree. ``faults`` name the fields at fault, ``reference_id`` the record that was written.

    The client adds the ``idempotency_key`` of the trigger, or the ``idempotency_keys`` of all items of a list that
    failed as a whole: a trigger that is sent again with its key is accepted only once.
    """

    code: ClassVar[str] = "internal"
    sentence: ClassVar[str] = "The relay failed unexpectedly."

    def __init__(
        self,
        message: str | None = None,
        *,
        faults: tuple[Fault, ...] = (),
        reference_id: str | None = None,
    ) -> None:
        self.message = message or self.sentence
        self.faults = faults
        self.reference_id = reference_id
        self.idempotency_key: str | None = None
        self.idempotency_keys: tuple[str, ...] = ()
        super().__init__(self.message)

    def add(self, sentence: str) -> None:
        """Add a sentence to the message."""
        self.message = f"{self.message} {sentence}"
        self.args = (self.message,)


class Refused(RelayError):
    """The caller's fault: the same request will be refused again."""


class MalformedJson(Refused):
    """The body is not strict JSON."""

    code = "malformed_json"
    sentence = "The body is not valid JSON."


class BadParameter(Refused):
    """A query parameter or header of the relay's own API is out of its range."""

    code = "bad_parameter"
    sentence = "A parameter of the request is not valid."


class Unauthenticated(Refused):
    """The key is missing, unknown, wrong or revoked (all with the same answer), or it has expired."""

    code = "unauthenticated"
    sentence = "A valid API key is required, as `Authorization: Bearer KEY`."


class Forbidden(Refused):
    """The key is good, but lacks the scope or the origin."""

    code = "forbidden"
    sentence = "This key may not do that."


class WebhookNotRegistered(Refused):
    """The webhook is unknown, hidden or another plugin's; the answer is exactly the same for all of these."""

    code = "webhook_not_registered"
    sentence = "No such webhook is registered for this plugin."


class NotFound(Refused):
    """There is nothing here, or nothing that this plugin may see."""

    code = "not_found"
    sentence = "Nothing was found here."


class MethodNotAllowed(Refused):
    """The route exists, the method does not."""

    code = "method_not_allowed"
    sentence = "This method is not allowed here."


class MisdirectedRequest(Refused):
    """The request names a host by which this relay is not reached (RELAY_PUBLIC_HOSTS)."""

    code = "misdirected_request"
    sentence = "This relay is not reached by that host name: its operator lists the names in RELAY_PUBLIC_HOSTS."


class Conflict(Refused):
    """The current state of the record, job or resource does not allow this."""

    code = "conflict"
    sentence = "The current state does not allow this."


class Cancelled(Conflict):
    """An operator cancelled the awaited invocation."""

    code = "cancelled"
    sentence = "The invocation was cancelled before it was sent."


class Expired(Refused):
    """The record is older than its retention."""

    code = "expired"
    sentence = "The record has passed its retention and is gone."


class RequestTimeout(Refused):
    """The body did not arrive in time; a proxy before the API gives this answer."""

    code = "request_timeout"
    sentence = "The body took too long to arrive."


class TooLarge(Refused):
    """The body is larger than RELAY_MAX_BODY_BYTES, or holds too many values."""

    code = "too_large"
    sentence = "The body is too large."


class UnsupportedMediaType(Refused):
    """The route does not accept the body's media type, or its content encoding."""

    code = "unsupported_media_type"
    sentence = "The body's media type is not supported here."


class RequestRejected(Refused):
    """Data, headers or queryParams do not fit the registration."""

    code = "request_rejected"
    sentence = "The request does not fit the webhook's registration."


class IdempotencyKeyReused(Refused):
    """The Idempotency-Key was used before, with another trigger."""

    code = "idempotency_key_reused"
    sentence = "This Idempotency-Key was used with a different request."


class Busy(RelayError):
    """The relay is busy: the same request may be accepted after ``retry_after_s`` seconds."""

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: int = 1,
        faults: tuple[Fault, ...] = (),
        reference_id: str | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message, faults=faults, reference_id=reference_id)


class RateLimited(Busy):
    """The plugin's own request rate is used up."""

    code = "rate_limited"
    sentence = "This plugin sends requests faster than its rate allows."


class OverCapacity(Busy):
    """Too much is pending already; nothing was accepted."""

    code = "over_capacity"
    sentence = "Too many invocations are pending."


class Unavailable(Busy):
    """The relay's store cannot be reached (or, in a client, the relay itself)."""

    code = "unavailable"
    sentence = "The relay cannot take requests right now."


class Internal(RelayError):
    """A fault of the relay itself; the details are in its log only."""


class StoreFault(RelayError):
    """The server cannot run a script or command of the relay; the cause says why."""


class DocumentError(RelayError):
    """A registration document cannot be accepted; ``faults`` say where and why."""

    code = "bad_document"
    sentence = "The registration document is not valid."


class SettingsError(RelayError):
    """A setting is missing or malformed, or would break a guarantee of the relay."""

    code = "bad_settings"
    sentence = "A setting is not valid."


class VaultError(RelayError):
    """A sealed value does not open: its key is unknown, it was altered, or it was sealed for another owner."""

    code = "vault"
    sentence = "A sealed value cannot be opened with the configured keys."
