"""The audit trail: who did what, when, with what outcome; hash-chained, and signed every few seconds."""
