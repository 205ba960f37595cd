"""OAuth 2.0 access tokens: fetched before a call is claimed, by one process at a time, and kept sealed in the store."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import uuid4

import gevent
import orjson
from gevent.lock import BoundedSemaphore

from relay.domain.invocation import Outcome
from relay.errors import StoreFault, Unavailable, VaultError
from relay.executor.large_work import run_in_thread_if_large
from relay.outbound.gate import Gate
from relay.process.clock import boot_time_s
from relay.registration.credentials import Credentials
from relay.request.oauth import NoToken, read_grant, token_request
from relay.text.strict_json import dump_json
from relay.vault import token_owner

if TYPE_CHECKING:
    from relay.outbound.sender import Sender
    from relay.registration.credentials import OAuth2Client
    from relay.store.registry.access_tokens import AccessTokenStore, RevisionId
    from relay.vault import Vault

#: The timeout of one token request, in seconds. Only the calls that need this token wait for it.
FETCH_S: Final = 5.0
#: How long a process may hold the lock while it fetches, and how often the others look for its token, in seconds.
FETCH_LOCK_S: Final = FETCH_S + 2
LOOK_S: Final = 0.05
#: How many seconds a process uses a token without reading the store again.
BELIEVED_S: Final = 5.0
#: For how many seconds a process does not try again after a failed fetch, unless another process has stored a token;
#: each further failure soon afterwards doubles the pause.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
MAX_REMEMBERED: Final = 4_096  # tokens, and failures to get one, that one process keeps
#: If an endpoint refuses a token within this many seconds of its fetch, it would refuse a new one too.
FRESH_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token for calls of one revision, in clear (``token``) and as the store has it (``sealed``)."""

    revision_id: RevisionId
    client: OAuth2Client = field(repr=False)
    token: str = field(repr=False)
    sealed: bytes = field(repr=False)
    fetched_at_s: float  # seconds since the epoch
    usable_until_s: float

    @property
    def fresh(self) -> bool:
        """Whether the token was fetched less than `FRESH_S` seconds ago; a time further ahead is from another clock."""
        return abs(time.time() - self.fetched_at_s) < FRESH_S


@dataclass(frozen=True, slots=True)
class _Failure:
    outcome: Outcome
    pause_s: float
    until_s: float  # on boot_time_s' clock


@dataclass(frozen=True, slots=True)
class _Fetcher:
    """What lets one greenlet at a time fetch a token, and the name under which this process locks the fetch.

    The name stays the same, so that the process knows its own lock when the reply to taking or releasing it was lost.
    """

    turn: BoundedSemaphore = field(default_factory=BoundedSemaphore)
    name: str = field(default_factory=lambda: uuid4().hex)


#: A client with a new secret or key is another client: it asks for a token at once, whatever is known of the old one.
_Client: TypeAlias = "tuple[RevisionId, OAuth2Client]"


