"""The audit trail, as the store keeps it."""
