"""Makes the registration of one webhook or chain from its checked fields."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.errors import Fault
from relay.registration.chain_fields import name_faults
from relay.registration.credentials import Basic, ClientCertificate, Credentials, OAuth2Client
from relay.registration.endpoint import Endpoint, EndpointRules, parse_endpoint
from relay.registration.fields import load_fields
from relay.registration.fixed_data import names_in, scalars_in
from relay.registration.header_rules import MIN_MASKED_LENGTH, PUBLIC_HEADERS
from relay.registration.methods import BODILESS_METHODS
from relay.registration.path_params import DEFAULT_PATTERN
from relay.registration.shape import Encoding, Shape
from relay.registration.target import ChainTarget, Target
from relay.text.json_pointers import escape_step
from relay.text.media_types import FORM_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The types that fixed members may have where data is flat, and these in words.
_FLAT: Final = {
    "form": ({str, int, float, bool}, "a string, a number, true or false, since it is sent as a form"),
    "multipart": ({str, int, float}, "a string or a number, since it is sent as multipart/form-data"),
}


@dataclass(frozen=True, slots=True)
class Registration:
    """One webhook as registered; ``warnings`` are sentences for the person who registers it."""

    shape: Shape
    target: Target | ChainTarget
    warnings: tuple[str, ...] = ()
    #: Makes a fault with its place in the document, from a JSON pointer into the webhook and a sentence.
    fault: Callable[[str, str], Fault] = field(default=Fault, compare=False, repr=False)


def load_registration(value: Any, rules: EndpointRules) -> tuple[Registration | None, list[tuple[str, str]]]:
    """Load one webhook or chain; return its registration, or None and its faults, each with a pointer into it."""
    fields, faults = load_fields(value)
    if isinstance(value, dict) and "steps" in value:
        faults = faults or list(name_faults(fields))
        return (None, faults) if faults else (_chain(fields), [])
    if isinstance(value, dict) and "method" not in value and "payload_encoding" not in value:
        faults.append(("/method", "is required (only with payload_encoding it defaults to POST)"))
    endpoint = _endpoint(fields, rules, faults)
    if isinstance(value, dict):
        faults += _token_url_faults(value.get("auth"), rules)
    credentials = _credentials(fields, rules, faults)
    faults += _data_faults(fields)
    if endpoint is None or faults:
        return None, faults
    return _webhook(fields, endpoint, credentials), []


def _endpoint(fields: Mapping[str, Any], rules: EndpointRules, faults: list[tuple[str, str]]) -> Endpoint | None:
    if "url" not in fields:
        return None
    try:
        endpoint = parse_endpoint(fields["url"], rules)
    except ValueError as error:
        faults.append(("/url", str(error)))
        return None
    faults += [
        (f"/pathParams/{escape_step(name)}", f"is not in the path of `url`, as a segment `{{{name}}}`")
        for name in fields.get("path_params", ())
        if name not in endpoint.placeholders
    ]
    fixed = {name for name, _ in endpoint.fixed_query}
    faults += [
        (f"/queryParams/{number}", "is fixed in the URL already")
        for number, name in enumerate(fields.get("query_params", ()))
        if name in fixed
    ]
    if endpoint.scheme != "https" and any(each["type"] == "mtls" for each in fields.get("auth", ())):
        faults.append(("/auth", 'has "mtls", which needs an `https` URL'))
    return endpoint


def _credentials(fields: Mapping[str, Any], rules: EndpointRules, faults: list[tuple[str, str]]) -> Credentials:
    authorization: Basic | OAuth2Client | None = None
    certificate: ClientCertificate | None = None
    auth = fields.get("auth", ())
    for each in auth:
        given = {name: value for name, value in each.items() if name not in {"type", "token_url"}}
        if each["type"] == "mtls":
            certificate = ClientCertificate(**given)
        elif each["type"] == "basic":
            authorization = Basic(**given)
        else:
            with suppress(ValueError):  # which `_token_url_faults` reports
                authorization = OAuth2Client(_token_url(each["token_url"], rules), **given)
    if any(each["type"] != "mtls" for each in auth) and "authorization" in map(str.lower, fields.get("headers", ())):
        faults.append(("/auth", "cannot be combined with an Authorization header in `headers`"))
    return Credentials(authorization, certificate)


def _token_url(url: str, rules: EndpointRules) -> Endpoint:
    endpoint = parse_endpoint(url, rules)
    if endpoint.placeholders:
        raise ValueError("has a `{...}` in its path, and no caller fills it")
    return endpoint


def _data_faults(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the faults of fields that do not fit the way in which data is sent."""
    encoding = _encoding(fields)
    if "payload" in fields and "payload_encoding" in fields:
        yield "/payload", "cannot be combined with `payload_encoding`"
    if encoding == "multipart":
        yield from (
            (f"/headers/{name}", "cannot be set with `payload`: it has a boundary, made anew for each request")
            for name in fields.get("headers", ())
            if name.lower() == "content-type"
        )
    if "fixed_data" not in fields:
        return
    if fields.get("method") in BODILESS_METHODS:
        yield "/fixedData", f"is never sent: a {fields['method']} request carries no data"
    if encoding == "base64":
        yield "/fixedData", "cannot be combined with `payload_encoding`: bytes have no members"
    flat = _FLAT.get(encoding)
    if flat is not None:
        kinds, what = flat
        yield from (
            (f"/fixedData/{escape_step(name)}", f"must be {what}")
            for name, value in fields["fixed_data"].items()
            if type(value) not in kinds
        )


