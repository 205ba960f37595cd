"""Logins to Flower: how many may fail from one address, and what is said of those that do."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from tornado.ioloop import IOLoop
from tornado.web import Finish, HTTPError

from relay.authentication.source_address import FailedAuthentications, SourceAddresses
from relay.authentication.unkeyed_refusals import UnkeyedRefusals
from relay.errors import RateLimited
from relay.settings import look_up_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from relay.settings.kinds import Network

#: Just more than the period in which refusals come together in one line of the log.
_WRITE_AFTER_S: Final = 61.0


def has_password(options: Sequence[str]) -> bool:
    """Return whether Flower is told to ask for one: by an option, or by its variables in the environment."""
    if any(option.startswith(("--basic-auth=", "--basic_auth=", "--auth=")) for option in options):
        return True
    return any(_is_set(name) for name in ("FLOWER_BASIC_AUTH", "FLOWER_AUTH"))


def _is_set(name: str) -> bool:
    try:
        return bool(look_up_secret("env", name))
    except ValueError:
        return False


class Logins:
    """Counts failed logins. Beyond a number a minute and address no password is looked at: people choose them."""

    def __init__(self, per_minute: int, trusted_proxies: Iterable[Network]) -> None:
        self._addresses = SourceAddresses(trusted_proxies)
        self._failures = FailedAuthentications(self._addresses, per_minute)
        self._refusals = UnkeyedRefusals()
        self._is_due = False

    def limited(self, user_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Wrap the method of Flower's handlers that looks at the password of a request."""

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
            except Exception:  # noqa: BLE001 - bytes that are no credentials make Flower fail in several ways
                if handler.request.headers.get("Authorization"):  # a browser asks without one first
                    self._note("unauthenticated", environ)
                    self._count(environ)
                raise HTTPError(401) from None

        return limited_user_of

    def _count(self, environ: Mapping[str, str]) -> None:
        try:
            self._failures.add(environ)
        except RateLimited:
            return  # the next one is told

    def _refuse(self, handler: Any, error: RateLimited) -> None:
        handler.set_status(429)
        handler.set_header("Retry-After", str(error.retry_after_s))
        handler.set_header("Content-Type", "text/plain; charset=utf-8")
        handler.finish("Too many failed logins came from this address: wait a minute.\n")

    def _note(self, code: str, environ: Mapping[str, str]) -> None:
        """Count it for the log, which is told once a minute."""
        self._refusals.add(code, self._addresses.of(environ))
        if not self._is_due:
            self._is_due = True
            IOLoop.current().call_later(_WRITE_AFTER_S, self._write)

    def _write(self) -> None:
        self._is_due = False
        self._refusals.write_if_due()


def _environ_of(request: Any) -> dict[str, str]:
    """Name peer and proxy as WSGI does. Flower is not told to believe the header itself (``--xheaders``)."""
    return {
        "REMOTE_ADDR": request.remote_ip or "",
        "HTTP_X_FORWARDED_FOR": ",".join(request.headers.get_list("X-Forwarded-For")),
    }
