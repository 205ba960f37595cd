"""Turns an endpoint's answer into the result that a caller gets.

The data is JSON by its Content-Type (or by parsing, if there is none), else text, else bytes as base64; null if empty.
A body that does not parse or decode as its type claims is taken as the next of these. All data is masked.
"""

from __future__ import annotations

import json
from base64 import b64encode
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from relay.answer.media import content_type_of, text_of
from relay.answer.search import TooMuchWork
from relay.domain.invocation import MEANINGS, Outcome, Sent
from relay.text import gradual_json
from relay.text.media_types import BYTES_TYPE
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from relay.answer.endpoint_answer import EndpointAnswer
    from relay.answer.masking import Mask
    from relay.answer.media import ContentType

#: JSON nested deeper than this is returned as text, so that every reader of the result can parse it.
MAX_DEPTH: Final = 200


class Result(NamedTuple):
    """An invocation's result for its caller. ``status`` is the endpoint's, or 0; ``data`` is any JSON value."""

    status: int
    data: Any
    error: bool


class AnswerBody(NamedTuple):
    """The body of an endpoint's answer, decoded."""

    data: Any  # not masked yet
    raw: bytes
    text: str | None  # None if the body is bytes, or empty
    is_json: bool
    content_type: ContentType


class _NotJson(ValueError):
    """The text is not JSON, or cannot be returned as a JSON value."""


def read_body(answer: EndpointAnswer) -> AnswerBody:
    """Read the body of an answer as its caller gets it, except that nothing is hidden in it yet."""
    content_type = content_type_of(answer.content_type)
    text = text_of(answer.body, content_type) if answer.body else None
    data: Any = text
    is_json = False
    if answer.body and text is None:
        data = _bytes_data(answer.body, content_type.essence)
    elif text is not None and content_type.kind != "text":
        try:
            data, is_json = _parse(text), True
        except _NotJson:
            data = text
    return AnswerBody(data, answer.body, text, is_json, content_type)


def hide(body: AnswerBody, mask: Mask) -> tuple[Any, int] | None:
    """Return the data of a body with what the mask finds replaced, and the number of hits.

    Returns None if the body is bytes and the mask finds something: bytes cannot be masked without breaking them.
    """
    if not body.raw:
        return None, 0
    try:
        if body.text is not None:
            return _masked_json(body.data, body.text, mask) if body.is_json else mask.text(body.text)
        if mask.hits(body.raw, is_text=False):
            return None
    except TooMuchWork:
        return None
    essence = body.content_type.essence
    if essence is not None and mask.text(essence)[1]:
        return _bytes_data(body.raw, None), 0
    return body.data, 0


def failure_result(outcome: Outcome, sent: Sent | None, *, status: int = 0) -> Result:
    """Return the result of an outcome without an acceptable answer: its coarse code and fixed sentence.

    Without any answer, ``sent`` says whether a request may have reached the endpoint; unless it is known that none has,
    that is "maybe".

    Raises:
        ValueError: the outcome has none (an answer, or a state without result).
    """
    meaning = MEANINGS[outcome]
    if meaning.code is None or meaning.sentence is None:
        raise ValueError(f"{outcome} has no failure result.")
    if meaning.sentence_if_sent is None:
        return Result(status, {"code": meaning.code, "message": meaning.sentence}, error=True)
    message, known = (meaning.sentence, "no") if sent is Sent.NO else (meaning.sentence_if_sent, "maybe")
    return Result(status, {"code": meaning.code, "message": message, "sent": known}, error=True)


def json_data(result: Result) -> bytes:
    """Return the data as compact JSON: what is sealed in the store, and what ``answer_json`` takes."""
    return _dump(result.data)


def answer_json(reference_id: str, status: int, data: bytes, *, error: bool) -> bytes:
    """Return a synchronous answer with its four members; ``data`` is JSON already."""
    head = b'{"referenceId":%b,"status":%d,"data":' % (dump_json(reference_id), status)
    return b"".join((head, data, b',"error":true}' if error else b',"error":false}'))


def _masked_json(value: Any, text: str, mask: Mask) -> tuple[Any, int]:
    """Mask the parsed value, in which no escapes are left and a replacement cannot break the JSON.

    The complete text is searched first: if nothing in it is suspect or escaped, and no number may have to be hidden, no
    string can contain a secret. If the text contains a form, the masked value is searched once more as it will be
    written. If that still contains one (a secret that spans several strings), it is masked and returned as text.
    """
    raw = text.encode()
    if "\\" in text:
        shows = mask.shows(raw)
    else:
        shows = mask.hits(raw) > 0
        if not shows and not mask.hides_numbers:
            return value, 0
    value, masked = mask.value(value)
    if shows:
        written, left = mask.text(_dump(value).decode())
        if left:
            return written, masked + left
    return value, masked


def _parse(text: str) -> Any:
    """Parse JSON text. The last of duplicate keys counts; integers keep all their digits.

    Raises:
        _NotJson: malformed, NaN or Infinity or a float beyond range, an integer of over 4,300 digits, or too deep.
    """
    try:
        value = gradual_json.decode(_DECODER, text)
    except (ValueError, RecursionError):
        raise _NotJson from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(MAX_DEPTH, value):
        raise _NotJson
    return value


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _constant(_name: str) -> NoReturn:
    raise _NotJson


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise _NotJson
    return number


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_constant)
_ASCII_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _dump(value: Any) -> bytes:
    try:
        return dump_json(value)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can only write as an escape
        return gradual_json.encode(_ASCII_ENCODER, value).encode("ascii")


def _bytes_data(body: bytes, essence: str | None) -> dict[str, str]:
    return {"encoding": "base64", "contentType": essence or BYTES_TYPE, "content": b64encode(body).decode("ascii")}
