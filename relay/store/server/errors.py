"""Sorts the server's errors: each is either "not now", or a fault of our own in a script or command.

Our own faults are listed here. Every other error means "not now", even one never seen before: the caller tries again,
and nothing is lost.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from redis.exceptions import (
    AuthenticationWrongNumberOfArgsError,
    ClusterCrossSlotError,
    DataError,
    RedisError,
    ResponseError,
)

from relay.errors import RelayError, StoreFault, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a script of a fenced partition answers, after the word FENCED.
FENCED_SENTENCE: Final = (
    "The store was restored from a backup: nothing is accepted or sent until `relay restore finish`."
)
#: Errors that redis-py raises when our code calls it wrongly.
_OUR_CLASSES: Final = (DataError, ClusterCrossSlotError)
#: Errors of our own code around a command.
_OUR_CODE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
)
#: How the server's messages begin if a command or script can never run. An error within a script has the same message
#: as that of the command alone, so a script that fails because of the server's state does not match.
_OUR_WORDS: Final = re.compile(
    r"(?:ERR )?(?:"
    r"WRONGTYPE |"
    r"@?user_script|user_function|"  # errors that the Lua interpreter found
    r"Error (?:running|compiling|registering)|"
    r"[Uu]nknown (?:Redis |Valkey )?(?:sub)?command|"
    r"[Ww]rong number of arg|"
    r"syntax error|"
    r"value is (?:not|out of)|"
    r"hash value is not|"
    r"increment or decrement would|"
    r"min or max|"
    r"index out of range|"
    r"string exceeds|"
    r"Number of keys|"
    r"too many results to unpack|"
    r"(?:Lua redis\(\) c|C)ommand arguments must|"
    r"This (?:Redis|Valkey) command is not allowed from script|"
    r"Script attempted|"
    r"Unexpected flag"
    r")"
)
#: Text that redis-py puts before the error of a command in a pipeline.
_IN_PIPELINE: Final = " of pipeline caused error: "


def is_ours(error: Exception) -> bool:
    """Return whether trying again is useless, because our own script, command or code is at fault."""
    if not isinstance(error, RedisError):
        return isinstance(error, _OUR_CODE)
    if isinstance(error, _OUR_CLASSES):
        return True
    if not isinstance(error, ResponseError) or isinstance(error, AuthenticationWrongNumberOfArgsError):
        return False
    return _OUR_WORDS.match(str(error).rpartition(_IN_PIPELINE)[2]) is not None


def is_of_another_type(error: Exception) -> bool:
    """Return whether a command was used on a key of the wrong type."""
    return is_ours(error) and "WRONGTYPE " in str(error)


class store_errors:  # noqa: N801 - used like a function, and entered too often to be a generator
    """A context that turns errors of the client into `Unavailable`, or into `StoreFault` if they are our own fault."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, RelayError):
            return
        if FENCED_SENTENCE in str(error):
            raise Unavailable(FENCED_SENTENCE) from error
        if is_of_another_type(error):
            raise StoreFault("A value in the store is damaged: it has another type than the relay gave it.") from error
        raise (StoreFault if is_ours(error) else Unavailable) from error


def is_answer(error: RelayError) -> bool:
    """Return whether the server answered, but with a refusal."""
    return isinstance(error, StoreFault) or isinstance(error.__cause__, ResponseError)


@contextmanager
def adding_sentence(sentence: str, *kinds: type[RelayError]) -> Iterator[None]:
    """Add a sentence to the message of errors of these kinds: what the reader should know or do."""
    try:
        yield
    except kinds as error:
        error.add(sentence)
        raise
