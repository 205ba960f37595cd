"""Limits how many logins to Flower may fail from one address, and logs those that do."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from tornado.ioloop import IOLoop
from tornado.web import Finish, HTTPError

from relay.authentication.source_address import FailedAuthentications, SourceAddresses
from relay.authentication.unkeyed_refusals import UnkeyedRefusals
from relay.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from relay.settings.kinds import Network

#: In seconds; just over the period for which refusals are gathered into one log line.
_WRITE_AFTER_S: Final = 61.0


def has_login(options: Sequence[str]) -> bool:
    """Return whether any of these options makes Flower ask for a login."""
    return any(option.startswith(("--basic-auth=", "--basic_auth=", "--auth=")) for option in options)


class Logins:
    """Counts failed logins. After ``per_minute`` from one address, no password is checked: people choose weak ones."""

    def __init__(self, per_minute: int, trusted_proxies: Iterable[Network]) -> None:
        self._addresses = SourceAddresses(trusted_proxies)
        self._failures = FailedAuthentications(self._addresses, per_minute)
        self._refusals = UnkeyedRefusals()
        self._is_due = False

    def limited(self, user_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wrap the method of Flower's handlers that checks the password of a request."""

        @wraps(user_of)
        def limited_user_of(handler: Any) -> Any:
            environ = _environ_of(handler.request)
            try:
                self._failures.check(environ)
                return user_of(handler)
            except RateLimited as error:
                self._note("rate_limited", environ)
                self._refuse(handler, error)
                raise Finish from None
            except Exception:  # noqa: BLE001 - malformed credentials make Flower fail in several ways
                if handler.request.headers.get("Authorization"):  # a browser's first request has none
                    self._note("unauthenticated", environ)
                    self._failures.add(environ)
                raise HTTPError(401) from None

        return limited_user_of

    def _refuse(self, handler: Any, error: RateLimited) -> None:
        handler.set_status(429)
        handler.set_header("Retry-After", str(error.retry_after_s))
        handler.set_header("Content-Type", "text/plain; charset=utf-8")
        handler.finish("Too many failed logins came from this address: wait a minute.\n")

    def _note(self, code: str, environ: Mapping[str, str]) -> None:
        """Count a refusal for the log, which gets one line a minute about all of them."""
        self._refusals.add(code, self._addresses.of(environ))
        if not self._is_due:
            self._is_due = True
            IOLoop.current().call_later(_WRITE_AFTER_S, self._write)

    def _write(self) -> None:
        self._is_due = False
        self._refusals.write_if_due()


def _environ_of(request: Any) -> dict[str, str]:
    """Return the peer and the proxies by their WSGI names. Flower itself ignores the header (no ``--xheaders``)."""
    return {
        "REMOTE_ADDR": request.remote_ip or "",
        "HTTP_X_FORWARDED_FOR": ",".join(request.headers.get_list("X-Forwarded-For")),
    }
