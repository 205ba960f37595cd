"""The processes that the Procfile lists: one worker for each lane group, with the default ports."""

from relay.up import processes


def default_processes():
    """Return every process that a deployment without `relay up` starts."""
    return (processes.api(), processes.worker("interactive"), processes.worker("bulk"), processes.flower())
