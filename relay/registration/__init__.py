"""Registration = shape + target: what a caller may send, and where it goes with which secrets (design, section 5)."""

from relay.registration.document import FORM_TYPE, Registration, read_registrations
from relay.registration.fields import ID_PATTERN
from relay.registration.shape import BODILESS_METHODS, Shape
from relay.registration.target import Target

__all__ = ["BODILESS_METHODS", "FORM_TYPE", "ID_PATTERN", "Registration", "Shape", "Target", "read_registrations"]
