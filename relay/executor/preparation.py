"""Prepares calls before they are claimed: opens, checks against the pinned revision, renders."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias, TypeVar

from relay.answer.masking import Mask
from relay.domain.invocation import Outcome
from relay.errors import DocumentError, NotFound, RequestRejected, StoreFault, Unavailable, VaultError
from relay.executor.chain_evaluation import Decided, stopped
from relay.executor.large_work import run_in_thread_if_large
from relay.request.oauth import NoToken
from relay.request.trigger import check
from relay.store.registry.access_tokens import RevisionId
from relay.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from relay.executor.access_tokens import AccessToken, AccessTokens
    from relay.executor.call_plans import CallPlan, CallPlans
    from relay.executor.chain_evaluation import ChainEvaluator
    from relay.executor.payloads import Payloads
    from relay.registration import Shape
    from relay.request.rendering import OutgoingRequest
    from relay.store.ledger.transitions import CallRecord

T = TypeVar("T")

#: How many masks are kept that also hide an access token.
MAX_TOKEN_MASKS: Final = 512


class Prepared(NamedTuple):
    """A call that is ready to be sent: its request, and the shape and mask for the answer."""

    record: CallRecord
    request: OutgoingRequest
    shape: Shape
    mask: Mask
    access: AccessToken | None = None  # the OAuth token that is in the request


class Unsendable(NamedTuple):
    """A call that cannot be sent; like any other, it is claimed, and then settled with this outcome."""

    record: CallRecord
    outcome: Outcome
    shape: Shape | None = None  # set if its retry policy may make another attempt


Call: TypeAlias = Prepared | Unsendable


class Preparation:
    """Prepares calls. A fault in a call becomes its outcome; a fault of the store is raised."""

    def __init__(self, plans: CallPlans, payloads: Payloads, evaluator: ChainEvaluator, tokens: AccessTokens) -> None:
        self._plans = plans
        self._evaluator = evaluator
        self._payloads = payloads
        self._tokens = tokens
        self._masks = lru_cache(MAX_TOKEN_MASKS)(Mask.with_texts)

    def read_ahead(self, chains: Sequence[CallRecord]) -> None:
        """Read what `decide` needs for these chains, all at once."""
        self._evaluator.read_ahead(chains)

    def decide(self, record: CallRecord) -> Decided:
        """Work out what a chain does next.

        Raises:
            Unavailable, StoreFault: something could not be read. A sweep brings the chain back.
        """
        decided = self._tried(record, lambda: self._decided(record))
        return stopped(record, decided.outcome) if isinstance(decided, Unsendable) else decided

    def prepare(self, record: CallRecord, *, waits: bool) -> Call | None:
        """Open, check and render one call.

        An access token may have to be fetched first, which takes up to several seconds: wait for it with ``waits``;
        without ``waits``, return None.

        Raises:
            Unavailable, StoreFault: something could not be read. The call is not claimed: a sweep brings it back.
        """
        return self._tried(record, lambda: self._prepared(record, waits))

    def _tried(self, record: CallRecord, work: Callable[[], T]) -> T | Unsendable:
        try:
            try:
                return work()
            except VaultError:
                if not self._plans.is_changed(record.plugin, record.webhook_id, record.revision):
                    raise
                return work()
        except (Unavailable, StoreFault):
            raise
        except RequestRejected:
            return Unsendable(record, Outcome.REQUEST_REJECTED)
        except (NotFound, VaultError, DocumentError):
            return Unsendable(record, Outcome.PREPARE_FAILED)
        except Exception as error:  # noqa: BLE001 - the other calls of its batch must not fail with it
            log.fault(error, "prepare")
            return Unsendable(record, Outcome.PREPARE_FAILED)

    def _decided(self, record: CallRecord) -> Decided | Unsendable:
        if record.current_revision is None and record.parent is None and not record.made:
            return Unsendable(record, Outcome.WEBHOOK_NOT_REGISTERED)
        return self._evaluator.decide(record)  # one that has begun continues, whatever is registered now

    def _prepared(self, record: CallRecord, waits: bool) -> Call | None:
        if record.current_revision is None and record.parent is None:
            return Unsendable(record, Outcome.WEBHOOK_NOT_REGISTERED)
        plan = self._plans.of(record.plugin, record.webhook_id, record.revision)
        if not plan.sendable:
            return Unsendable(record, Outcome.ADDRESS_REFUSED)
        return self._authorized(self._render(record, plan), plan, waits)

    def _render(self, record: CallRecord, plan: CallPlan) -> Prepared:
        ref, traceparent = record.reference_id, record.traceparent
        request = run_in_thread_if_large(
            len(record.payload),
            lambda: plan.template.fill(check(plan.shape, self._payloads.open(record, plan.stamp)), ref, traceparent),
        )
        return Prepared(record, request, plan.shape, plan.mask)

    def _authorized(self, call: Prepared, plan: CallPlan, waits: bool) -> Call | None:
        """Put an access token into the request if its webhook needs one, and hide the token in the answer."""
        if plan.oauth is None:
            return call
        record = call.record
        revision_id = RevisionId(record.plugin, record.webhook_id, record.revision, plan.stamp)
        try:
            find = self._tokens.access if waits else self._tokens.existing
            access = find(revision_id, plan.oauth)
        except NoToken as error:
            return Unsendable(record, error.outcome, plan.shape)
        if access is None:
            return None
        call.request.authorize(access.token)
        return call._replace(mask=self._masks(call.mask, (access.token,)), access=access)
