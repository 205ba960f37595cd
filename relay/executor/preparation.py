"""Everything that happens to a call before it is claimed: open, check against the pinned revision, render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from relay import telemetry
from relay.errors import NotFound, RequestRejected, VaultError
from relay.invocation import Outcome
from relay.trigger import Trigger, check
from relay.vault import payload_owner

if TYPE_CHECKING:
    from requests import PreparedRequest

    from relay.masking import Mask
    from relay.plans import Plan, Plans
    from relay.registration import Shape
    from relay.store.transitions import Published
    from relay.vault import Vault


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call that is ready to be sent: a request, and the shape and mask for what comes back."""

    published: Published
    request: PreparedRequest
    shape: Shape
    mask: Mask


@dataclass(frozen=True, slots=True)
class Unsendable:
    """A call that cannot be sent; it is claimed and settled with this outcome like any other."""

    published: Published
    outcome: Outcome


Call: TypeAlias = Prepared | Unsendable


class Preparation:
    """Makes calls ready. Never raises: what is wrong with a call is its outcome."""

    def __init__(self, plans: Plans, data_vault: Vault) -> None:
        self._plans = plans
        self._vault = data_vault

    def prepare(self, published: Published) -> Call:
        """Open, check and render one call."""
        if published.current_revision is None:
            return Unsendable(published, Outcome.WEBHOOK_NOT_REGISTERED)
        try:
            plan = self._plans.of(published.plugin, published.webhook_id, published.revision)
            if not plan.sendable:
                return Unsendable(published, Outcome.ADDRESS_REFUSED)
            return self._render(published, plan)
        except RequestRejected:
            return Unsendable(published, Outcome.REQUEST_REJECTED)
        except (NotFound, VaultError):
            return Unsendable(published, Outcome.PREPARE_FAILED)
        except Exception as error:  # noqa: BLE001 - one call's fault must not take the others of its message along
            telemetry.fault(error, "prepare")
            return Unsendable(published, Outcome.PREPARE_FAILED)

    def _render(self, published: Published, plan: Plan) -> Prepared:
        owner = payload_owner(published.plugin, published.reference_id)
        trigger = Trigger.from_json(self._vault.open(published.payload, owner))
        request = plan.template.fill(
            check(plan.shape, trigger),
            reference_id=published.reference_id,
            traceparent=published.traceparent,
        )
        return Prepared(published, request, plan.shape, plan.mask)
