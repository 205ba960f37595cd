"""Backups of the store: taken, copied into an empty store, and made usable again without sending anything twice."""
