"""What the server's errors mean: "not now", or a fault of our own in a script or command.

The list names what is ours. Everything else is "not now", also what a server or redis-py says that nobody has seen yet:
whoever asked tries again, and nothing is given up.
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

#: What redis-py raises when it is called wrongly.
_OUR_CLASSES: Final = (DataError, ClusterCrossSlotError)
#: What is wrong with our own code around a command.
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
#: How the server begins to say that a command or a script cannot be run, now or ever. Of an error within a script it
#: says the same as of the command alone, so that a script which is refused for a reason of the server's is not ours.
_OUR_WORDS: Final = re.compile(
    r"(?:ERR )?(?:"
    r"WRONGTYPE |"
    r"@?user_script|user_function|"  # what the Lua interpreter has found
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
#: What redis-py puts before an error of a command in a pipeline.
_IN_PIPELINE: Final = " of pipeline caused error: "


def is_ours(error: Exception) -> bool:
    """Return whether trying again would be in vain: our own script, command or code is at fault."""
    if not isinstance(error, RedisError):
        return isinstance(error, _OUR_CODE)
    if isinstance(error, _OUR_CLASSES):
        return True
    if not isinstance(error, ResponseError) or isinstance(error, AuthenticationWrongNumberOfArgsError):
        return False
    return _OUR_WORDS.match(str(error).rpartition(_IN_PIPELINE)[2]) is not None


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn whatever the client raises into `Unavailable`, or into `StoreFault` where it is ours."""
    try:
        yield
    except RelayError:
        raise
    except Exception as error:
        raise (StoreFault if is_ours(error) else Unavailable) from error


def is_answer(error: RelayError) -> bool:
    """Return whether the server has refused what it was asked, as opposed to a reply that never came."""
    return isinstance(error, StoreFault) or isinstance(error.__cause__, ResponseError)


@contextmanager
def adding(sentence: str, *kinds: type[RelayError]) -> Iterator[None]:
    """Tell with errors of these kinds what their reader is to know or do."""
    try:
        yield
    except kinds as error:
        error.add(sentence)
        raise
