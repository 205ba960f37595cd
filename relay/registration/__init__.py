"""Registration = shape + target: what a caller may send, and where it goes with which secrets."""

from relay.registration.shape import Shape
from relay.registration.steps import Step
from relay.registration.target import ChainTarget, Target, target_from_json

__all__ = [
    "ChainTarget",
    "Shape",
    "Step",
    "Target",
    "target_from_json",
]
