"""What may be wrong with a relay, and what to do about it: one small check a concern."""

from relay.doctor.examination import examine
from relay.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
