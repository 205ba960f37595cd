"""Generates every error that a server may answer and redis-py may raise, and an exception of an unknown class."""

from __future__ import annotations

import inspect

from redis import exceptions
from redis._parsers.base import BaseParser

#: Prefixes of a server's errors, for most of which redis-py has no class.
ANSWERS = (
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Valkey is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "NOAUTH Authentication required.",
    "NOPERM User default has no permissions to run the 'evalsha' command",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "ERR max number of clients reached",
    "ERR ACL failure in script: User default has no permissions to run the 'hset' command script: on @user_script:1.",
    "ERR Script killed by user with SCRIPT KILL. script: on @user_script:1.",
    "ERR something that no server has said yet",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "MOVED 1 127.0.0.1:1",
    "ASK 1 127.0.0.1:1",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "EXECABORT Transaction discarded because of previous errors.",
    "INVENTED by a server of next year",
)
#: Errors that mean that one of our own commands or scripts is wrong.
OURS = (
    "ERR user_script:1: attempt to index local 'a' (a nil value) script: on @user_script:1.",
    "ERR user_function:2: boo script: on @user_function:2.",
    "ERR Error compiling function: user_function:2: unexpected symbol near 'end'",
    "ERR Error running script (call to f_0): @user_script:1: boo",
    "ERR Error compiling script (new function): user_script:1: unexpected symbol near '<eof>'",
    "ERR Unknown command called from script script: on @user_script:1.",
    "ERR Wrong number of args calling command from script script: on @user_script:1.",
    "ERR Command arguments must be strings or integers script: on @user_script:1.",
    "ERR value is not an integer or out of range script: on @user_script:1.",
    "ERR unknown command 'FOO', with args beginning with: ",
    "ERR wrong number of arguments for 'set' command",
    "ERR syntax error",
    "WRONGTYPE Operation against a key holding the wrong kind of value script: on @user_script:1.",
)


class Unheard(Exception):
    """An exception that no code knows."""


def answered(text):
    """Return the exception that redis-py raises for this error of a server."""
    return BaseParser.parse_error(text)


def in_pipeline(text):
    """Return the exception for this error in a pipeline, where redis-py puts the command in front of the text."""
    error = answered(text)
    error.args = (f"Command # 1 (HSET a b c) of pipeline caused error: {error.args[0]}", *error.args[1:])
    return error


def every_class():
    """Return one error of each class in `redis.exceptions`."""
    for name, kind in inspect.getmembers(exceptions, inspect.isclass):
        if issubclass(kind, Exception) and kind.__module__ == exceptions.__name__:
            yield name, _made(kind)


def _made(kind):
    for args in ((), ("1 127.0.0.1:1",), ("INVENTED",)):
        try:
            return kind(*args)
        except (TypeError, ValueError, IndexError):
            continue
    raise AssertionError(kind)


def every_fault():
    """Return, by name, all errors that may come instead of a reply."""
    faults = {f"class {name}": error for name, error in every_class()}
    faults |= {f"answer {text.split()[0]} {index}": answered(text) for index, text in enumerate(ANSWERS)}
    faults |= {f"ours {index}": answered(text) for index, text in enumerate(OURS)}
    faults |= {
        "OSError": OSError(5, "Input/output error"),
        "RuntimeError": RuntimeError("can't start new thread"),
        "MemoryError": MemoryError(),
        "TypeError": TypeError("a fault of ours"),
        "Unheard": Unheard(),
    }
    return faults
