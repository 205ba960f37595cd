"""Copies whole keys, with their remaining time to live, from one server to another, using each type's own commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: How many keys one exchange with the source asks for.
KEYS: Final = 200
#: How many members of a large key are copied at a time, so that neither server is held up for long.
PIECE: Final = 1_000


def copy_keys(source: Any, target: Any, names: Mapping[str, str]) -> int:
    """Copy each key to its new name, replacing what is there; return how many of them existed."""
    return sum(_copy_some(source, target, dict(some)) for some in _pieces(list(names.items()), KEYS))


def _copy_some(source: Any, target: Any, names: Mapping[str, str]) -> int:
    asking = source.pipeline(transaction=False)
    for name in names:
        asking.type(name)
        asking.pttl(name)
    replies = asking.execute()
    writing = target.pipeline(transaction=False)
    copied = 0
    for (name, new), kind, left_ms in zip(names.items(), replies[::2], replies[1::2], strict=True):
        if kind == b"none":  # it has expired
            continue
        writing.delete(new)
        _COPIERS[kind.decode()](source, writing, name, new)
        if left_ms >= 0:
            writing.pexpire(new, max(1, left_ms))
        copied += 1
        if len(writing) > PIECE:
            writing.execute()
    writing.execute()
    return copied


def _string(source: Any, writing: Any, name: str, new: str) -> None:
    text = source.get(name)
    if text is not None:
        writing.set(new, text)


def _list(source: Any, writing: Any, name: str, new: str) -> None:
    for start in range(0, source.llen(name), PIECE):
        if members := source.lrange(name, start, start + PIECE - 1):
            writing.rpush(new, *members)


def _hash(source: Any, writing: Any, name: str, new: str) -> None:
    for piece in _pieces(list(source.hscan_iter(name, count=PIECE)), PIECE):
        writing.hset(new, mapping=dict(piece))


def _set(source: Any, writing: Any, name: str, new: str) -> None:
    for piece in _pieces(list(source.sscan_iter(name, count=PIECE)), PIECE):
        writing.sadd(new, *piece)


def _sorted_set(source: Any, writing: Any, name: str, new: str) -> None:
    for piece in _pieces(list(source.zscan_iter(name, count=PIECE)), PIECE):
        writing.zadd(new, dict(piece))


_COPIERS: Final[Mapping[str, Callable[[Any, Any, str, str], None]]] = {
    "string": _string,
    "list": _list,
    "hash": _hash,
    "set": _set,
    "zset": _sorted_set,
}


def _pieces(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
