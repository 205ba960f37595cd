"""Use case: run published invocations. Read, prepare, wait for a slot, claim, gate, send, mask, settle."""

from relay.executor.pipeline import Executor

__all__ = ["Executor"]
