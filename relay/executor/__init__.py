"""Runs published invocations: reads, prepares, waits for a slot, claims, sends through the gate, masks, settles."""

from relay.executor.pipeline import Executor

__all__ = ["Executor"]
