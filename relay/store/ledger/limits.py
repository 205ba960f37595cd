"""How much may be pending in the store, and how long records of final invocations are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from relay.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be pending, and how long final records are kept (milliseconds)."""

    max_pending: int
    max_pending_per_plugin: int
    max_pending_bytes: int
    retention_ms: int
    failed_retention_ms: int
    rejected_retention_ms: int
    max_age_ms: int  # the largest age of a call, unless its webhook sets another
    max_pending_bytes_per_plugin: int = 1 << 60
    max_kept_bytes_per_plugin: int = 1 << 60
    contents_retention_ms: int = 0  # of payload and result; 0: as long as their records

    @property
    def retention_args(self) -> tuple[int, int, int, int]:
        """Retention of ok, failed and rejected ends and of contents, in the order that the scripts expect."""
        return self.retention_ms, self.failed_retention_ms, self.rejected_retention_ms, self.contents_retention_ms

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make the limits from the settings."""
        return cls(
            max_pending=settings.max_pending,
            max_pending_per_plugin=settings.max_pending_per_plugin,
            max_pending_bytes=settings.max_pending_bytes,
            max_pending_bytes_per_plugin=settings.max_pending_bytes_per_plugin,
            max_kept_bytes_per_plugin=settings.max_kept_bytes_per_plugin,
            retention_ms=settings.retention_s * 1000,
            failed_retention_ms=settings.failed_retention_s * 1000,
            rejected_retention_ms=settings.rejected_retention_s * 1000,
            contents_retention_ms=(settings.payload_retention_s or 0) * 1000,
            max_age_ms=int(settings.max_age_s * 1000),
        )
