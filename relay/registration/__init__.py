"""Registration = shape + target: what a caller may send, and where it goes with which secrets."""

from relay.registration.chain_target import ChainTarget, target_from_json
from relay.registration.shape import Shape
from relay.registration.steps import Step
from relay.registration.target import Target

__all__ = [
    "ChainTarget",
    "Shape",
    "Step",
    "Target",
    "target_from_json",
]
