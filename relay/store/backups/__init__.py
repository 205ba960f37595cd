"""What backups and restores need of the store: snapshots, copies, and the epoch and fence of a restored store."""
