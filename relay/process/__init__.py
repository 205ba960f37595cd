"""What keeps a process working, and ends it when it cannot."""
