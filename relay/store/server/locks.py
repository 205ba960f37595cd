"""Locks that end by themselves, as keys that expire."""

from __future__ import annotations

from typing import Any


def take_lock(client: Any, key: str, owner: str, lock_ms: int) -> bool:
    """Take a lock for ``lock_ms``; return whether it was free.

    A lock lasts until a time on the server's clock. If the clock has gone back, the lock is shortened to ``lock_ms``.
    """
    if client.set(key, owner, nx=True, px=lock_ms):
        return True
    client.pexpire(key, lock_ms, lt=True)
    return False


def hold_lock(client: Any, key: str, owner: str, lock_ms: int) -> bool:
    """Take a lock for ``lock_ms``, or extend it if ``owner`` has it, whether it knows so or not; return False if not.

    The reply to a command that took the lock may have been lost.
    """
    if take_lock(client, key, owner, lock_ms):
        return True
    return client.get(key) == owner.encode() and bool(client.pexpire(key, lock_ms))
