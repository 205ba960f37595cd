"""Signs requests by Standard Webhooks 1.0 (standardwebhooks.com): HMAC-SHA256 over id, time and body. Pure.

``webhook-id`` is the reference id, the same on every attempt; ``webhook-timestamp`` is the time of the attempt.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what every secret begins with


def signature_headers(secrets: Sequence[str], message_id: str, now_s: int, body: bytes) -> dict[str, str]:
    """Make the two headers that sign an attempt; ``secrets`` are registered ones, ``now_s`` seconds since the epoch.

    Each secret signs, so that an endpoint that changes to a new one finds a signature for either.
    """
    content = b".".join((message_id.encode("ascii"), str(now_s).encode("ascii"), body))
    signatures = (hmac.digest(secret_bytes(secret), content, hashlib.sha256) for secret in secrets)
    return {
        "webhook-timestamp": str(now_s),
        "webhook-signature": " ".join(f"v1,{b64encode(each).decode('ascii')}" for each in signatures),
    }


def secret_bytes(secret: str) -> bytes:
    """Return the HMAC key that a registered secret encodes."""
    return b64decode(secret.removeprefix(SECRET_PREFIX))