def _token_url_faults(auth: Any, rules: EndpointRules) -> Iterator[tuple[str, str]]:
    """Yield the faults of token URLs in a document's ``auth``, whatever else is wrong with it."""
    several = isinstance(auth, list)
    for number, each in enumerate(auth if isinstance(auth, list) else [auth]):
        if isinstance(each, dict) and each.get("type") == "oauth2" and isinstance(each.get("tokenUrl"), str):
            try:
                _token_url(each["tokenUrl"], rules)
            except ValueError as error:
                yield (f"/auth/{number}/tokenUrl" if several else "/auth/tokenUrl"), str(error)


def _chain(fields: dict[str, Any]) -> Registration:
    uses = tuple(dict.fromkeys(step.webhook for step in fields["steps"]))
    # A chain has no method; with this one, any data may be sent to it.
    shape = _shape(fields, method="POST", chain=True, uses=uses)
    return Registration(shape, ChainTarget(tuple(fields["steps"]), fields.get("result")))


def _webhook(fields: dict[str, Any], endpoint: Endpoint, credentials: Credentials) -> Registration:
    shape = _shape(
        fields,
        method=fields.get("method", "POST"),
        fixed_members=names_in(fields.get("fixed_data", {})),
        path_params={name: fields["path_params"].get(name, DEFAULT_PATTERN) for name in endpoint.placeholders},
        encoding=_encoding(fields),
        idempotent=fields["idempotent"],
        reveal_url=fields["reveal_url"],
        retry=fields.get("retry"),
        concurrency=fields.get("concurrency"),
        rate=fields.get("rate"),
        response_schema=fields.get("response_schema"),
    )
    prefilled = {name: value for name, value in fields["headers"].items() if value}
    target = Target(endpoint, prefilled, fields.get("signing", ()), credentials, fields.get("fixed_data", {}))
    return Registration(shape, target, tuple(_warnings(shape, target)))


def _shape(fields: dict[str, Any], **further: Any) -> Shape:
    """Make a shape from the fields that webhooks and chains have in common, and from further members."""
    return Shape(
        webhook_id=fields["id"],
        fillable_headers=tuple(name for name, value in fields["headers"].items() if not value),
        query_params=tuple(fields["query_params"]),
        data_schema=fields.get("data_schema"),
        hidden=fields["hidden"],
        timeout_ms=math.ceil(fields["timeout"] * 1000),
        description=fields.get("description"),
        max_age_ms=fields.get("max_age"),
        callback=fields.get("callback"),
        **further,
    )


def _encoding(fields: Mapping[str, Any]) -> Encoding:
    if "payload_encoding" in fields:
        return "base64"
    if "payload" in fields:
        return "multipart"
    types = [value for name, value in fields.get("headers", {}).items() if value and name.lower() == "content-type"]
    is_form = bool(types) and types[0].partition(";")[0].strip().lower() == FORM_TYPE
    return "form" if is_form else "json"


def _warnings(shape: Shape, target: Target) -> Iterator[str]:
    secrets = {
        f"The value of {name}": value for name, value in target.headers.items() if name.lower() not in PUBLIC_HEADERS
    }
    authorization = target.credentials.authorization
    if isinstance(authorization, Basic):
        secrets["The password"] = authorization.password
    elif authorization is not None and authorization.client_secret is not None:
        secrets["The client secret"] = authorization.client_secret
    fixed = scalars_in(target.fixed_data)
    secrets |= {f"The value of fixedData{pointer}": value for pointer, value in fixed if isinstance(value, str)}
    for what, value in secrets.items():
        if len(value) < MIN_MASKED_LENGTH:
            yield f"{what} is shorter than {MIN_MASKED_LENGTH} characters: it cannot be masked in answers."
    if shape.method in BODILESS_METHODS and (
        shape.data_schema is not None or shape.encoding in {"base64", "multipart"}
    ):
        yield f"A {shape.method} request carries no data: dataSchema, payload and payload_encoding have no effect."
