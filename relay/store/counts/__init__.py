"""What the store counts: calls by minute, day and lane."""
