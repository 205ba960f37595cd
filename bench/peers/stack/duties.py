"""The duties of `bench/peers/bullmq/duties.cjs`: validate, seal, mask."""

from __future__ import annotations

import base64
import os
import re
from secrets import token_bytes
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import fastjsonschema
import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NONCE = 12
check = fastjsonschema.compile(orjson.loads(os.environ["BENCH_SCHEMA"]))
_cipher = AESGCM(b"0" * 32)


def seal(owner: bytes, text: bytes) -> bytes:
    nonce = token_bytes(_NONCE)  # in any thread
    return nonce + _cipher.encrypt(nonce, text, owner)


def unseal(owner: bytes, sealed: bytes) -> bytes:
    return _cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], owner)


def _forms(secret: str) -> Iterator[str]:
    raw = secret.encode()
    percent = "".join(f"%{byte:02x}" for byte in raw)
    yield from (secret, quote(secret, safe=""), percent, percent.upper(), raw.hex(), raw.hex().upper())
    for skipped in range(3):
        yield base64.b64encode(bytes(skipped) + raw).decode()[4 if skipped else 0 : -4]


def masker(secrets: list[str]) -> Callable[[str], Any]:
    """Return a function that reads an answer's JSON and takes these texts out of it, in every form."""
    found = re.compile("|".join(re.escape(form) for secret in secrets for form in _forms(secret)))

    def masked(value: Any) -> Any:
        if isinstance(value, str):
            return found.sub("***", value)
        if isinstance(value, list):
            return [masked(each) for each in value]
        if isinstance(value, dict):
            return {found.sub("***", name): masked(each) for name, each in value.items()}
        return value

    return lambda text: masked(orjson.loads(found.sub("***", text)))
