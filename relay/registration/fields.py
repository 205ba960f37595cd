"""The fields of a registration document, one marshmallow schema for each kind of webhook."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from relay.registration.chain_fields import ChainFields
from relay.registration.credential_fields import auth_of, signing_secrets_of
from relay.registration.field_kinds import (
    CommonFields,
    Decimal,
    Fields,
    Flag,
    HeadersField,
    Mappings,
    Text,
    Whole,
    field_names,
    fixed_data_of,
    flattened,
    path_pattern_of,
    rate_of,
    schema_of,
)
from relay.registration.methods import METHODS
from relay.registration.path_params import MAX_PATH_PARAMS
from relay.registration.retrying import RetryPolicy
from relay.registration.shape import DEFAULT_TIMEOUT_S

MAX_TIMEOUT_S: Final = 120
MAX_ATTEMPTS: Final = 100
MAX_FACTOR: Final = 100
MAX_PAUSE_S: Final = 24 * 3600  # the longest pause between attempts
MAX_CONCURRENCY: Final = 100_000

_METHOD_RULE: Final = f"must be exactly one of {', '.join(METHODS)}"


class RetryFields(Fields):
    """A retry policy as it is written."""

    attempts = Whole(1, MAX_ATTEMPTS, required=True)
    initial = Decimal(MAX_PAUSE_S, "seconds")
    factor = Decimal(MAX_FACTOR, least=1)
    maximum = Decimal(MAX_PAUSE_S, "seconds")
    statuses = fields.List(
        Whole(400, 599),
        validate=validate.Length(max=50, error="holds more than 50 statuses"),
        error_messages={"invalid": "must be a list of statuses"},
    )

    @post_load
    def _policy(self, value: dict[str, Any], **_: Any) -> RetryPolicy:
        return RetryPolicy.from_value(value)


class WebhookFields(CommonFields):
    """One webhook as it is written."""

    url = Text(required=True)
    method = Text(validate=validate.OneOf(METHODS, error=_METHOD_RULE))
    headers = HeadersField(load_default=dict)
    path_params = Mappings(
        MAX_PATH_PARAMS, path_pattern_of, "objects such as {pattern: ...}", data_key="pathParams", load_default=dict
    )
    payload_encoding = Text(validate=validate.OneOf(["base64"], error='must be "base64"'))
    payload = Text(validate=validate.OneOf(["multipart"], error='must be "multipart"'))
    fixed_data = fields.Function(deserialize=fixed_data_of, data_key="fixedData")
    response_schema = fields.Function(deserialize=schema_of, data_key="responseSchema")
    timeout = Decimal(MAX_TIMEOUT_S, "seconds", load_default=float(DEFAULT_TIMEOUT_S))
    idempotent = Flag(load_default=False)
    reveal_url = Flag(data_key="revealUrl", load_default=False)
    retry = fields.Nested(RetryFields(unknown=RAISE))
    concurrency = Whole(1, MAX_CONCURRENCY)
    rate = fields.Function(deserialize=rate_of)
    signing = fields.Function(deserialize=signing_secrets_of)
    auth = fields.Function(deserialize=auth_of)


def load_fields(value: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Load a webhook's or chain's valid fields by their Python names, and every fault as (JSON pointer, sentence)."""
    is_chain = isinstance(value, dict) and "steps" in value
    schema: Schema = ChainFields(unknown=RAISE) if is_chain else WebhookFields(unknown=RAISE)
    faults: list[tuple[str, str]] = []
    try:
        valid = dict(schema.load(value))
    except ValidationError as error:
        valid = error.valid_data if isinstance(error.valid_data, dict) else {}
        faults = [(pointer, _misplaced(pointer, is_chain) or said) for pointer, said in flattened(error.messages)]
    return valid, faults


def _misplaced(pointer: str, is_chain: bool) -> str | None:
    """Return the fault of a field that only the other kind of webhook has; None for any other field."""
    name = pointer[1:]
    if is_chain:
        return "is not allowed with `steps`: a chain calls other webhooks" if name in _WEBHOOK_ONLY else None
    return "is only allowed with `steps`" if name in _CHAIN_ONLY else None


_WEBHOOK_ONLY: Final = frozenset(field_names(WebhookFields) - field_names(ChainFields))
_CHAIN_ONLY: Final = frozenset(field_names(ChainFields) - field_names(WebhookFields))
