"""Private keys of OAuth 2.0 clients for tests, each as PEM and as a JWK, with its public half."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc.jwk import ECKey, RSAKey

#: The kind of key that each algorithm needs.
KINDS = {"RS256": "RSA", "RS384": "RSA", "PS256": "RSA", "ES256": "P-256", "ES384": "P-384"}


@dataclass(frozen=True)
class Pair:
    """A private key in two forms, and its public half."""

    pem: str
    jwk: dict[str, Any]
    public: Any  # a key of joserfc


@cache
def key_pair(kind: str) -> Pair:
    """Make a key: ``RSA`` (``RSA-1024``), ``P-256``, ``P-384`` or ``P-521``."""
    if kind.startswith("RSA"):
        made: Any = rsa.generate_private_key(public_exponent=65_537, key_size=1024 if kind == "RSA-1024" else 2048)
    else:
        made = ec.generate_private_key(
            {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[kind]
        )
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    key = RSAKey if kind.startswith("RSA") else ECKey
    return Pair(pem, dict(key.import_key(pem).as_dict(private=True)), key.import_key(public))
