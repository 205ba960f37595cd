"""Keeps what was decided about API keys and webhooks, in a chain for each root: a MAC binds each entry to those before.

A record of a key or a webhook counts only if it matches the last decision about its subject. Somebody who can write to
the server cannot forge an entry. If an older chain is put back, the processes that remember the newer one report that,
rely on what they remember, and write it back (`Decisions.repair`).

A store that was restored from a backup has an older chain, and a new epoch, which only the key ring can make: processes
then forget what they remember, and rely on what the store has.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from relay.audit.actor import actor
from relay.audit.entry import Act
from relay.errors import Conflict, Unavailable
from relay.store.backups.epoch import Epochs, Phase
from relay.store.decisions.chain import Chain, ChainEnd, Decision, in_doubt, linked, name_of, paused_by, policies_by
from relay.store.decisions.stored import StoredChain
from relay.store.keys.names import SHARED_ROOT, root_name
from relay.store.scripting.scripts import Scripts
from relay.store.server.availability import SHORT_S, going_on_without, patience_s
from relay.store.server.errors import store_errors
from relay.store.server.replicas import check_not_silent
from relay.telemetry.log import Event, event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from redis import Redis

    from relay.vault import Vault

#: How old a process's knowledge of a chain may be when it relies on it, in seconds.
AGE_S: Final = 1.0
#: How many times something is read and compared with the chain, since it may change in between.
READS: Final = 3
#: What a script returns if it finds a different chain from the one that its caller has read.
STALE: Final = b"stale"
#: How often a process that watches a chain reads all of it, in seconds; a long one less often, by entries per second.
WHOLE_S: Final = 4.0
_ENTRIES_PER_S: Final = 1_000
#: Entries that later ones about the same subjects replace are dropped once there are more than this many.
MOST_REPLACED: Final = 1_024
#: How long a decision is retried while others are deciding too, in seconds.
_TRY_S: Final = 20.0
_PAUSE_S: Final = 0.05
_MOST_READ: Final = 100_000  # decisions that a process remembers having read
_NAMED: Final = 10  # how many subjects an event names


class Decisions:
    """The chain of one root, as a process knows it. Methods raise ``Unavailable`` when the store cannot be reached."""

    def __init__(self, client: Redis, vault: Vault, root: str) -> None:
        self.root = root
        self._client: Any = client
        self._stored = StoredChain(client, root)
        self._scripts = Scripts(client)
        self._vault = vault
        self._epochs = Epochs(client, vault)
        #: The epoch of the store that this process knows; None before it is read, and while a backup is copied.
        self.epoch: int | None = None
        self._begins_anew = False  # the store was restored since this process read the chain
        self._chain = Chain()
        self._known: dict[str, Decision] = {}  # the newest decision about each subject that this process has ever read
        self._seq = 0  # the highest number that it has ever read
        self._heard = 0  # the highest number that another process has read and the server lacked
        self._server = ""  # the id of the server's run that had it
        #: The webhooks that are paused, each with its plugin first.
        self.paused: frozenset[tuple[str, str]] = frozenset()
        self._policies: dict[tuple[str, str], tuple[str, ...]] | None = None  # None: not made from what is known now
        self._read_ever: set[int] = set()  # the names of all decisions that it has ever read
        self._read_at_s = self._whole_at_s = self._failed_at_s = self._asked_at_s = float("-inf")
        self._lock = threading.RLock()
        self.is_intact = True  # False: this process has found forged entries, or an older chain put back

    def value(self, subject: str) -> str:
        """Return the last decision about a subject, as far as this process knows; '' if there never was one."""
        found = self._known.get(subject)
        return "" if found is None else found.value

    @property
    def policies(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """The decided policy of each registered webhook: '1' if it is paused, and its limits."""
        with self._lock:
            if self._policies is None:
                self._policies = policies_by(self._known.values())
            return self._policies

    @property
    def head(self) -> tuple[int, str]:
        """The highest number that this process has read, and the id of the server's run that had it."""
        return self._seq, self._server

    def look(self) -> None:
        """Read what was added; from time to time read everything, since what was read before may have been altered."""
        self._follow_unless_silent()
        self.refresh(whole=time.monotonic() - self._whole_at_s >= max(WHOLE_S, self._chain.count / _ENTRIES_PER_S))

    def refresh(self, max_age_s: float = 0.0, *, whole: bool = False) -> None:
        """Read what was added, or with ``whole`` everything, unless that was done in the last ``max_age_s`` seconds."""
        asked_at_s = time.monotonic()
        if asked_at_s - self._read_at_s < max_age_s:
            return
        with self._turn():
            if self._read_at_s > asked_at_s and not whole:
                return  # another thread has read it meanwhile
            if self._failed_at_s > asked_at_s:
                raise Unavailable  # another thread has waited for it meanwhile, in vain
            if self.epoch is None:
                self._follow_unless_silent()
            read_at_s = time.monotonic()
            with self._noting_failure():
                self._read(whole=whole)
            self._read_at_s = read_at_s
            self._whole_at_s = read_at_s if whole else self._whole_at_s

    def ends(self) -> Iterator[ChainEnd]:
        """Yield the end of the chain, and again each time that a script has called it stale.

        What is read after it agrees with the chain, or the script finds it stale. In the end, raises ``Conflict``.
        """
        until_s = time.monotonic() + _TRY_S
        while time.monotonic() < until_s:
            self.refresh()
            self.repair()
            with self._lock:
                end = ChainEnd(self._chain.count, self._chain.last, max(self._chain.seq, self._seq), self._vault)
            yield end
            time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311 - so that writers do not collide again and again
        raise Conflict("Others keep changing keys or webhooks at the same time. Try again.")

    def repair(self) -> bool:
        """Write back what this process remembers if an older chain was put back; drop entries that were replaced.

        Entries that seem forged are not dropped: this process may lack their key. Returns whether it wrote anything.
        """
        with self._lock:
            is_set_back = self._chain.newest != self._known
            may_drop = not self._chain.is_forged and self._chain.count > len(self._known) + MOST_REPLACED
            if not is_set_back and not may_drop:
                return False
            if is_set_back and self._follow():
                self.refresh()
                return False
            return self._write(Act.DECISIONS_RESTORE if is_set_back else "")

    def reseal(self, *, give_up: bool = False) -> None:
        """Remake every entry's MAC with the newest key. Forged ones raise `Conflict`, unless ``give_up`` drops them."""
        for _ in self.ends():
            if not give_up:
                self._chain.refuse_forged(root_name(self.root))
            if self._write(""):
                return

    def hear(self, seq: int, server: str) -> None:
        """Compare with the head that another process has read; report it if the chain here is older.

        What another run of the server had does not count: a failover may lose what was not confirmed.
        """
        if seq <= self._seq or server != self._server:
            return
        self.refresh()
        if self._seq < seq > self._heard and server == self._server:
            self._heard, self.is_intact = seq, False
            self._report("restored", [])

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Keep other threads from reading, which wait; only briefly if they can do without a silent server.

        Once a read has failed, the next may take half a second before they fail: a silent server must not hold all.
        """
        back_s = max(0, self._asked_at_s + SHORT_S - time.monotonic())
        if not self._lock.acquire(timeout=back_s if self._failed_at_s > self._read_at_s else patience_s()):
            raise Unavailable
        try:
            with store_errors():
                yield
        finally:
            self._lock.release()

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Note that the server could not be read, unless it was asked more briefly than others ask it."""
        self._asked_at_s = began_s = time.monotonic()
        try:
            yield
        except Exception:
            if time.monotonic() - began_s > 2 * patience_s():
                self._failed_at_s = time.monotonic()
            raise

    def _follow(self) -> bool:
        """Read the epoch; return whether the store has been restored, so that what this process remembers is void.

        While a backup is copied, nothing is remembered.
        """
        with self._lock, self._noting_failure():
            epoch = self._epochs.read()
            if self.epoch is None or epoch.number > self.epoch:
                self.epoch = None if epoch.number and epoch.phase is Phase.COPYING else epoch.number
                self._begins_anew, self._whole_at_s = True, float("-inf")
            return self._begins_anew

    def _follow_unless_silent(self) -> None:
        """Follow the epoch, unless the shared keys, where it is, are silent: other roots do not wait for it."""
        with suppress(Unavailable), going_on_without():
            check_not_silent(self._client, SHARED_ROOT)
            self._follow()

    def _write(self, act: str) -> bool:
        """Replace the chain with what this process knows, unless it has changed since it was read."""
        texts = linked(sorted(self._known.values(), key=lambda each: each.seq), "", self._vault)
        args = [act, actor() if act else "", self._chain.count, self._chain.last, *texts]
        script = "rewrite_key_decisions" if self.root == SHARED_ROOT else "rewrite_decisions"
        is_written = bool(self._scripts.run(script, args, self.root))
        self.refresh()
        return is_written

    def _read(self, *, whole: bool = False) -> None:
        """Read what follows the known part; if the server has another chain by now, or with ``whole``, read all."""
        chain, whole = self._chain, whole or self._begins_anew
        last, added, server = self._stored.read(0 if whole else chain.count)
        if not whole and chain.count and last != chain.last:
            _, added, server = self._stored.read(0)
            whole = True
        was_forged = chain.is_forged  # if so, all is verified again: the ring may have got another key
        is_as_known = not was_forged and chain.is_of(added) if whole else not added
        if is_as_known and not self._begins_anew:
            self._server = server
            return
        chain = Chain() if whole else chain
        chain.add(added, self._vault)
        if not self._begins_anew and (chain.lacks(self._known) or chain.seq < self._seq):
            self._chain = Chain()  # if the epoch cannot be read, what was read does not count and is read again
            if self._was_restored(server):
                self._read(whole=True)  # the epoch changes before anything is restored, so this is the new chain
                return
        if chain.is_forged and not was_forged:
            self.is_intact = False
            self._report("forged", [])
        self._take(chain, server)

    def _was_restored(self, server: str) -> bool:
        """Return whether an older chain is a backup's, rather than that of a server that took over without the rest."""
        if "" in {server, self._server} or server == self._server:
            return self._follow()
        self._follow_unless_silent()
        return self._begins_anew

    def _take(self, chain: Chain, server: str) -> None:
        """Adopt what a chain says, and keep what it lacks, unless a server has taken over that never had it."""
        gone = chain.lacks(self._known)
        self._chain = chain
        if self._begins_anew:
            self._known, self._begins_anew, self.is_intact = dict(chain.newest), False, not chain.is_forged
            self._seq = self._heard = 0
            self._read_ever.clear()
        elif not gone and chain.seq >= self._seq:
            self._known = dict(chain.newest)
        elif "" not in {server, self._server} and server != self._server:
            self._report("lost", gone)
            self._known = dict(chain.newest)
            self._seq = 0
        else:
            self.is_intact = False
            self._report("restored", gone)
            self._known = {**chain.newest, **{subject: self._known[subject] for subject in gone}}
            self._doubt(chain, gone)
        if len(self._read_ever) > _MOST_READ:
            self._read_ever.clear()  # this only puts older decisions in doubt
        self._read_ever.update(map(name_of, chain.read))
        chain.read.clear()
        self._seq, self._server = max(self._seq, chain.seq), server
        self.paused, self._policies = paused_by(self._known.values()), None

    def _doubt(self, chain: Chain, gone: Iterable[str]) -> None:
        """Trust nothing about subjects that were decided about after an older chain was put back.

        A decision that this process has read before is an old one; any other may be old or new.
        """
        self._seq = max(self._seq, chain.seq)
        for subject in gone:
            found = chain.newest.get(subject)
            if found is not None and name_of(found) not in self._read_ever:
                self._seq += 1
                self._known[subject] = Decision(self._seq, subject, in_doubt(self._known[subject], found))

    def _report(self, what: str, subjects: Iterable[str]) -> None:
        level, named = logging.WARNING if what == "lost" else logging.ERROR, list(islice(subjects, _NAMED))
        event(Event.DECISIONS_BREACH, level=level, root=root_name(self.root), what=what, subjects=named)
