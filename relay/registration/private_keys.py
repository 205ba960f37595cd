"""Reads the private keys with which OAuth 2.0 clients sign assertions (RFC 7523): PEM, or a JWK (RFC 7517)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Mapping

PrivateKey: TypeAlias = RSAPrivateKey | EllipticCurvePrivateKey

#: The algorithms (RFC 7518, 3.1) that a curve's keys, and RSA keys, sign with; the first is the default.
_OF_CURVES: Final = {"secp256r1": ("ES256",), "secp384r1": ("ES384",)}
_OF_RSA: Final = ("RS256", "RS384", "PS256")
ALGORITHMS: Final = ("RS256", "RS384", "ES256", "ES384", "PS256")
MIN_RSA_BITS: Final = 2_048  # RFC 7518, 3.3 and 3.5
MAX_KEY_LENGTH: Final = 32 * 1024

_RULE: Final = "must be a private key, RSA or EC with the curve P-256 or P-384, as PEM (not encrypted) or as a JWK"
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm, PyJWTError)


class UnfitKeyError(ValueError):
    """A key that cannot sign; ``member`` of the document is at fault. The sentence quotes nothing of the key."""

    def __init__(self, member: str, sentence: str) -> None:
        super().__init__(sentence)
        self.member = member


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, the algorithm that it signs with, and its id, if it has one."""

    key: PrivateKey = field(repr=False)
    algorithm: str
    key_id: str | None


def read_signing_key(written: str | Mapping[str, Any], algorithm: str | None, key_id: str | None) -> SigningKey:
    """Read a key; a JWK may itself state its algorithm and id.

    Raises:
        UnfitKeyError: the key is unreadable, public, too short, of another kind, or does not fit the algorithm.
    """
    jwk = _jwk(written)
    key = _key(written, jwk)
    if isinstance(key, RSAPrivateKey) and key.key_size < MIN_RSA_BITS:
        raise UnfitKeyError("privateKey", f"must have at least {MIN_RSA_BITS} bits, as an RSA key")
    fitting = _OF_RSA if isinstance(key, RSAPrivateKey) else _OF_CURVES.get(key.curve.name)
    if fitting is None:
        raise UnfitKeyError("privateKey", _RULE)
    own = {name: value for name, value in (jwk or {}).items() if isinstance(value, str)}
    chosen = algorithm or own.get("alg") or fitting[0]
    if chosen not in fitting or own.get("alg", chosen) != chosen:
        raise UnfitKeyError("algorithm", "does not fit the private key, which signs with " + " or ".join(fitting))
    return SigningKey(key, chosen, key_id or own.get("kid"))


def key_id_in(written: str | Mapping[str, Any]) -> str | None:
    """Return the id that a JWK states, even if it cannot sign; None for any other text."""
    try:
        found = (_jwk(written) or {}).get("kid")
    except UnfitKeyError:
        return None
    return found if isinstance(found, str) else None


def _jwk(written: str | Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a JWK, even if it is written as JSON text; None for any other text."""
    if not isinstance(written, str):
        return written
    if not written.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(written)
    except (ValueError, RecursionError):
        raise UnfitKeyError("privateKey", _RULE) from None
    return value if isinstance(value, dict) else None


def _key(written: str | Mapping[str, Any], jwk: Mapping[str, Any] | None) -> PrivateKey:
    """Read a JWK, or PEM text if there is none."""
    readers: Mapping[Any, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm}
    try:
        if jwk is None:
            key: Any = load_pem_private_key(str(written).encode(), password=None)
        else:
            key = readers[jwk["kty"]].from_jwk(dict(jwk))
    except _UNREADABLE:
        raise UnfitKeyError("privateKey", _RULE) from None
    if not isinstance(key, PrivateKey):
        sentence = _RULE if jwk is None else "is a public key: the private one is needed"
        raise UnfitKeyError("privateKey", sentence)
    return key
