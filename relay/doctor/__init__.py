"""Checks what may be wrong with a relay and says what to do about it: one small check for each concern."""

from relay.doctor.examination import examine
from relay.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
