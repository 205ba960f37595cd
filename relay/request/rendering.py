"""Makes the exact request to send from a target and a trigger (security.md, "The door"): pure, no I/O, no clock.

The ``PreparedRequest`` is filled member by member. ``PreparedRequest.prepare_url`` would rewrite ``%7E`` and
send a space as ``+``: the URL must be sent as it was registered, byte for byte.
"""

from __future__ import annotations

from base64 import b64decode
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from requests import PreparedRequest
from requests.structures import CaseInsensitiveDict

from relay.errors import Fault, RequestRejected
from relay.registration.credentials import Basic
from relay.registration.fixed_data import merged
from relay.registration.methods import BODILESS_METHODS
from relay.registration.signing import signature_headers
from relay.request.multipart import multipart
from relay.text.media_types import BYTES_TYPE, FORM_TYPE, JSON_TYPE, TEXT_TYPE
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Collection, Iterator, KeysView, Mapping

    from relay.registration import Shape, Target
    from relay.registration.credentials import ClientCertificate
    from relay.request.trigger import Trigger

try:
    _VERSION = version("webhook-relay")
except PackageNotFoundError:  # run from a source tree that is not installed
    _VERSION = "0"
USER_AGENT: Final = f"webhook-relay/{_VERSION}"


class OutgoingRequest(PreparedRequest):
    """A request, with the secrets that sign it at the moment it is sent, and its client certificate."""

    def __init__(
        self,
        method: str,
        url: str,
        headers: CaseInsensitiveDict[str],
        body: bytes | None,
        signing: tuple[str, ...] = (),
        certificate: ClientCertificate | None = None,
    ) -> None:
        self.method, self.url, self.headers, self.body = method, url, headers, body
        self.signing, self.certificate = signing, certificate
        self.hooks, self._cookies, self._body_position = {}, None, None  # attributes that requests expects

    def authorize(self, token: str) -> None:
        """Add an OAuth 2.0 access token (RFC 6750, 2.1)."""
        self.headers["Authorization"] = f"Bearer {token}"

    def sign(self, now_s: int) -> None:
        """Sign the request for an attempt at ``now_s`` (seconds since the epoch) if its webhook has signing secrets."""
        if self.signing:
            body = self.body.encode() if isinstance(self.body, str) else bytes(self.body or b"")
            self.headers.update(signature_headers(self.signing, self.headers["webhook-id"], now_s, body))


class OutgoingHeaders(CaseInsensitiveDict[str]):
    """Headers that are copied as a whole: requests' own copy sets them one by one, which is slow on a hot path."""

    _store: OrderedDict[str, tuple[str, str]]

    def with_fields(self, fields: Mapping[str, str]) -> OutgoingHeaders:
        """Return a copy with these fields added; they replace fields of the same name."""
        copied = OutgoingHeaders.__new__(OutgoingHeaders)
        copied._store = self._store | {name.lower(): (name, value) for name, value in fields.items()}  # noqa: SLF001 - of its own class
        return copied

    def pairs(self) -> Collection[tuple[str, str]]:
        """Return pairs of name, as it was written, and value, which `items` would make one by one."""
        return self._store.values()

    def lowered(self) -> KeysView[str]:
        """Return the names in lower case."""
        return self._store.keys()


