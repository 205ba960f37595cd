"""Who may do what in the embedded server: one ACL user a process, each with the commands and keys that it needs.

What a script may do is what its caller may do. Nobody but the administrator, whose address no process of the relay is
given, may change the server's configuration, list all keys, or empty it (https://valkey.io/topics/acl/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.store.key_names import PARTITIONED, PREFIX, SHARED, SHARED_ROOT, TRAIL
from relay.store.old_names import OLD_MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

ADMINISTRATOR: Final = "admin"
OPERATOR: Final = "operator"

_TARGET_HEADS: Final = frozenset({"target", "token"})
#: The server compares a key with one pattern after another: what scripts use most comes first.
_FIRST_HEADS: Final = ("inv", "p", "due", "pending", "expiry", "ages")
_PARTITION_ROOTS: Final = (f"{PREFIX}{{?}}:", f"{PREFIX}{{??}}:")  # of one digit, and of two
_ROOTS: Final = (*_PARTITION_ROOTS, SHARED_ROOT)
_ENTRIES: Final = TRAIL["audit_entries"]
#: Entries of an audit trail are only added to: no other command on their keys, and none on those of what is signed.
_ADDING: Final = f"({' '.join(f'~{root}{_ENTRIES}' for root in _ROOTS)} +rpush)"
_READING: Final = f"({' '.join(f'%R~{root}audit:*' for root in _ROOTS)} +get +lindex +llen +lrange)"
#: Whether there are keys of an earlier version, which had no roots.
_LOOKING_BACK: Final = f"({' '.join(f'%R~{mark}' for mark in OLD_MARKS)} +exists)"
_CONNECTION: Final = (
    *("auth", "hello", "ping", "select", "time", "info"),
    *("client|setinfo", "client|setname", "client|id"),
)
_TRANSACTION: Final = ("multi", "exec", "discard", "watch", "unwatch")
_SCRIPTS: Final = ("fcall", "function|load")
#: What a client of a cluster asks for, and follows when a slot moves; and how replicas are waited for.
_MANY_SERVERS: Final = ("cluster|slots", "command", "asking", "wait")
_BROKER_SCRIPTS: Final = ("evalsha", "script|load", "script|exists")  # those of Celery's transport
_SUBSCRIPTION: Final = ("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "publish")
#: Commands on one key of one type: a user may use them on its own keys only.
_DATA: Final = ("@string", "@hash", "@list", "@set", "@sortedset")
_KEYS: Final = ("del", "unlink", "exists", "expire", "pexpire", "pexpireat", "persist", "pttl", "ttl", "type")
#: Celery's queues, its remote control and its events (kombu/transport/redis.py).
_BROKER: Final = (
    *("lpush", "rpush", "brpop", "blpop", "rpop", "llen", "lrange", "sadd", "srem", "smembers", "exists", "del", "get"),
    *("set", "expire", "pexpire", "type", "zadd", "zrem", "zrange", "zrangebyscore", "scard", "sismember"),
)
_INSPECTION: Final = ("scan", "dbsize", "memory|usage", "acl|whoami")
_BROKER_KEYS: Final = ("interactive*", "bulk*", "replay*", "_kombu.*", "*celeryev*", "*.pidbox*")
_BROKER_CHANNELS: Final = ("/0.celeryev/*", "/0.celery.pidbox")  # who subscribes to a pattern needs just that one


@dataclass(frozen=True, slots=True)
class User:
    """One ACL user: its commands, the keys and the channels that it may use them on (glob patterns).

    A selector is what it may do beside that: commands on keys of their own.
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
    """Return every user but the administrator."""
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
            (_ADDING, _LOOKING_BACK),
        ),
        _user("worker", (*store, *broker), (f"{PREFIX}*", *_BROKER_KEYS), channels),
        _user("flower", broker, _BROKER_KEYS, _BROKER_CHANNELS),
        _user(OPERATOR, (*store, *broker, *_INSPECTION), whole, channels, (_ADDING, _READING, _LOOKING_BACK)),
    )


def rules(passwords: Mapping[str, str]) -> str:
    """Return the lines of the configuration file that make every user; whoever gives no name is nobody."""
    lines = [f"user {ADMINISTRATOR} on >{passwords[ADMINISTRATOR]} ~* &* +@all", "user default off"]
    return "\n".join([*lines, *(user.rule(passwords[user.name]) for user in users())]) + "\n"


def template() -> str:
    """Return the text of ``deploy/users.acl``: the same users, with ``@name@`` where a password belongs."""
    return rules({name: f"@{name}@" for name in (ADMINISTRATOR, *(user.name for user in users()))})


def _patterns_without(others: AbstractSet[str]) -> tuple[str, ...]:
    """Return patterns of all keys but those of audit trails, and of certain heads after their root."""
    partitioned = ("", *_tails(PARTITIONED.values(), others))  # scripts are given the root alone
    roots = [(root, partitioned) for root in _PARTITION_ROOTS]
    roots.append((SHARED_ROOT, ("", *_tails(SHARED.values(), others))))
    return tuple(root + tail for root, tails in roots for tail in tails)


def _tails(templates: Iterable[str], others: AbstractSet[str]) -> list[str]:
    """Return patterns of what follows a root: a head alone, or with more after it."""
    names = [template.split(":", 1) for template in templates if template.split(":", 1)[0] not in others]
    tails = {head + ":*" * (len(more) > 0) for head, *more in names}
    ranks = {head: rank for rank, head in enumerate(_FIRST_HEADS)}
    return sorted(tails, key=lambda tail: (ranks.get(tail.split(":")[0], len(ranks)), tail))


def _user(
    name: str, commands: Iterable[str], keys: Iterable[str], channels: Iterable[str], selectors: Iterable[str] = ()
) -> User:
    return User(name, tuple(sorted(set(commands))), tuple(keys), tuple(channels), tuple(selectors))
