"""Everything that happens to a call before it is claimed: open, check against the pinned revision, render."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from relay import telemetry
from relay.errors import NotFound, RequestRejected, Unavailable, VaultError
from relay.executor.turns import Turn
from relay.invocation import Outcome
from relay.request.oauth import NoToken
from relay.request.trigger import Trigger, check
from relay.store.tokens import Holder
from relay.vault import payload_owner

if TYPE_CHECKING:
    from relay.answer.masking import Mask
    from relay.executor.plans import Plan, Plans
    from relay.executor.tokens import Access, Tokens
    from relay.executor.turns import Turns
    from relay.registration import Shape
    from relay.request.rendering import OutgoingRequest
    from relay.store.transitions import Published
    from relay.vault import Vault

#: Masks that hide a token too, kept while the token lives.
MAX_TOKEN_MASKS: Final = 512


class Prepared(NamedTuple):
    """A call that is ready to be sent: a request, and the shape and mask for what comes back."""

    published: Published
    request: OutgoingRequest
    shape: Shape
    mask: Mask
    access: Access | None = None  # the OAuth token that is in the request


class Unsendable(NamedTuple):
    """A call that cannot be sent; it is claimed and settled with this outcome like any other."""

    published: Published
    outcome: Outcome
    shape: Shape | None = None  # where another attempt may be made, if the webhook is registered so


class Full(NamedTuple):
    """A call whose webhook has no place: it is parked, and prepared when it is woken."""

    published: Published


Call: TypeAlias = Prepared | Unsendable | Turn


class Preparation:
    """Makes calls ready. Never raises: what is wrong with a call is its outcome."""

    def __init__(self, plans: Plans, data_vault: Vault, turns: Turns, tokens: Tokens | None = None) -> None:
        self._plans = plans
        self._turns = turns
        self._vault = data_vault
        self._tokens = tokens
        self._masks = lru_cache(MAX_TOKEN_MASKS)(_mask_with)

    def prepare(self, published: Published) -> Call | Full:
        """Open, check and render one call, if there may be a place for it."""
        if published.full:
            return Full(published)
        try:
            return self._prepared(published)
        except Unavailable:  # of the store, where tokens are: what is not claimed comes again
            raise
        except RequestRejected:
            return Unsendable(published, Outcome.REQUEST_REJECTED)
        except (NotFound, VaultError):
            return Unsendable(published, Outcome.PREPARE_FAILED)
        except Exception as error:  # noqa: BLE001 - one call's fault must not take the others of its message along
            telemetry.fault(error, "prepare")
            return Unsendable(published, Outcome.PREPARE_FAILED)

    def _prepared(self, published: Published) -> Call:
        if published.current_revision is None and not self._goes_on(published):
            return Unsendable(published, Outcome.WEBHOOK_NOT_REGISTERED)
        if published.pins is not None:
            return self._turns.prepare(published)
        plan = self._plans.of(published.plugin, published.webhook_id, published.revision)
        if not plan.sendable:
            return Unsendable(published, Outcome.ADDRESS_REFUSED)
        return self._authorized(self._render(published, plan), plan)

    def _goes_on(self, published: Published) -> bool:
        """What a chain has begun goes on with the revisions that were pinned for it, whatever is registered today."""
        return published.parent is not None or (published.pins is not None and self._turns.begun(published))

    def _render(self, published: Published, plan: Plan) -> Prepared:
        owner = payload_owner(published.plugin, published.reference_id)
        trigger = Trigger.from_json(self._vault.open(published.payload, owner))
        request = plan.template.fill(
            check(plan.shape, trigger),
            reference_id=published.reference_id,
            traceparent=published.traceparent,
        )
        return Prepared(published, request, plan.shape, plan.mask)

    def _authorized(self, call: Prepared, plan: Plan) -> Call:
        """The call with an access token in it, where its webhook needs one; it is hidden in the answer."""
        if plan.oauth is None or self._tokens is None:
            return call
        published = call.published
        holder = Holder(published.plugin, published.webhook_id, published.revision)
        try:
            access = self._tokens.access(holder, plan.oauth)
        except NoToken as error:
            return Unsendable(published, error.outcome, plan.shape)
        call.request.authorize(access.token)
        return call._replace(mask=self._masks(call.mask, access.token), access=access)


def _mask_with(mask: Mask, token: str) -> Mask:
    return mask.with_texts([token])
