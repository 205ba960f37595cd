"""OAuth 2.0 access tokens for calls: fetched before the call is claimed, kept sealed, fetched by one at a time."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import gevent
import orjson
from gevent.lock import BoundedSemaphore

from relay.clock import boot_time_s
from relay.errors import VaultError
from relay.invocation import Outcome
from relay.outbound.gate import Gate
from relay.request.oauth import NoToken, read_grant, token_request
from relay.vault import token_owner

if TYPE_CHECKING:
    from relay.outbound.sender import Sender
    from relay.registration.credentials import ClientCredentials
    from relay.store.tokens import Holder, TokenStore
    from relay.vault import Vault

#: One token request, everything included. Other calls of the same message wait meanwhile.
FETCH_S: Final = 5.0
#: For how long others leave the fetching to whoever began it, and look for its token every so often.
TURN_S: Final = FETCH_S + 2
LOOK_S: Final = 0.05
#: For how long a process believes in a token without looking at the store.
BELIEVED_S: Final = 5.0
#: After a failure nobody in this process tries again for so long; doubled by each that follows.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
MAX_HOLDERS: Final = 4_096  # remembered by one process
#: A token that was refused so soon after it was fetched is not the cause: another would be refused too.
FRESH_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Access:
    """A token for a call."""

    holder: Holder
    token: str = field(repr=False)
    sealed: bytes = field(repr=False)
    fetched_at_s: float  # seconds since the epoch
    usable_until_s: float

    @property
    def fresh(self) -> bool:
        """Whether it was fetched only now."""
        return time.time() - self.fetched_at_s < FRESH_S


@dataclass(frozen=True, slots=True)
class _Failure:
    outcome: Outcome
    pause_s: float
    until_s: float  # on boot_time_s' clock


class Tokens:
    """Gives tokens to the calls of one process. ``vault`` is the one of the target keys."""

    def __init__(self, store: TokenStore, sender: Sender, vault: Vault) -> None:
        self._store = store
        self._sender = sender
        self._vault = vault
        self._known: dict[Holder, tuple[Access, float]] = {}
        self._failures: dict[Holder, _Failure] = {}
        self._flights: defaultdict[Holder, BoundedSemaphore] = defaultdict(BoundedSemaphore)

    def access(self, holder: Holder, credentials: ClientCredentials) -> Access:
        """A token that is good for now.

        Raises:
            NoToken: none is to be had now.
            Unavailable: the store cannot be reached.
        """
        known = self._believed(holder)
        if known is not None:
            return known
        with self._flights[holder]:
            known = self._believed(holder)
            if known is not None:
                return known
            self._check_pause(holder)
            try:
                access = self._obtain(holder, credentials)
            except NoToken as error:
                self._note_failure(holder, error.outcome)
                raise
        self._failures.pop(holder, None)
        self._remember(access)
        return access

    def drop(self, access: Access) -> None:
        """Forget a token that the endpoint refused, unless another has come in its place."""
        known = self._known.get(access.holder)
        if known is not None and known[0].sealed == access.sealed:
            del self._known[access.holder]
        self._store.drop(access.holder, access.sealed)

    def _believed(self, holder: Holder) -> Access | None:
        known, until_s = self._known.get(holder, (None, 0.0))
        return known if known is not None and boot_time_s() < until_s and time.time() < known.usable_until_s else None

    def _remember(self, access: Access) -> None:
        if len(self._known) >= MAX_HOLDERS:
            for remembered in (self._known, self._failures, self._flights):
                remembered.clear()
        self._known[access.holder] = (access, boot_time_s() + BELIEVED_S)

    def _obtain(self, holder: Holder, credentials: ClientCredentials) -> Access:
        """The store's token; else the next one, fetched by whoever's turn it is, in whatever process."""
        owner, give_up_s = uuid4().hex, boot_time_s() + TURN_S + FETCH_S
        while boot_time_s() < give_up_s:
            stored = self._stored(holder)
            if stored is not None:
                return stored
            if self._store.take_turn(holder, owner, TURN_S):
                try:
                    return self._stored(holder) or self._fetch(holder, credentials)
                finally:
                    self._store.end_turn(holder, owner)
            gevent.sleep(LOOK_S)
        raise NoToken(Outcome.CONNECT_TIMEOUT)

    def _stored(self, holder: Holder) -> Access | None:
        sealed = self._store.read(holder)
        if sealed is None:
            return None
        try:
            token, fetched_at_s, until_s = orjson.loads(self._vault.open(sealed, _owner(holder)))
        except (VaultError, ValueError):
            return None  # of a key that is gone: the next one is written over it
        return Access(holder, token, sealed, fetched_at_s, until_s) if time.time() < until_s else None

    def _fetch(self, holder: Holder, credentials: ClientCredentials) -> Access:
        deadline_s = boot_time_s() + FETCH_S
        request = token_request(credentials)
        answer = self._sender.send(request, gate=Gate(deadline_s), deadline_s=deadline_s, repeatable=False)
        grant = read_grant(answer)
        now_s = time.time()
        value = [grant.token, now_s, now_s + grant.usable_s]
        sealed = self._vault.seal(orjson.dumps(value), _owner(holder))
        self._store.write(holder, sealed, grant.usable_s)
        return Access(holder, grant.token, sealed, now_s, now_s + grant.usable_s)

    def _check_pause(self, holder: Holder) -> None:
        failure = self._failures.get(holder)
        if failure is not None and boot_time_s() < failure.until_s:
            raise NoToken(failure.outcome)

    def _note_failure(self, holder: Holder, outcome: Outcome) -> None:
        before = self._failures.get(holder)
        pause_s = FIRST_PAUSE_S if before is None else min(LONGEST_PAUSE_S, 2 * before.pause_s)
        if before is None or boot_time_s() >= before.until_s:
            self._failures[holder] = _Failure(outcome, pause_s, boot_time_s() + pause_s)


def _owner(holder: Holder) -> str:
    return token_owner(holder.plugin, holder.webhook_id, holder.revision)
