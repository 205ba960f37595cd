"""Defines the ACL users of the embedded server: one for each kind of process, with the commands and keys it needs.

A script may do only what its caller may do. Only the administrator, whose address no process of the relay is given, may
change the server's configuration, list all keys, or empty it (https://valkey.io/topics/acl/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.store.key_names import PARTITIONED, PREFIX, SHARED, SHARED_ROOT, TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

ADMINISTRATOR: Final = "admin"
OPERATOR: Final = "operator"

_TARGET_HEADS: Final = frozenset({"target", "token"})
#: The server compares a key with one pattern after another, so the keys that scripts use most come first.
_FIRST_HEADS: Final = ("inv", "p", "due", "pending", "expiry", "ages")
_PARTITION_ROOTS: Final = (f"{PREFIX}{{?}}:", f"{PREFIX}{{??}}:")  # of one digit, and of two
_ROOTS: Final = (*_PARTITION_ROOTS, SHARED_ROOT)
_ENTRIES: Final = TRAIL["audit_entries"]
#: Allows adding entries to audit trails: no other command on the keys of entries, and none on those of checkpoints.
_ADDING: Final = f"({' '.join(f'~{root}{_ENTRIES}' for root in _ROOTS)} +rpush)"
_READING: Final = f"({' '.join(f'%R~{root}audit:*' for root in _ROOTS)} +get +lindex +llen +lrange)"
_CONNECTION: Final = (
    *("auth", "hello", "ping", "select", "time", "info"),
    *("client|setinfo", "client|setname", "client|id"),
)
_TRANSACTION: Final = ("multi", "exec", "discard", "watch", "unwatch")
_SCRIPTS: Final = ("fcall",)
#: Commands with which a client of a cluster finds and follows slots, and waits for replicas.
_MANY_SERVERS: Final = ("cluster|slots", "command", "asking", "wait")
_BROKER_SCRIPTS: Final = ("evalsha", "script|load", "script|exists")  # those of Celery's transport
_SUBSCRIPTION: Final = ("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "publish")
#: Commands on one key of one type: a user may use them on its own keys only.
_DATA: Final = ("@string", "@hash", "@list", "@set", "@sortedset")
_KEYS: Final = ("del", "unlink", "exists", "expire", "pexpire", "pexpireat", "persist", "pttl", "ttl", "type")
#: Commands of Celery's queues, remote control and events (kombu/transport/redis.py).
_BROKER: Final = (
    *("lpush", "rpush", "brpop", "blpop", "rpop", "llen", "lrange", "sadd", "srem", "smembers", "exists", "del", "get"),
    *("set", "expire", "pexpire", "type", "zadd", "zrem", "zrange", "zrangebyscore", "scard", "sismember"),
)
_INSPECTION: Final = ("scan", "dbsize", "memory|usage", "acl|whoami")
_BROKER_KEYS: Final = ("interactive*", "bulk*", "replay*", "_kombu.*", "*celeryev*", "*.pidbox*")
_BROKER_CHANNELS: Final = ("/0.celeryev/*", "/0.celery.pidbox")  # a subscription to a pattern needs exactly that one


@dataclass(frozen=True, slots=True)
class User:
    """An ACL user: its commands, and the keys and channels that it may use them on (glob patterns).

    A selector allows further commands, on keys of its own.
    """

    name: str
    commands: tuple[str, ...]
    keys: tuple[str, ...]
    channels: tuple[str, ...]
    selectors: tuple[str, ...] = ()

    def rule(self, password: str) -> str:
        """Return the user as one line of the server's configuration file."""
        parts = (
            *(f"~{pattern}" for pattern in self.keys),
            *(f"&{pattern}" for pattern in self.channels),
            *(f"+{command}" for command in self.commands),
        )
        rights = f"resetkeys resetchannels -@all {' '.join(parts)} -@dangerous +info"
        return " ".join([f"user {self.name} on >{password} {rights}", *self.selectors])


def users() -> tuple[User, ...]:
    """Return all users except the administrator."""
    store = (*_CONNECTION, *_TRANSACTION, *_MANY_SERVERS, *_SCRIPTS, *_SUBSCRIPTION, *_DATA, *_KEYS)
    broker = (*_CONNECTION, *_TRANSACTION, *_BROKER_SCRIPTS, *_SUBSCRIPTION, *_BROKER)
    notices = f"{PREFIX}*"
    channels = (notices, *_BROKER_CHANNELS)
    whole = (*_patterns_without(frozenset()), *_BROKER_KEYS)
    return (
        _user(
            "api",
            (*store, *broker),
            (*_patterns_without(_TARGET_HEADS), *_BROKER_KEYS),
            channels,
            (_ADDING,),
        ),
        _user("worker", (*store, *broker), (f"{PREFIX}*", *_BROKER_KEYS), channels),
        _user("flower", broker, _BROKER_KEYS, _BROKER_CHANNELS),
        _user(OPERATOR, (*store, *broker, *_INSPECTION), whole, channels, (_ADDING, _READING)),
    )


def rules(passwords: Mapping[str, str]) -> str:
    """Return the lines of the configuration file that make all users and switch off the default user."""
    lines = [f"user {ADMINISTRATOR} on >{passwords[ADMINISTRATOR]} ~* &* +@all", "user default off"]
    return "\n".join([*lines, *(user.rule(passwords[user.name]) for user in users())]) + "\n"


def template() -> str:
    """Return the text of ``deploy/users.acl``: the same users, with ``@name@`` in place of each password."""
    return rules({name: f"@{name}@" for name in (ADMINISTRATOR, *(user.name for user in users()))})


def _patterns_without(others: AbstractSet[str]) -> tuple[str, ...]:
    """Return patterns of all keys except those of audit trails and those whose first part is one of ``others``."""
    partitioned = ("", *_tails(PARTITIONED.values(), others))  # scripts are given the root alone
    roots = [(root, partitioned) for root in _PARTITION_ROOTS]
    roots.append((SHARED_ROOT, ("", *_tails(SHARED.values(), others))))
    return tuple(root + tail for root, tails in roots for tail in tails)


def _tails(templates: Iterable[str], others: AbstractSet[str]) -> list[str]:
    """Return patterns of the part of a key after its root: the head alone, or with further parts."""
    names = [template.split(":", 1) for template in templates if template.split(":", 1)[0] not in others]
    tails = {head + ":*" * (len(more) > 0) for head, *more in names}
    ranks = {head: rank for rank, head in enumerate(_FIRST_HEADS)}
    return sorted(tails, key=lambda tail: (ranks.get(tail.split(":")[0], len(ranks)), tail))


def _user(
    name: str, commands: Iterable[str], keys: Iterable[str], channels: Iterable[str], selectors: Iterable[str] = ()
) -> User:
    return User(name, tuple(sorted(set(commands))), tuple(keys), tuple(channels), tuple(selectors))
