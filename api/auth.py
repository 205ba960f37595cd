"""Checks the API key of a request, its scopes and the origin it is used from; and sets CORS headers for browsers.

A preflight carries no key, so OPTIONS answers any origin that some key allows. The request itself must then come from
an origin of its own key, or from this relay's own pages. A request without an Origin comes from no browser and is
allowed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from relay.audit.actor import act_as_key
from relay.errors import Forbidden, Unauthenticated, Unavailable
from relay.store.api_keys.rules import origin_fault

if TYPE_CHECKING:
    import falcon

    from api.hosts import Hosts
    from relay.authentication.source_address import FailedAuthentications
    from relay.store.api_keys.keys import ApiKeys
    from relay.store.api_keys.records import ApiKey

TRIGGER: Final = frozenset({"trigger"})
OPERATE: Final = frozenset({"operate"})
METRICS: Final = frozenset({"metrics"})
ANY_SCOPE: Final = TRIGGER | OPERATE

_BEARER: Final = re.compile(r"bearer +([^\s,]+)\Z", re.ASCII | re.IGNORECASE)
_ALLOWED_METHODS: Final = "GET, POST"
_ALLOWED_HEADERS: Final = "authorization, content-type, prefer, idempotency-key, traceparent"
_EXPOSED_HEADERS: Final = "Location, Retry-After, Preference-Applied"
_PREFLIGHT_AGE_S: Final = 600


class Authentication:
    """Authenticates requests, and sets ``req.context.key`` and the CORS headers of answers."""

    def __init__(self, keys: ApiKeys, failures: FailedAuthentications, hosts: Hosts) -> None:
        self._keys = keys
        self._failures = failures
        self._hosts = hosts

    def check(self, req: falcon.Request, scopes: frozenset[str]) -> None:
        """Check the key, that it has one of ``scopes``, and its origin.

        Raises ``Unauthenticated``, ``RateLimited`` (too many failures from this address) or ``Forbidden``.
        """
        key = req.context.key = self._authenticate(req)
        act_as_key(key.id)
        if not scopes & key.scopes:
            lacked = " or ".join(sorted(scopes))
            create = f"relay keys create --scope {max(scopes)} --plugin {key.plugin}"
            raise Forbidden(f"This key lacks the scope {lacked}: create one that has it with `{create}`.")
        origin = req.env.get("HTTP_ORIGIN")
        if origin is not None and origin not in key.origins and not self._hosts.is_own(req, origin):
            # Repeats only a valid origin, since people copy the command.
            shown = "ORIGIN" if origin_fault(origin) else origin
            create = f"relay keys create --origin {shown} --scope {max(scopes)} --plugin {key.plugin}"
            raise Forbidden(f"This key may not be used from this origin: create one for it with `{create}`.")

    def _authenticate(self, req: falcon.Request) -> ApiKey:
        match = _BEARER.match(req.env.get("HTTP_AUTHORIZATION", ""))
        try:
            return self._keys.authenticate(match[1] if match else "")
        except Unauthenticated:
            self._failures.add(req.env)
            raise

    def set_headers(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Set the headers that tell a browser whether its page may read the answer, even if it is a problem document.

        They never allow credentials, and never ``*``.
        """
        resp.append_header("Vary", "Origin")
        origin = req.env.get("HTTP_ORIGIN")
        if origin is None or not self._allows(req, origin):
            return
        resp.set_header("Access-Control-Allow-Origin", origin)
        if req.method == "OPTIONS":
            resp.set_header("Access-Control-Allow-Methods", _ALLOWED_METHODS)
            resp.set_header("Access-Control-Allow-Headers", _ALLOWED_HEADERS)
            resp.set_header("Access-Control-Max-Age", str(_PREFLIGHT_AGE_S))
        else:
            resp.set_header("Access-Control-Expose-Headers", _EXPOSED_HEADERS)

    def _allows(self, req: falcon.Request, origin: str) -> bool:
        key = req.context.key
        if key is not None and origin in key.origins:
            return True
        try:
            return origin in self._keys.origins()  # so that a page can read why it was refused
        except Unavailable:
            return False
