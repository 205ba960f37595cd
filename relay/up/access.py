"""Defines the ACL users of the embedded server: one for each kind of process, with the commands and keys it needs.

A script may do only what its caller may do. Only the administrator, whose address no process of the relay is given, may
change the server's configuration, list all keys, or empty it (https://valkey.io/topics/acl/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from relay.queue import LANES
from relay.store.keys.names import CHANNELS, PARTITIONED, PREFIX, SHARED, SHARED_ROOT, TRAIL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

ADMINISTRATOR: Final = "admin"
OPERATOR: Final = "operator"
#: The user of a worker's connection to the lanes, over which it takes others' messages: it has no access to records.
CONSUMER: Final = "consumer"

_TARGET_HEADS: Final = frozenset({"target", "token", "secret"})
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
#: Commands with which a client of a cluster finds and follows slots, and waits for replicas.
_MANY_SERVERS: Final = ("cluster|slots", "command", "asking", "wait")
_NOTICES: Final = ("subscribe", "unsubscribe", "publish")
#: Commands on one key of one type: a user may use them on its own keys only.
_DATA: Final = ("@string", "@hash", "@list", "@set", "@sortedset")
_KEYS: Final = ("del", "unlink", "exists", "expire", "pexpire", "pexpireat", "persist", "pttl", "ttl", "type")
#: All that processes do with the records: scripts, which may do what their caller may do, and commands.
_STORE: Final = (*_CONNECTION, *_TRANSACTION, *_MANY_SERVERS, *_NOTICES, "fcall", *_DATA, *_KEYS)
_INSPECTION: Final = ("scan", "dbsize", "memory|usage", "acl|whoami")
#: Allows reading the depth of lanes, and nothing else.
_DEPTHS: Final = f"({' '.join(f'%R~{lane}' for lane in LANES)} +llen)"
#: Allows putting messages into lanes, but neither taking nor reading any.
_PUBLISHING: Final = f"({' '.join(f'~{lane}' for lane in LANES)} +lpush +llen)"
_CONSUMING: Final = f"({' '.join(f'~{lane}' for lane in LANES)} +brpop +rpop)"

#: kombu's own scripts write what it keeps for queues that expire, with the rights of whoever runs them.
_BROKER: Final = (*_CONNECTION, "multi", "exec", "script|load", "script|exists", "punsubscribe")
_EVENTS: Final = "celeryev"
_CONTROL: Final = "celery.pidbox"
_ANSWERS: Final = "reply.celery.pidbox"
#: A random id, as in the names of Celery's temporary queues; no key of the store begins like this.
_UUID: Final = "[0-9a-f]???????-????-????-????-????????????"
#: kombu's list of the queues that an exchange fills, one key for each exchange; and when those lists expire.
_BINDINGS: Final = tuple(
    f"_kombu.{table}.{exchange}"
    for table in ("binding", "binding_permanent")
    for exchange in ("relay", _EVENTS, _CONTROL, _ANSWERS)
)
_DEADLINES: Final = "_kombu.binding_deadlines"
#: Allows what kombu does with the bindings of all exchanges and with the queues of answers and events.
_BINDING: Final = (
    f"({' '.join(f'~{key}' for key in (*_BINDINGS, _DEADLINES))}"
    " +evalsha +sadd +srem +smembers +exists +del +zadd +zrem +zrangebyscore)"
)
_ASKING: Final = f"(~{_UUID}.{_ANSWERS} ~{_EVENTS}.{_UUID} +brpop +rpop +llen +exists +del +pexpire)"
#: Allows answering those who ask.
_ANSWERING: Final = f"(~{_UUID}.{_ANSWERS} +lpush +pexpire)"
#: Allows finding and deleting what belongs to a worker's name, which begins with a lane.
_MAILBOXES: Final = f"({' '.join(f'~{lane}*@*.{_CONTROL}' for lane in LANES)} +exists +llen +del)"
#: Each kind of event has a channel. Subscribing to a pattern needs a right to exactly that pattern.
_HEARING_EVENTS: Final = f"(&/0.{_EVENTS}/* +psubscribe)"
_SENDING_EVENTS: Final = f"(&/0.{_EVENTS}/* +publish)"
_HEARING_QUESTIONS: Final = f"(&/0.{_CONTROL} +psubscribe)"
_SENDING_QUESTIONS: Final = f"(&/0.{_CONTROL} +publish)"
_NOTICE_CHANNELS: Final = tuple(PREFIX + template.split("{", 1)[0] + "*" for template in CHANNELS.values())


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
            *(f"+{command}" for command in sorted(set(self.commands))),
        )
        rights = f"resetkeys resetchannels -@all {' '.join(parts)} -@dangerous +info"
        return " ".join([f"user {self.name} on >{password} {rights}", *self.selectors])


def users() -> tuple[User, ...]:
    """Return all users except the administrator."""
    return (
        User("api", _STORE, _patterns_without(_TARGET_HEADS), _NOTICE_CHANNELS, (_PUBLISHING, _ADDING)),
        User("worker", _STORE, (f"{PREFIX}*",), _NOTICE_CHANNELS),
        User(
            CONSUMER,
            _BROKER,
            (),
            (),
            (
                *(_PUBLISHING, _CONSUMING, _BINDING, _MAILBOXES, _HEARING_QUESTIONS, _ANSWERING, _SENDING_EVENTS),
                *(_SENDING_QUESTIONS, _ASKING),  # a probe of the worker's container asks whether it answers
            ),
        ),
        User("flower", _BROKER, (), (), (_DEPTHS, _BINDING, _ASKING, _SENDING_QUESTIONS, _HEARING_EVENTS)),
        User(
            OPERATOR,
            (*_STORE, *_INSPECTION),
            _patterns_without(frozenset()),
            _NOTICE_CHANNELS,
            (_PUBLISHING, _ADDING, _READING),
        ),
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
