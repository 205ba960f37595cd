"""Chains: webhooks whose steps are other webhooks. Pure: what comes next follows from what was."""

from relay.chains.pins import pins_of
from relay.chains.plan import ChainPlan
from relay.chains.progress import Create, Finish, Next, Reject, found_secrets, progress
from relay.chains.results import StepResult

__all__ = [
    "ChainPlan",
    "Create",
    "Finish",
    "Next",
    "Reject",
    "StepResult",
    "found_secrets",
    "pins_of",
    "progress",
]
