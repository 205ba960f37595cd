"""What holds for all items of a list together, not for each: the bounds of NDJSON, and that the store is away."""

from __future__ import annotations

import itertools
import json

import pytest

from api import triggers
from api.triggers import _array, _lines, _raise_if_away
from relay.errors import MalformedJson, RequestRejected, TooLarge, Unavailable
from relay.store.ledger.acceptance import Accepted, AcceptVerdict
from relay.text.json_extent import MAX_VALUES

MOST = 60


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    monkeypatch.setattr(triggers, "MAX_VALUES", MOST)


def lines(*values):
    """Return lines that hold so many values each: an array of that many elements but one."""
    return b"\n".join(json.dumps([1] * (count - 1)).encode() for count in values)


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("beyond", [0, 1])
def test_all_lines_together_hold_so_many_values_and_no_more(count, beyond):
    each = [MOST // count] * count
    each[-1] += beyond
    if beyond:
        with pytest.raises(TooLarge, match=f"more than {MAX_VALUES:,} values"):  # of the whole body
            _lines(lines(*each))
    else:
        assert len(_lines(lines(*each))) == count


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_line_that_holds_too_many_may_be_any(at):
    each = [2, 2, 2]
    each[at] = MOST
    with pytest.raises(TooLarge):
        _lines(lines(*each))


def test_a_line_that_is_no_json_counts_too_and_empty_lines_do_not():
    found = _lines(b"\n\n" + lines(20, 20) + b"\n\n[1,\n" + lines(15) + b"\n")
    assert [type(each) for each in found] == [list, list, MalformedJson, list]
    with pytest.raises(TooLarge):
        _lines(lines(30) + b"\n" + b"[1," * 20 + b"\n" + lines(30))


@pytest.mark.parametrize("blank", [b"", b" ", b"\t", b"\r", b" \t \r"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_lines_of_blanks_are_no_items_wherever_they_stand(blank, end):
    pieces = [blank, b'{"a": 1}', blank, blank, b' {"b": 2} ', blank]
    assert _lines(b"\n".join(pieces) + end) == [{"a": 1}, {"b": 2}]
    assert _lines(blank + end) == []


def test_a_carriage_return_alone_is_a_blank_of_json_and_ends_no_line():
    assert _lines(b'{"a":\r1}\r\n[2,\r\r3]') == [{"a": 1}, [2, 3]]


def test_a_list_has_so_many_items_and_no_more_and_a_line_that_is_no_json_is_one_of_them(monkeypatch):
    monkeypatch.setattr(triggers, "MAX_ITEMS", 3)
    for read, most in ((_array, b"[1, 2, 3]"), (_lines, b"1\n{broken\n\n3\n\n")):
        assert len(read(most)) == 3
        with pytest.raises(TooLarge):
            read(most.replace(b"3", b"3, 4" if read is _array else b"3\n4"))


RESULTS = [Accepted(AcceptVerdict.ACCEPTED, "r", "queued"), RequestRejected(), Unavailable("away")]


@pytest.mark.parametrize("count", range(4))
def test_a_list_fails_as_a_whole_only_if_the_store_took_none_of_its_items(count):
    for results in itertools.product(RESULTS, repeat=count):
        if count and all(isinstance(each, Unavailable) for each in results):
            with pytest.raises(Unavailable, match="away"):
                _raise_if_away(results)
        else:
            _raise_if_away(results)


def test_a_list_of_which_some_items_may_have_been_accepted_says_so_whichever_they_are():
    told = Unavailable("it may or may not have happened")
    for results in itertools.product([Unavailable(), told], repeat=3):
        with pytest.raises(Unavailable) as raised:
            _raise_if_away(results)
        assert raised.value.message == (told.message if told in results else Unavailable.sentence)
