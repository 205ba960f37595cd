"""Intake: looks up a trigger's webhook, checks the trigger against its shape and seals it, or decides to refuse it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from relay.chains import pins_of
from relay.domain.invocation import OWN_CALLERS, Outcome, Purpose
from relay.errors import BadParameter, NotFound, RelayError, RequestRejected, WebhookNotRegistered
from relay.request.directions import delay_ms, subject_of
from relay.request.trigger import Trigger, check
from relay.store.ledger.acceptance import Idempotency, NewInvocation
from relay.text.ids import ID_PATTERN
from relay.vault import payload_owner

if TYPE_CHECKING:
    from relay.registration import Shape
    from relay.store.registry.webhooks import Registry
    from relay.store.subjects.hashes import SubjectHashes
    from relay.vault import Vault

_IDEMPOTENCY_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z", re.ASCII)
_RECORD_BYTES: Final = 512  # roughly what a record without its payload takes in the store


@dataclass(frozen=True, slots=True)
class TriggerRequest:
    """One trigger as it was received. ``value`` is its parsed JSON, not yet checked."""

    plugin: str
    webhook_id: str
    value: Any = field(repr=False)
    reference_id: str
    caller: str  # id of the API key
    awaited: bool = False  # takes the interactive lane
    waiter: str | None = None  # the API process that gets a notice when it ends
    idempotency_key: str | None = field(default=None, repr=False)
    traceparent: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether the relay itself made it, so that it may call a hidden webhook."""
        return self.caller in OWN_CALLERS

    @property
    def lane(self) -> str:
        """The lane, which does not change if a caller waits for the result later."""
        return "interactive" if self.awaited else "bulk"


class _Sent(NamedTuple):
    """Everything that a caller has sent in a trigger."""

    trigger: Trigger
    subject: str | None
    delay_ms: int

    @classmethod
    def read(cls, value: Any) -> Self:
        """Read a trigger from its parsed JSON; raise ``RequestRejected`` if a member is not one, or is malformed."""
        return cls(Trigger.from_value(value), subject_of(value), delay_ms(value))

    def to_value(self) -> dict[str, Any]:
        """Return it in one canonical form, however the caller wrote it; empty members are left out."""
        others = {"subject": self.subject, "delayMs": self.delay_ms}
        return self.trigger.to_value() | {name: value for name, value in others.items() if value}


class CheckedTrigger(NamedTuple):
    """A trigger ready to be stored; ``refused`` is the error of one to be recorded as `rejected`."""

    call: TriggerRequest
    new: NewInvocation
    refused: RelayError | None = None

    @property
    def size_bytes(self) -> int:
        """Roughly how many bytes it takes in the store."""
        return len(self.new.payload) + _RECORD_BYTES


def check_idempotency_key(key: Any) -> str:
    """Return the key if it is 1 to 255 visible ASCII characters; raise ``BadParameter`` otherwise."""
    if not isinstance(key, str) or not _IDEMPOTENCY_KEY.match(key):
        raise BadParameter("An idempotency key is 1 to 255 visible ASCII characters.")
    return key


