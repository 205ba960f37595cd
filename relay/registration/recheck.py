"""Checks again the parts of a target that may hold secrets, once secrets from the store are filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marshmallow import ValidationError

from relay.errors import DocumentError, Fault
from relay.registration.credential_fields import auth_of, signing_secrets_of
from relay.registration.endpoint import check_query
from relay.registration.field_kinds import HeadersField, flattened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from relay.registration.target import Target


def check_secrets(target: Target) -> None:
    """Raise `DocumentError` with the faults of all values that do not fit in their places. No fault quotes a value."""
    faults = tuple(Fault(pointer, message) for pointer, message in _faults(target))
    if faults:
        raise DocumentError(faults=faults)


def _faults(target: Target) -> Iterator[tuple[str, str]]:
    try:
        check_query(target.endpoint.query)
    except ValueError as error:
        yield "/url", str(error)
    documents = target.credentials.to_document()
    for member, read, value in (
        ("headers", HeadersField().deserialize, dict(target.headers)),
        ("signing", signing_secrets_of, list(target.signing)),
        ("auth", auth_of, documents[0] if len(documents) == 1 else documents),
    ):
        if value:
            try:
                read(value)
            except ValidationError as error:
                yield from flattened(error.messages, f"/{member}")
