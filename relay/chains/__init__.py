"""Chains: webhooks whose steps are other webhooks. Pure: the next action follows from the results so far."""

from relay.chains.mapping import HALF_PAIR
from relay.chains.plan import ChainPlan, pins_of
from relay.chains.progress import Create, Finish, Next, Reject, progress, seen_before
from relay.chains.results import StepResult
from relay.chains.secrets import TooManySecrets, found_secrets, secrets_beside

__all__ = [
    "HALF_PAIR",
    "ChainPlan",
    "Create",
    "Finish",
    "Next",
    "Reject",
    "StepResult",
    "TooManySecrets",
    "found_secrets",
    "pins_of",
    "progress",
    "secrets_beside",
    "seen_before",
]