class Intake:
    """Makes the records of accepted and of refused triggers. ``vault`` has the data keys."""

    def __init__(self, webhooks: Registry, vault: Vault, subjects: SubjectHashes) -> None:
        self._webhooks = webhooks
        self._vault = vault
        self._subjects = subjects

    def check_in(self, call: TriggerRequest, *, fresh: bool) -> CheckedTrigger:
        """Look up a trigger's webhook, check the trigger and seal it; return its record, or that of its refusal.

        Without ``fresh`` the registration may come from the cache; it is read again before a trigger is refused.

        Raises:
            BadParameter: the idempotency key is malformed.
            Unavailable: the registration cannot be read.
        """
        if call.idempotency_key is not None:
            check_idempotency_key(call.idempotency_key)
        checked = self._checked(call, refresh=fresh)
        if checked.refused is not None and not fresh:
            checked = self._checked(call, refresh=True)
        return checked

    def refuse(
        self,
        call: TriggerRequest,
        error: RelayError,
        *,
        revision: int = 0,
        idempotency: Idempotency | None = None,
        callback: str | None = None,
    ) -> CheckedTrigger:
        """Make the record of a refused trigger, without its contents."""
        unknown = isinstance(error, WebhookNotRegistered)
        new = NewInvocation(
            reference_id=call.reference_id,
            plugin=call.plugin,
            webhook_id=call.webhook_id if ID_PATTERN.match(call.webhook_id) else "",  # the store has only valid ids
            revision=revision,
            lane=call.lane,
            caller=call.caller,
            traceparent=call.traceparent,
            idempotency=idempotency,  # a key that was used before still names its first invocation
            refusal=Outcome.WEBHOOK_NOT_REGISTERED if unknown else Outcome.REQUEST_REJECTED,
            callback=callback or "",
        )
        return CheckedTrigger(call, new, error)

    def _checked(self, call: TriggerRequest, *, refresh: bool) -> CheckedTrigger:
        found = self._current(call, refresh=refresh)
        if found is None:
            return self.refuse(call, WebhookNotRegistered(), idempotency=self._idempotency_of_unknown(call))
        revision, shape = found
        idempotency = None
        try:
            sent = _Sent.read(call.value)
            if call.idempotency_key is not None:
                idempotency = self._idempotency(call, call.idempotency_key, sent)
            payload = check(shape, sent.trigger).to_json()
        except RequestRejected as error:
            return self.refuse(call, error, revision=revision, idempotency=idempotency, callback=shape.callback)
        new = self._sealed(call, revision, shape, payload, sent.delay_ms, idempotency, refresh=refresh)
        return CheckedTrigger(
            call, new if sent.subject is None else new._replace(subject=self._subjects.of(call.plugin, sent.subject))
        )

    def _sealed(
        self,
        call: TriggerRequest,
        revision: int,
        shape: Shape,
        payload: bytes,
        delay: int,
        idempotency: Idempotency | None,
        *,
        refresh: bool,
    ) -> NewInvocation:
        """Make the record of a trigger that fits its registration, with the payload sealed for its purpose alone."""
        pins = None
        if shape.chain:  # the chain runs with these revisions even if newer ones are registered meanwhile
            pinned = pins_of(call.plugin, shape, partial(self._webhooks.current, refresh=refresh))
            pins = json.dumps(pinned, separators=(",", ":"))
        stamp = self._webhooks.revision(call.plugin, call.webhook_id, revision).stamp
        owner = payload_owner(call.plugin, call.reference_id, Purpose(call.webhook_id, revision, pins), stamp)
        return NewInvocation(
            reference_id=call.reference_id,
            plugin=call.plugin,
            webhook_id=call.webhook_id,
            revision=revision,
            lane=call.lane,
            timeout_ms=shape.timeout_ms,
            repeatable=shape.repeatable,
            payload=self._vault.seal(payload, owner),
            request_bytes=len(payload),
            caller=call.caller,
            traceparent=call.traceparent,
            waiter=call.waiter,
            idempotency=idempotency,
            pins=pins,
            max_age_ms=shape.max_age_ms,
            delay_ms=delay,
            callback=shape.callback or "",
        )

    def _current(self, call: TriggerRequest, *, refresh: bool) -> tuple[int, Shape] | None:
        if not ID_PATTERN.match(call.webhook_id):
            return None
        try:
            found = self._webhooks.current(call.plugin, call.webhook_id, refresh=refresh)
        except NotFound:
            return None
        return None if found is None or (found[1].hidden and not call.is_own) else found

    def _idempotency_of_unknown(self, call: TriggerRequest) -> Idempotency | None:
        """Return the key of a call whose webhook is unknown: it may have been removed since the key was used first."""
        if call.idempotency_key is None:
            return None
        try:
            return self._idempotency(call, call.idempotency_key, _Sent.read(call.value))
        except RequestRejected:
            return None

    def _idempotency(self, call: TriggerRequest, key: str, sent: _Sent) -> Idempotency:
        # The fingerprint is of what the caller sent, so that a repeat matches even if the registration has changed.
        canonical = json.dumps(sent.to_value(), sort_keys=True, separators=(",", ":")).encode()
        place = (call.plugin.encode(), call.webhook_id.encode())
        return Idempotency(
            macs=self._vault.macs(b"idempotency key", *place, key.encode()),
            fingerprints=self._vault.macs(b"idempotency fingerprint", *place, canonical),
        )
