"""The processes of the Procfile: one worker a lane group, with the default ports."""

from relay.up import processes


def default_processes():
    """Every process that a deployment without `relay up` starts."""
    return (processes.api(), processes.worker("interactive"), processes.worker("bulk"), processes.flower())