class Template:
    """The parts of a request that do not depend on the trigger. Make it once per revision; fill it once per attempt."""

    __slots__ = (
        *("_certificate", "_encoding", "_fixed", "_glue", "_headers", "_method", "_names", "_signing", "_spelling"),
        "_url_pieces",
    )

    def __init__(self, shape: Shape, target: Target) -> None:
        self._method = shape.method
        self._encoding = shape.encoding
        self._fixed = target.fixed_data
        self._url_pieces = target.endpoint.url_pieces
        self._glue = "&" if target.endpoint.query else "?"
        self._names = {name: quote(name, safe="") for name in shape.query_params}
        self._spelling = {name.lower(): name for name in shape.fillable_headers}
        self._headers = OutgoingHeaders({"User-Agent": USER_AGENT, "Accept": "*/*"})
        self._headers.update(target.headers)
        if isinstance(target.credentials.authorization, Basic):
            self._headers["Authorization"] = target.credentials.authorization.header
        self._signing = target.signing
        self._certificate = target.credentials.certificate

    def fill(self, trigger: Trigger, reference_id: str, traceparent: str | None = None) -> OutgoingRequest:
        """Make the request for a trigger that fits the shape, without an OAuth 2.0 token: see ``authorize``.

        Raises:
            RequestRejected: the trigger does not fit the shape; ``check`` would have found this first.
        """
        fields = {self._registered(name): value for name, value in trigger.headers.items()}
        is_typed = self._is_given("content-type", fields)
        if traceparent is not None and not self._is_given("traceparent", fields):
            fields["traceparent"] = traceparent
        fields["webhook-id"] = reference_id
        body, content_type = self._body(trigger.data)
        if body is not None:
            if not is_typed:
                fields["Content-Type"] = content_type
            fields["Content-Length"] = str(len(body))
        elif self._method not in BODILESS_METHODS:
            fields["Content-Length"] = "0"
        headers = self._headers.with_fields(fields)
        is_fixed = not trigger.query_params and len(self._url_pieces) == 1
        url = self._url_pieces[0] if is_fixed else self._url_with(trigger)
        return OutgoingRequest(self._method, url, headers, body, self._signing, self._certificate)

    def _url_with(self, trigger: Trigger) -> str:
        """Return the URL with a trigger's parameters; ``check`` has made sure that each path value is one segment."""
        pieces, given = list(self._url_pieces), trigger.path_params
        try:
            pieces[1::2] = [quote(_text(given[name]), safe="") for name in pieces[1::2]]
        except KeyError:
            raise _unfit("/pathParams", "A part of the path is missing.") from None
        query = trigger.query_params
        try:
            pairs = [f"{self._names[name]}={quote(_text(value), safe='')}" for name, value in query.items()]
        except KeyError:
            raise _unfit("/queryParams", "A parameter is not registered.") from None
        url = "".join(pieces)
        return f"{url}{self._glue}{'&'.join(pairs)}" if pairs else url

    def _registered(self, name: str) -> str:
        try:
            return self._spelling[name.lower()]
        except KeyError:
            raise _unfit("/headers", "A header is not registered as one that callers may fill.") from None

    def _is_given(self, name: str, fields: Mapping[str, str]) -> bool:
        """Return whether a header, in lower case, is pre-filled or filled by the trigger."""
        return name in self._headers.lowered() or self._spelling.get(name) in fields

    def _body(self, data: Any) -> tuple[bytes | None, str]:
        """Return the body and its Content-Type, which applies unless one is registered or given by the trigger."""
        if self._fixed:
            data = self._with_fixed(data)
        if data is None or (self._method in BODILESS_METHODS and data in ({}, "")):
            return None, ""
        if isinstance(data, str):
            return (_decoded(data), BYTES_TYPE) if self._encoding == "base64" else (data.encode(), TEXT_TYPE)
        if not isinstance(data, dict | list):
            raise _unfit("/data", "Must be a string, an object, an array or null.")
        if self._encoding == "base64":
            raise _unfit("/data", "Must be base64 text.")
        if self._encoding == "multipart" and isinstance(data, dict):
            return multipart(data)
        if self._encoding == "form" and isinstance(data, dict):
            return urlencode(list(_form_pairs(data))).encode("ascii"), FORM_TYPE
        return dump_json(data), JSON_TYPE

    def _with_fixed(self, data: Any) -> dict[str, Any]:
        if data is not None and not isinstance(data, dict):
            raise _unfit("/data", "Must be an object, to which the registration adds members.")
        return merged(data or {}, self._fixed)


def _unfit(pointer: str, sentence: str) -> RequestRejected:
    return RequestRejected(faults=(Fault(pointer, sentence),))


def _decoded(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise _unfit("/data", "Must be base64 text.") from None


def _form_pairs(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in data.items():
        if isinstance(value, dict | list):
            raise _unfit("/data", "Must be a flat object, as it is sent as a form.")
        yield name, "" if value is None else _text(value)


def _text(value: str | float) -> str:
    """Return a scalar in the form for a query or a form body: a text as it is, any other value as JSON."""
    return value if isinstance(value, str) else dump_json(value).decode("ascii")