class AccessTokens:
    """Gives tokens to the calls of one process. ``vault`` has the target keys."""

    def __init__(self, store: AccessTokenStore, sender: Sender, vault: Vault) -> None:
        self._store = store
        self._sender = sender
        self._vault = vault
        self._known: dict[_Client, tuple[AccessToken, float]] = {}
        self._failures: dict[_Client, _Failure] = {}
        self._fetchers: defaultdict[_Client, _Fetcher] = defaultdict(_Fetcher)

    def existing(self, revision_id: RevisionId, client: OAuth2Client) -> AccessToken | None:
        """Return a usable token that this process or the store has; None if one has to be fetched.

        Raises:
            NoToken: a fetch failed a moment ago, and it is too early to try again.
            Unavailable: the store cannot be reached.
        """
        known = self._believed((revision_id, client)) or self._stored(revision_id, client)
        failure = self._failures.get((revision_id, client))
        if known is None and failure is not None and boot_time_s() < failure.until_s:
            raise NoToken(failure.outcome)
        return known

    def access(self, revision_id: RevisionId, client: OAuth2Client) -> AccessToken:
        """Return a usable token; fetch one if neither this process nor the store has one.

        Raises:
            NoToken: the fetch failed, now or a moment ago.
            Unavailable: the store cannot be reached.
        """
        known = self._believed((revision_id, client))
        if known is not None:
            return known
        self._forget_if_many()
        fetcher = self._fetchers[revision_id, client]
        with fetcher.turn:
            known = self.existing(revision_id, client)
            if known is not None:
                return known
            try:
                return self._obtain(revision_id, client, fetcher.name)
            except NoToken as error:
                self._note_failure((revision_id, client), error.outcome)
                raise

    def drop(self, access: AccessToken) -> None:
        """Forget a token that the endpoint refused, unless it was replaced meanwhile."""
        of = access.revision_id, access.client
        known = self._known.get(of)
        if known is not None and known[0].sealed == access.sealed:
            del self._known[of]
        self._store.drop(access.revision_id, access.sealed)

    def _believed(self, of: _Client) -> AccessToken | None:
        known, until_s = self._known.get(of, (None, 0.0))
        return known if known is not None and boot_time_s() < until_s and time.time() < known.usable_until_s else None

    def _forget_if_many(self) -> None:
        if max(len(self._known), len(self._fetchers)) >= MAX_REMEMBERED:
            for remembered in (self._known, self._failures, self._fetchers):
                remembered.clear()

    def _remember(self, access: AccessToken) -> AccessToken:
        self._forget_if_many()
        of = access.revision_id, access.client
        self._failures.pop(of, None)
        self._known[of] = (access, boot_time_s() + BELIEVED_S)
        return access

    def _obtain(self, revision_id: RevisionId, client: OAuth2Client, owner: str) -> AccessToken:
        """Return the store's token; if it has none, fetch one, or wait while another process with the lock does so."""
        give_up_s = boot_time_s() + FETCH_LOCK_S + FETCH_S
        while boot_time_s() < give_up_s:
            stored = self._stored(revision_id, client)
            if stored is not None:
                return stored
            if self._store.lock_fetch(revision_id, owner, FETCH_LOCK_S):
                try:
                    return self._stored(revision_id, client) or self._fetch(revision_id, client)
                finally:
                    with suppress(Unavailable, StoreFault):  # the lock expires by itself
                        self._store.unlock_fetch(revision_id, owner)
            gevent.sleep(LOOK_S)
        raise NoToken(Outcome.CONNECT_TIMEOUT)

    def _stored(self, revision_id: RevisionId, client: OAuth2Client) -> AccessToken | None:
        sealed = self._store.read(revision_id)
        if sealed is None:
            return None
        try:
            token, fetched_at_s, until_s, by, *_ = orjson.loads(self._vault.open(sealed, token_owner(*revision_id)))
        except (VaultError, ValueError):
            return None  # sealed with a key that is gone: the next token overwrites it
        if time.time() >= until_s or by != _fingerprint(client):
            return None
        return self._remember(AccessToken(revision_id, client, token, sealed, fetched_at_s, until_s))

    def _fetch(self, revision_id: RevisionId, client: OAuth2Client) -> AccessToken:
        deadline_s = boot_time_s() + FETCH_S
        request = token_request(client, time.time())
        answer = self._sender.send(request, gate=Gate(deadline_s), deadline_s=deadline_s, repeatable=False)
        grant = run_in_thread_if_large(len(answer.body), read_grant, answer)
        now_s = time.time()
        value = [grant.token, now_s, now_s + grant.usable_s, _fingerprint(client)]
        sealed = self._vault.seal(orjson.dumps(value), token_owner(*revision_id))
        with suppress(Unavailable, StoreFault):  # other processes then fetch tokens of their own
            self._store.write(revision_id, sealed, grant.usable_s)
        return self._remember(AccessToken(revision_id, client, grant.token, sealed, now_s, now_s + grant.usable_s))

    def _note_failure(self, of: _Client, outcome: Outcome) -> None:
        before, now_s = self._failures.get(of), boot_time_s()
        is_old = before is None or now_s >= before.until_s + LONGEST_PAUSE_S
        pause_s = FIRST_PAUSE_S if before is None or is_old else min(LONGEST_PAUSE_S, 2 * before.pause_s)
        if before is None or now_s >= before.until_s:
            self._failures[of] = _Failure(outcome, pause_s, now_s + pause_s)


def _fingerprint(client: OAuth2Client) -> str:
    """Return a hash that changes with the client's secret or key; it is stored only sealed."""
    return sha256(dump_json(Credentials(client).to_value())).hexdigest()
